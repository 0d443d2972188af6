// The memory and the streams of the devices, as their libraries see them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#pragma GCC visibility push(default)
namespace software_gpu {

// Everything here happens at once, in the calling thread. Work on one stream is kept in order, as on a GPU, by a lock
// that whoever works on it holds; work on different streams may overlap. `stream` is a CUstream or cudaStream_t.
using Turn = std::unique_lock<std::recursive_mutex>;

// Waits for the stream; a turn without a lock if there is no such stream.
Turn turn_on(const void *stream);

// Whether `bytes` bytes from `address` on lie in one allocation that is alive. If not, reports it as `what`.
bool is_device_memory(const void *address, size_t bytes, const char *what);

// The device whose context is current in this thread, and the one on which a stream was made; -1 if there is none.
int current_device();
int device_of_stream(const void *stream);

} // namespace software_gpu
#pragma GCC visibility pop
