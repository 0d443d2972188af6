// NCCL's stand-in: ranks that are processes or threads of one machine, with a socket between each two. As everything on
// a stream here, what is sent has arrived when the call, or the outermost group, returns.
#include "nccl.h"

#include "memory.h"
#include "report.h"

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <poll.h>
#include <string>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <vector>

// What each rank tells each other one when they meet.
struct Hello {
    int rank, size, device;
};

struct ncclComm {
    int rank, size, device;
    std::vector<int> sockets; // to each other rank; -1 for this one
    bool is_broken = false;

    ~ncclComm() { close_all(); }

    void close_all() {
        is_broken = true;
        for (int &socket : sockets) {
            if (socket >= 0) {
                close(socket);
            }
            socket = -1;
        }
    }
};

namespace software_gpu {

namespace {

constexpr int MEETING = 120, WAITING = 300; // seconds
std::mutex last_mutex;
char last_error[512];

// Reports, keeps the text for ncclGetLastError, and is `result`.
__attribute__((format(printf, 2, 3))) ncclResult_t fail(ncclResult_t result, const char *format, ...) {
    char text[sizeof last_error];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report("%s", text);
    const std::lock_guard<std::mutex> lock(last_mutex);
    memcpy(last_error, text, sizeof text);
    return result;
}

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// The address of a rank: a name that the file system does not know, which is gone when its socket is closed.
socklen_t address_of(sockaddr_un *address, const ncclUniqueId &id, int rank) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    std::string name = "msharp-nccl-";
    for (int i = 0; i < 16; ++i) {
        char byte[3];
        snprintf(byte, sizeof byte, "%02x", (unsigned char)id.internal[i]);
        name += byte;
    }
    name += "-" + std::to_string(rank);
    memcpy(address->sun_path + 1, name.data(), name.size()); // after a byte 0
    return (socklen_t)(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

// Whether a socket can be read before `until`.
bool is_readable(int socket, double until) {
    pollfd wanted{socket, POLLIN, 0};
    const double left = until - now();
    return left > 0 && poll(&wanted, 1, (int)(1e3 * left) + 1) == 1;
}

// Exchanges greetings; false if the other end closed, or is silent.
bool greet(int socket, const Hello &own, Hello *other, double until) {
    return send(socket, &own, sizeof own, MSG_NOSIGNAL) == sizeof own && is_readable(socket, until) &&
           recv(socket, other, sizeof *other, MSG_WAITALL) == sizeof *other;
}

int connected(const ncclUniqueId &id, int rank, double until) {
    sockaddr_un address;
    const socklen_t length = address_of(&address, id, rank);
    while (now() < until) {
        const int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (made < 0) {
            return -1;
        }
        if (connect(made, (const sockaddr *)&address, length) == 0) {
            return made;
        }
        close(made);
        usleep(2000); // it does not listen yet
    }
    return -1;
}

// Connects a rank to all others: it reaches those before it, and those after it reach it.
ncclResult_t meet(ncclComm *comm, const ncclUniqueId &id) {
    const double until = now() + MEETING;
    const Hello own{comm->rank, comm->size, comm->device};
    sockaddr_un address;
    const socklen_t length = address_of(&address, id, comm->rank);
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (const sockaddr *)&address, length) != 0 || listen(listener, comm->size) != 0) {
        close(listener);
        return fail(ncclInvalidUsage, "ncclCommInitRank: rank %d is there twice with this id", comm->rank);
    }
    ncclResult_t result = ncclSuccess;
    for (int met = 1; met < comm->size && result == ncclSuccess; ++met) {
        int socket = -1;
        if (met <= comm->rank) {
            socket = connected(id, met - 1, until);
        } else if (is_readable(listener, until)) {
            socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        }
        Hello other{};
        if (socket < 0 || !greet(socket, own, &other, until)) {
            result = fail(ncclRemoteError, "ncclCommInitRank: rank %d of %d met %d others, and no more", comm->rank,
                          comm->size, met - 1);
            close(socket);
        } else if (other.size != comm->size || other.rank < 0 || other.rank >= comm->size ||
                   other.rank == comm->rank || comm->sockets[other.rank] >= 0) {
            result = fail(ncclInvalidArgument, "ncclCommInitRank: rank %d of %d met rank %d of %d", comm->rank,
                          comm->size, other.rank, other.size);
            close(socket);
        } else {
            comm->sockets[other.rank] = socket;
            if (other.device == comm->device) {
                result = fail(ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d both on device %d",
                              comm->rank, other.rank, comm->device);
            }
        }
    }
    close(listener);
    for (const int socket : comm->sockets) {
        if (socket >= 0) {
            fcntl(socket, F_SETFL, O_NONBLOCK);
        }
    }
    return result;
}

enum Kind : uint32_t { POINT_TO_POINT = 0x5e4d, ALL_GATHER };

// What precedes the numbers of a message.
struct Header {
    Kind kind;
    uint32_t type;
    uint64_t bytes;
};

struct Message {
    Header header;
    char *at;
};

// Messages of one direction between two ranks, of which `done` bytes of the first that is left are through.
struct Queue {
    std::vector<Message> messages;
    size_t next = 0, done = 0;
    Header seen{};

