// Switching stacks: by hand on x86-64, where it takes a few nanoseconds; with ucontext, which asks the kernel about
// signal masks each time, elsewhere.
#include "fiber.h"

#include "report.h"

#include <cstdint>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace software_gpu {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t STACK = 512 << 10; // its frames are larger
#else
constexpr size_t STACK = 64 << 10;
#endif

// What every fiber does first after it was switched to.
static void arrive([[maybe_unused]] Fiber &here) {
#ifdef __SANITIZE_ADDRESS__
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(here.fake_stack, &bottom, &size);
    here.came_from->bottom = bottom; // that of a thread of the process is known only now
    here.came_from->size = size;
#endif
}

extern "C" __attribute__((visibility("hidden"), used)) void software_gpu_begin(Fiber *fiber) {
    arrive(*fiber);
    fiber->entry(fiber->argument);
    give_up("a fiber came to its end");
}

#ifndef SOFTWARE_GPU_UCONTEXT
// The registers that a function must keep, by the System V ABI, go on the stack; the rest the compiler saves.
extern "C" __attribute__((visibility("hidden"))) void software_gpu_switch(void **from, void *to);
extern "C" __attribute__((visibility("hidden"))) void software_gpu_start();
asm(R"(
    .text
    .globl software_gpu_switch
    .hidden software_gpu_switch
    .type software_gpu_switch, @function
software_gpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size software_gpu_switch, . - software_gpu_switch

    .globl software_gpu_start
    .hidden software_gpu_start
    .type software_gpu_start, @function
software_gpu_start:
    movq %r12, %rdi
    call software_gpu_begin
    ud2
    .size software_gpu_start, . - software_gpu_start
)");
#else
static void begin(unsigned high, unsigned low) { software_gpu_begin((Fiber *)((uintptr_t)high << 32 | low)); }
#endif

Fiber *make_fiber(void (*entry)(void *), void *argument, size_t number) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), length = page + STACK + page;
    char *memory =
        (char *)mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
        give_up("no memory for the stack of a thread");
    }
    Fiber *fiber = new Fiber;
    fiber->entry = entry;
    fiber->argument = argument;
    fiber->bottom = memory + page; // below lies a page that nobody may touch
    char *top = memory + length - number % 64 * 64;
    fiber->size = (size_t)(top - (char *)fiber->bottom);
#ifdef SOFTWARE_GPU_UCONTEXT
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = (void *)fiber->bottom;
    fiber->context.uc_stack.ss_size = fiber->size;
    fiber->context.uc_link = nullptr;
    const uintptr_t address = (uintptr_t)fiber;
    makecontext(&fiber->context, (void (*)())begin, 2, (unsigned)(address >> 32), (unsigned)address);
#else
    // As if software_gpu_start were about to be returned to: six registers, of which r12 holds the fiber; its address;
    // and two words of zeros, which keep the stack at a multiple of 16 and end a debugger's walk.
    void **stack = (void **)top - 9;
    for (int i = 0; i < 9; ++i) {
        stack[i] = nullptr;
    }
    stack[3] = fiber;
    stack[6] = (void *)software_gpu_start;
    fiber->stack_pointer = stack;
#endif
    return fiber;
}

__attribute__((noinline)) void switch_fiber(Fiber &from, Fiber &to) {
    to.came_from = &from;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#ifdef SOFTWARE_GPU_UCONTEXT
    swapcontext(&from.context, &to.context);
#else
    software_gpu_switch(&from.stack_pointer, to.stack_pointer);
#endif
    arrive(from);
}

} // namespace software_gpu
