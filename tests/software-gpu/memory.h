// The memory and the streams of the device, as its libraries see them.
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

} // namespace software_gpu
#pragma GCC visibility pop