    bool is_over() const { return next == messages.size(); }
};

size_t size_of(ncclDataType_t type) {
    constexpr size_t SIZES[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
    return type >= 0 && type <= ncclBfloat16 ? SIZES[type] : 0;
}

// Moves what the socket takes or has. Whether something moved; an error in `result`.
template <bool SENDS> bool advance(ncclComm *comm, int peer, Queue *queue, ncclResult_t *result) {
    bool moved = false;
    while (!queue->is_over()) {
        Message &message = queue->messages[queue->next];
        const size_t total = sizeof(Header) + message.header.bytes;
        const bool in_header = queue->done < sizeof(Header);
        char *header = (char *)(SENDS ? &message.header : &queue->seen);
        char *at = in_header ? header + queue->done : message.at + (queue->done - sizeof(Header));
        const size_t left = (in_header ? sizeof(Header) : total) - queue->done;
        if (left > 0) {
            const int socket = comm->sockets[peer];
            const ssize_t now = SENDS ? send(socket, at, left, MSG_NOSIGNAL) : recv(socket, at, left, 0);
            if (now < 0 && (errno == EAGAIN || errno == EINTR)) {
                return moved;
            }
            if (now <= 0) {
                *result = fail(ncclRemoteError, "NCCL: rank %d has ended, seen by rank %d", peer, comm->rank);
                return moved;
            }
            queue->done += (size_t)now;
            moved = true;
        }
        if (!SENDS && in_header && queue->done == sizeof(Header)) {
            const Header &sent = queue->seen, &wanted = message.header;
            if (sent.kind != wanted.kind || sent.type != wanted.type || sent.bytes != wanted.bytes) {
                *result = fail(ncclInvalidUsage,
                               "NCCL: rank %d sent %zu bytes of type %u in operation %x, and rank %d expected %zu of "
                               "type %u in operation %x",
                               peer, (size_t)sent.bytes, sent.type, sent.kind, comm->rank, (size_t)wanted.bytes,
                               wanted.type, wanted.kind);
                return moved;
            }
        }
        if (queue->done == total) {
            ++queue->next;
            queue->done = 0;
        }
    }
    return moved;
}

// Everything that is queued between this rank and the others.
ncclResult_t exchange(ncclComm *comm, std::vector<Queue> *to, std::vector<Queue> *from) {
    double since = now();
    while (true) {
        std::vector<pollfd> wanted;
        bool moved = false;
        for (int peer = 0; peer < comm->size; ++peer) {
            if (peer == comm->rank) {
                continue;
            }
            ncclResult_t result = ncclSuccess;
            moved |= advance<true>(comm, peer, &(*to)[peer], &result);
            if (result == ncclSuccess) {
                moved |= advance<false>(comm, peer, &(*from)[peer], &result);
            }
            if (result != ncclSuccess) {
                return result;
            }
            const int sends = (*to)[peer].is_over() ? 0 : POLLOUT, receives = (*from)[peer].is_over() ? 0 : POLLIN;
            if (sends | receives) {
                wanted.push_back(pollfd{comm->sockets[peer], (short)(sends | receives), 0});
            }
        }
        if (wanted.empty()) {
            return ncclSuccess;
        }
        since = moved ? now() : since;
        if (now() - since > WAITING) {
            return fail(ncclSystemError, "NCCL: rank %d has waited for %d s for other ranks", comm->rank, WAITING);
        }
        poll(wanted.data(), wanted.size(), 1000);
    }
}

// A call inside of a group.
struct Task {
    enum { SEND, RECV, GATHER } what;
    const char *from;
    char *to;
    size_t count;
    ncclDataType_t type;
    int peer;
    ncclComm *comm;
    cudaStream_t stream;
};

thread_local int depth = 0;
thread_local std::vector<Task> group;

ncclResult_t run(const std::vector<Task> &tasks) {
    if (tasks.empty()) {
        return ncclSuccess;
    }
    ncclComm *comm = tasks[0].comm;
    const cudaStream_t stream = tasks[0].stream;
    for (const Task &task : tasks) {
        if (task.comm != comm || task.stream != stream) {
            return fail(ncclInvalidUsage, "NCCL: a group on several communicators or streams, which is not simulated");
        }
    }
    if (comm->is_broken) {
        return fail(ncclInvalidUsage, "NCCL: the communicator of rank %d has failed before", comm->rank);
    }
    if (device_of_stream(stream) != comm->device) {
        return fail(ncclInvalidUsage, "NCCL: a stream of device %d for rank %d, which is on device %d",
                    device_of_stream(stream), comm->rank, comm->device);
    }
    const Turn turn = turn_on(stream);
    std::vector<Queue> to((size_t)comm->size), from((size_t)comm->size);
    for (const Task &task : tasks) {
        const size_t bytes = task.count * size_of(task.type);
        const size_t all = task.what == Task::GATHER ? bytes * (size_t)comm->size : bytes;
        if (size_of(task.type) == 0 || task.peer < 0 || task.peer >= comm->size ||
            (task.what != Task::RECV && !is_device_memory(task.from, bytes, "NCCL: what is sent")) ||
            (task.what != Task::SEND && !is_device_memory(task.to, all, "NCCL: what is received"))) {
            return fail(ncclInvalidArgument, "NCCL: %zu numbers of type %d, peer %d of %d", task.count, task.type,
                        task.peer, comm->size);
        }
        const Header header{task.what == Task::GATHER ? ALL_GATHER : POINT_TO_POINT, (uint32_t)task.type, bytes};
        if (task.what == Task::SEND) {
            to[(size_t)task.peer].messages.push_back({header, (char *)task.from});
        } else if (task.what == Task::RECV) {
            from[(size_t)task.peer].messages.push_back({header, task.to});
        } else {
            char *own = task.to + bytes * (size_t)comm->rank;
            if (task.from != own && task.from < task.to + all && task.to < task.from + bytes) {
                return fail(ncclInvalidUsage, "ncclAllGather: what is sent lies in what is received, at another place");
            }
            for (int peer = 0; peer < comm->size; ++peer) {
                to[(size_t)peer].messages.push_back({header, (char *)task.from});
                from[(size_t)peer].messages.push_back({header, task.to + bytes * (size_t)peer});
            }
        }
    }
    const auto &sent = to[(size_t)comm->rank].messages, &received = from[(size_t)comm->rank].messages;
    if (sent.size() != received.size()) {
        return fail(ncclInvalidUsage, "NCCL: rank %d sends itself %zu messages and receives %zu of them", comm->rank,
                    sent.size(), received.size());
    }
    for (size_t i = 0; i < sent.size(); ++i) {
        if (sent[i].header.bytes != received[i].header.bytes) {
            return fail(ncclInvalidUsage, "NCCL: rank %d sends itself %zu bytes and receives %zu", comm->rank,
                        (size_t)sent[i].header.bytes, (size_t)received[i].header.bytes);
        }
        memmove(received[i].at, sent[i].at, sent[i].header.bytes);
    }
    return exchange(comm, &to, &from);
}

// Ends a communicator that has failed, so that the others fail too.
ncclResult_t ended(ncclComm *comm, ncclResult_t result) {
    if (result != ncclSuccess) {
        comm->close_all();
    }
    return result;
}

ncclResult_t add(const Task &task) {
    if (!task.comm) {
        return fail(ncclInvalidArgument, "NCCL: there is no communicator");
    }
    if (depth > 0) {
        group.push_back(task);
        return ncclSuccess;
    }
    return ended(task.comm, run({task}));
}

} // namespace

} // namespace software_gpu

