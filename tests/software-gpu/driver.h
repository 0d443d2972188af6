// What the parts of the driver's stand-in share.
#pragma once

#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop

#include "memory.h"
#include "report.h"

namespace software_gpu {

constexpr int MULTIPROCESSORS = 132, THREADS_OF_BLOCK = 1024, THREADS_OF_MULTIPROCESSOR = 2048;
constexpr size_t MEMORY = (size_t)16 << 30;
constexpr int DEVICES = 10; // at most

int device_count();
bool has_device(CUdevice device);

// The error of a call that needs the driver to be initialised, or a context to be current; CUDA_SUCCESS otherwise.
CUresult need_driver(const char *function);
CUresult need_context(const char *function);

// The same where a stream other than the default ones does as well, which brings its context along.
CUresult need_context(const char *function, CUstream stream);

size_t memory_in_use();

// The error of waiting for a stream, or of copying between it and the host, while it is captured: a graph that is
// launched later can do neither. CUDA_SUCCESS where it is not.
CUresult may_wait(const char *function, CUstream stream);

} // namespace software_gpu
