// The stand-in of NCCL: ranks that are threads of this process, each with a device.
#include "selftest.h"

#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop

#include "nccl.h"

#include <array>
#include <thread>

namespace selftest {

namespace {

constexpr int RANKS = 3;
using Results = std::array<ncclResult_t, RANKS>;

// A rank: its communicator, and a stream of its device.
struct Rank {
    int rank;
    ncclComm_t comm;
    CUstream stream;
};

// What `work` answers on each rank, on the device of its number, or all on device 0 where `shares`.
Results on_ranks(const std::function<ncclResult_t(Rank)> &work, bool shares = false) {
    ncclUniqueId id;
    CHECK(ncclGetUniqueId(&id) == ncclSuccess);
    Results results{};
    std::vector<std::thread> threads;
    for (int rank = 0; rank < RANKS; ++rank) {
        threads.emplace_back([&, rank] {
            CUcontext context;
            CUstream stream;
            CHECK(cuDevicePrimaryCtxRetain(&context, shares ? 0 : rank) == CUDA_SUCCESS);
            CHECK(cuCtxSetCurrent(context) == CUDA_SUCCESS && cuStreamCreate(&stream, 0) == CUDA_SUCCESS);
            ncclComm_t comm = nullptr;
            results[(size_t)rank] = ncclCommInitRank(&comm, RANKS, id, rank);
            if (results[(size_t)rank] == ncclSuccess) {
                results[(size_t)rank] = work({rank, comm, stream});
                CHECK(ncclCommDestroy(comm) == ncclSuccess);
            }
            CHECK(cuStreamDestroy(stream) == CUDA_SUCCESS);
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    return results;
}

// Rank r sends 100 r + k to rank k, more than a socket holds, and gathers what all have got in place.
ncclResult_t exchange(Rank rank) {
    const size_t each = 300000;
    std::vector<float> numbers(RANKS * each);
    for (size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = (float)(100 * rank.rank + (int)(i / each));
    }
    const Memory from = on_device(numbers), to(RANKS * each * sizeof(float));
    int count = 0, own = -1, device = -1;
    CHECK(ncclCommCount(rank.comm, &count) == ncclSuccess && count == RANKS);
    CHECK(ncclCommUserRank(rank.comm, &own) == ncclSuccess && own == rank.rank);
    CHECK(ncclCommCuDevice(rank.comm, &device) == ncclSuccess && device == rank.rank);
    CHECK(ncclGroupStart() == ncclSuccess);
    for (int peer = 0; peer < RANKS; ++peer) {
        const size_t at = (size_t)peer * each * sizeof(float);
        CHECK(ncclSend(from.at(at), each, ncclFloat32, peer, rank.comm, rank.stream) == ncclSuccess);
        CHECK(ncclRecv(to.at(at), each, ncclFloat32, peer, rank.comm, rank.stream) == ncclSuccess);
    }
    CHECK(ncclGroupEnd() == ncclSuccess);
    const std::vector<float> got = to.read<float>();
    for (size_t i = 0; i < got.size(); ++i) {
        if (got[i] != (float)(100 * (int)(i / each) + rank.rank)) {
            CHECK(!"a number that rank i / each sent");
            break;
        }
    }
    const size_t own_place = (size_t)rank.rank * each * sizeof(float);
    const ncclResult_t gathered =
        ncclAllGather(to.at(own_place), to.at(), each, ncclFloat32, rank.comm, rank.stream);
    const std::vector<float> all = to.read<float>();
    for (size_t peer = 0; peer < RANKS; ++peer) {
        CHECK(all[peer * each] == (float)(101 * peer) && all[(peer + 1) * each - 1] == (float)(101 * peer));
    }
    return gathered;
}

// Rank 0 sends four numbers, and rank 1 expects five.
ncclResult_t mismatch(Rank rank) {
    const Memory numbers = on_device(std::vector<float>(5, 1.f));
    switch (rank.rank) {
    case 0:
        if (ncclSend(numbers.at(), 4, ncclFloat32, 1, rank.comm, rank.stream) != ncclSuccess) {
            return ncclRemoteError;
        }
        return ncclRecv(numbers.at(), 4, ncclFloat32, 1, rank.comm, rank.stream);
    case 1: return ncclRecv(numbers.at(), 5, ncclFloat32, 0, rank.comm, rank.stream);
    default: return ncclSuccess;
    }
}

// Rank 2 ends, and the others wait for it.
ncclResult_t death(Rank rank) {
    const Memory numbers = on_device(std::vector<float>(RANKS, 1.f));
    if (rank.rank == 2) {
        return ncclSuccess;
    }
    return ncclAllGather(numbers.at(sizeof(float) * (size_t)rank.rank), numbers.at(), 1, ncclFloat32, rank.comm,
                         rank.stream);
}

// What only one rank does, each of which NCCL refuses, or cannot know and reads out of bounds.
ncclResult_t misuse(Rank rank) {
    const Memory numbers = on_device(std::vector<float>(RANKS, 1.f));
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    if (rank.rank == 0) {
        return ncclSend(numbers.at(), RANKS + 1, ncclFloat32, 1, rank.comm, rank.stream);
    }
    if (rank.rank == 1) {
        return ncclSend(numbers.at(), 1, ncclFloat32, RANKS, rank.comm, rank.stream);
    }
    CUcontext other;
    CUstream stream;
    CHECK(cuDevicePrimaryCtxRetain(&other, 0) == CUDA_SUCCESS && cuCtxSetCurrent(other) == CUDA_SUCCESS);
    CHECK(cuStreamCreate(&stream, 0) == CUDA_SUCCESS);
    return ncclSend(numbers.at(), 1, ncclFloat32, 1, rank.comm, stream);
}

} // namespace

void test_nccl() {
    int version = 0;
    CHECK(ncclGetVersion(&version) == ncclSuccess && version >= 21300);
    CHECK(on_ranks(exchange) == (Results{ncclSuccess, ncclSuccess, ncclSuccess}));
    Results results{};
    CHECK(stderr_of([&] { results = on_ranks(mismatch); }).find("rank 0 sent 16 bytes") != std::string::npos);
    CHECK(results == (Results{ncclRemoteError, ncclInvalidUsage, ncclSuccess}));
    CHECK(stderr_of([&] { results = on_ranks(death); }).find("has ended") != std::string::npos);
    CHECK(results == (Results{ncclRemoteError, ncclRemoteError, ncclSuccess}));
    CHECK(stderr_of([&] { results = on_ranks(misuse); }).find("a stream of device 0 for rank 2") != std::string::npos);
    CHECK(results == (Results{ncclInvalidArgument, ncclInvalidArgument, ncclInvalidUsage}));
    CHECK(stderr_of([&] { results = on_ranks(exchange, true); }).find("Duplicate GPU") != std::string::npos);
    for (const ncclResult_t result : results) {
        CHECK(result == ncclInvalidUsage || result == ncclRemoteError);
    }
}

} // namespace selftest
