// The kernels that exist, by name, and how one is run.
#pragma once

#include <cstddef>

#pragma GCC visibility push(default)
namespace software_gpu {

struct Size {
    unsigned x, y, z;
};

struct Grid {
    Size blocks, threads;
};

struct Kernel {
    const char *name;
    void (*launch)(void **arguments, const Grid &grid); // as cuLaunchKernel gets them
};

// A kernel of an image of machine code, and one of candle's PTX: both have a cast_f32_bf16.
enum class Origin { Compiled, Candle };

void add_kernel(Origin origin, const Kernel &kernel);
const Kernel *find_kernel(Origin origin, const char *name); // null if there is none

// Runs `thread(closure)` for every thread of every block, which calls the kernel at `code`. What it calls to tell where
// it is, and to wait for others, is in software_gpu.h.
void run_grid(const char *kernel, const void *code, const Grid &grid, void (*thread)(const void *closure),
              const void *closure);

} // namespace software_gpu
#pragma GCC visibility pop
