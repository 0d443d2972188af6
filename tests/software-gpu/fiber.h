// A stack of its own with a point on it where to go on: what a thread of a simulated block is.
#pragma once

#include <cstddef>

#if !defined(__x86_64__) || defined(SOFTWARE_GPU_UCONTEXT)
#define SOFTWARE_GPU_UCONTEXT 1
#include <ucontext.h>
#endif

namespace software_gpu {

struct Fiber {
#ifdef SOFTWARE_GPU_UCONTEXT
    ucontext_t context;
#else
    void *stack_pointer = nullptr;
#endif
    Fiber *came_from = nullptr; // whoever switched here last
    void (*entry)(void *) = nullptr;
    void *argument = nullptr;
    const void *bottom = nullptr; // of the stack; AddressSanitizer wants to know
    size_t size = 0;
    void *fake_stack = nullptr; // AddressSanitizer's
};

// A new one, which runs entry(argument) when it is first switched to; entry must never return. It lives as long as the
// process. `number` counts the fibers that are used together: their stacks begin at different places of a page, for
// else all their hot ends would compete for the same few lines of the cache.
Fiber *make_fiber(void (*entry)(void *), void *argument, size_t number);

// Goes on in `to`, until somebody switches back to `from`. A fiber may go on in another thread of the process than
// before, so what calls this must not keep addresses of thread-local variables over the call.
void switch_fiber(Fiber &from, Fiber &to);

} // namespace software_gpu
