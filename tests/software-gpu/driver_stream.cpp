// The driver's streams and events. What is put on a stream is done when the call returns, so a stream is a lock and an
// event is a time.
#include "driver.h"

#include <chrono>
#include <map>
#include <memory>
#include <set>

namespace software_gpu {

namespace {

struct Stream {
    std::recursive_mutex mutex;
    int device = -1; // of a default stream: that of the thread
    bool captured = false;
};

// Never destroyed, as the memory.
struct Streams {
    std::mutex mutex;
    std::map<const void *, std::shared_ptr<Stream>> alive{
        {nullptr, std::make_shared<Stream>()},
        {CU_STREAM_LEGACY, std::make_shared<Stream>()},
        {CU_STREAM_PER_THREAD, std::make_shared<Stream>()}, // one for all threads, which is stricter
    };
};

Streams &streams() {
    static Streams *streams = new Streams;
    return *streams;
}

struct Event {
    unsigned flags;
    bool recorded = false;
    std::chrono::steady_clock::time_point time;
};

struct Events {
    std::mutex mutex;
    std::map<CUevent, Event> alive;
};

Events &events() {
    static Events *events = new Events;
    return *events;
}

// Does `work` with an event that exists.
template <class F> CUresult with(const char *function, CUevent event, F work) {
    if (const CUresult error = need_driver(function)) {
        return error;
    }
    const std::lock_guard<std::mutex> lock(events().mutex);
    const auto found = events().alive.find(event);
    if (found == events().alive.end()) {
        report("%s: there is no such event", function);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return work(found->second);
}

// Does `work` with a stream that exists.
template <class F> CUresult with_stream(const char *function, CUstream stream, F work) {
    if (const CUresult error = need_context(function, stream)) {
        return error;
    }
    const std::lock_guard<std::mutex> lock(streams().mutex);
    const auto found = streams().alive.find(stream);
    return found == streams().alive.end() ? CUDA_ERROR_INVALID_HANDLE : work(*found->second);
}

CUresult need_stream(const char *function, CUstream stream) {
    if (const CUresult error = need_context(function, stream)) {
        return error;
    }
    return turn_on(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

} // namespace

Turn turn_on(const void *stream) {
    std::shared_ptr<Stream> found;
    {
        const std::lock_guard<std::mutex> lock(streams().mutex);
        const auto at = streams().alive.find(stream);
        if (at == streams().alive.end()) {
            report("there is no stream %p", stream);
            return Turn();
        }
        found = at->second;
    }
    return Turn(found->mutex); // a stream is not destroyed while somebody uses it
}

int device_of_stream(const void *stream) {
    const std::lock_guard<std::mutex> lock(streams().mutex);
    const auto found = streams().alive.find(stream);
    if (found == streams().alive.end()) {
        return -1;
    }
    return found->second->device < 0 ? current_device() : found->second->device;
}

CUresult may_wait(const char *function, CUstream stream) {
    if (const CUresult error = need_stream(function, stream)) {
        return error;
    }
    return with_stream(function, stream, [&](Stream &s) {
        if (s.captured) {
            report("%s: on a stream that is captured", function);
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        return CUDA_SUCCESS;
    });
}

} // namespace software_gpu

using namespace software_gpu;

CUresult cuStreamCreate(CUstream *stream, unsigned) {
    if (const CUresult error = need_context("cuStreamCreate")) {
        return error;
    }
    const std::lock_guard<std::mutex> lock(streams().mutex);
    auto made = std::make_shared<Stream>();
    made->device = current_device();
    *stream = (CUstream)made.get();
    streams().alive[*stream] = made;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

CUresult cuStreamDestroy(CUstream stream) {
    const bool is_default = stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
    {
        const Turn turn = turn_on(stream);
        if (!turn || is_default) {
            report("cuStreamDestroy: no stream that can be destroyed");
            return CUDA_ERROR_INVALID_HANDLE;
        }
    }
    const std::lock_guard<std::mutex> lock(streams().mutex);
    streams().alive.erase(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) { return may_wait("cuStreamSynchronize", stream); }

CUresult cuStreamQuery(CUstream stream) { return may_wait("cuStreamQuery", stream); }

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    if (const CUresult error = need_stream("cuStreamWaitEvent", stream)) {
        return error;
    }
    return with("cuStreamWaitEvent", event, [](Event &) { return CUDA_SUCCESS; });
}

// What is captured is done all the same, at once, and the graph is empty: a capture here is good for seeing what may not
// be captured, and for nothing else.
CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode) {
    return with_stream("cuStreamBeginCapture", stream, [&](Stream &s) {
        if (s.captured || stream == nullptr || stream == CU_STREAM_LEGACY) {
            report("cuStreamBeginCapture: a stream that is captured, or that cannot be");
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
        s.captured = true;
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    return with_stream("cuStreamEndCapture", stream, [&](Stream &s) {
        if (!s.captured) {
            report("cuStreamEndCapture: a stream that is not captured");
            return CUDA_ERROR_ILLEGAL_STATE;
        }
        s.captured = false;
        *graph = (CUgraph)&s; // no address that anybody looks at
        return CUDA_SUCCESS;
    });
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long) {
    *executable = (CUgraphExec)graph;
    return need_driver("cuGraphInstantiateWithFlags");
}

CUresult cuGraphDestroy(CUgraph) { return need_driver("cuGraphDestroy"); }

CUresult cuGraphExecDestroy(CUgraphExec) { return need_driver("cuGraphExecDestroy"); }

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    return with_stream("cuStreamIsCapturing", stream, [&](Stream &s) {
        *status = s.captured ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *, CUgraph *,
                                const CUgraphNode **, const CUgraphEdgeData **, size_t *) {
    return cuStreamIsCapturing(stream, status); // the others are set only while something is captured
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    static thread_local CUstreamCaptureMode current = CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::swap(*mode, current);
    return need_driver("cuThreadExchangeStreamCaptureMode");
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data) {
    if (const CUresult error = need_stream("cuLaunchHostFunc", stream)) {
        return error;
    }
    function(data);
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    if (const CUresult error = need_context("cuEventCreate")) {
        return error;
    }
    static cuuint64_t made = 0;
    const std::lock_guard<std::mutex> lock(events().mutex);
    *event = (CUevent)(0x1000 + 16 * ++made); // no address, and never one that was used before
    events().alive[*event] = Event{flags, false, {}};
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    const CUresult found = with("cuEventDestroy", event, [](Event &) { return CUDA_SUCCESS; });
    const std::lock_guard<std::mutex> lock(events().mutex);
    events().alive.erase(event);
    return found;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    if (const CUresult error = need_stream("cuEventRecord", stream)) {
        return error;
    }
    return with("cuEventRecord", event, [](Event &event) {
        event.recorded = true;
        event.time = std::chrono::steady_clock::now();
        return CUDA_SUCCESS;
    });
}

CUresult cuEventQuery(CUevent event) {
    return with("cuEventQuery", event, [](Event &) { return CUDA_SUCCESS; });
}

CUresult cuEventSynchronize(CUevent event) {
    return with("cuEventSynchronize", event, [](Event &) { return CUDA_SUCCESS; });
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    Event first, last;
    const auto into = [](Event &copy) {
        return [&copy](Event &event) {
            copy = event;
            return CUDA_SUCCESS;
        };
    };
    if (const CUresult error = with("cuEventElapsedTime", start, into(first))) {
        return error;
    }
    if (const CUresult error = with("cuEventElapsedTime", end, into(last))) {
        return error;
    }
    for (const Event &event : {first, last}) {
        if (!event.recorded || event.flags & CU_EVENT_DISABLE_TIMING) {
            report("cuEventElapsedTime: an event that %s", event.recorded ? "has no time" : "was not recorded");
            return CUDA_ERROR_INVALID_HANDLE;
        }
    }
    *milliseconds = std::chrono::duration<float, std::milli>(last.time - first.time).count();
    return CUDA_SUCCESS;
}