using namespace software_gpu;

ncclResult_t ncclGetVersion(int *version) {
    *version = 22700;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    memset(id, 0, sizeof *id);
    return getrandom(id->internal, 16, 0) == 16 ? ncclSuccess : fail(ncclSystemError, "ncclGetUniqueId: getrandom");
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId id, int rank) {
    *comm = nullptr;
    if (size < 1 || rank < 0 || rank >= size) {
        return fail(ncclInvalidArgument, "ncclCommInitRank: rank %d of %d", rank, size);
    }
    if (current_device() < 0) {
        return fail(ncclUnhandledCudaError, "ncclCommInitRank: no context is current in this thread");
    }
    ncclComm *made = new ncclComm{rank, size, current_device(), std::vector<int>((size_t)size, -1)};
    const ncclResult_t result = meet(made, id);
    if (result != ncclSuccess) {
        delete made;
        return result;
    }
    *comm = made;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm) {
        return fail(ncclInvalidArgument, "ncclCommDestroy: there is no communicator");
    }
    delete comm;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) { return ncclCommDestroy(comm); }

ncclResult_t ncclCommCount(ncclComm_t comm, int *count) {
    *count = comm->size;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(ncclComm_t comm, int *rank) {
    *rank = comm->rank;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(ncclComm_t comm, int *device) {
    *device = comm->device;
    return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
    ++depth;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
    if (depth == 0) {
        return fail(ncclInvalidUsage, "ncclGroupEnd: without ncclGroupStart");
    }
    if (--depth > 0) {
        return ncclSuccess;
    }
    std::vector<Task> tasks;
    tasks.swap(group);
    return tasks.empty() ? ncclSuccess : ended(tasks[0].comm, run(tasks));
}

ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return add({Task::SEND, (const char *)from, nullptr, count, type, peer, comm, stream});
}

ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
    return add({Task::RECV, nullptr, (char *)to, count, type, peer, comm, stream});
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    return add({Task::GATHER, (const char *)from, (char *)to, count, type, 0, comm, stream});
}

const char *ncclGetErrorString(ncclResult_t result) {
    switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    }
    return "unknown result code";
}

const char *ncclGetLastError(ncclComm_t) {
    static thread_local char text[sizeof last_error];
    const std::lock_guard<std::mutex> lock(last_mutex);
    memcpy(text, last_error, sizeof text);
    return text;
}
