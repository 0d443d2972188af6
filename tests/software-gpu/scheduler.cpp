// Runs the blocks of a launch, one after the other, and the threads of a block in turns: each goes on until it waits
// for others, at a barrier of the block or for the lanes of its warp, and then gives way to one that need not wait.
#include "fiber.h"
#include "kernels.h"
#include "order.h"
#include "report.h"
#include "shared_memory.h"
#include "software_gpu.h"

#include <cstring>
#include <mutex>
#include <vector>

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim(0), gridDim(0);

namespace software_gpu {

constexpr unsigned MOST = 1024, WARP = 32;

namespace {

enum class State { Ready, AtBarrier, AtMeeting, Returned };

struct Thread {
    Fiber *fiber; // null until it begins
    uint3 index;
    State state;
};

struct Warp {
    uint32_t members, arrived; // lanes that have not returned; those of them that wait for the others
    const char *meeting;       // what for
    unsigned parity;
    Lanes lanes[2]; // of this meeting and of the one before, which some may still read
};

// Names are literals, most often the same one.
bool same(const char *a, const char *b) { return a == b || strcmp(a, b) == 0; }

// All threads of a block, and their stacks, which are used again for the next block.
class Block {
  public:
    void run(const char *kernel, const Grid &grid, void (*thread)(const void *), const void *closure);
    void barrier(const char *name);
    const Lanes &meet(const char *meeting, unsigned mask, uint64_t value);

  private:
    const char *kernel;
    void (*thread)(const void *);
    const void *closure;
    Order order{Order::Forward, 0};

    std::vector<Thread> threads{MOST};
    Warp warps[MOST / WARP];
    unsigned count, running; // threads; those that have not returned
    unsigned at_barrier;
    const char *barrier_name;
    unsigned current;

    uint16_t ready[MOST]; // a ring
    unsigned first_ready, ready_count;

    Fiber outside; // whoever launched
    std::vector<Fiber *> idle;
    size_t fibers = 0;

    void run_block();
    static void work(void *block);
    void work_on(Fiber *&mine);
    void call();
    void returned();
    void release_barrier();
    void release(Warp &warp);
    void make_ready(uint16_t *numbers, unsigned n);
    void take_turn();
    void give_way();
    Fiber *fiber();
    [[noreturn]] void deadlock();
};

// The block of the launch that this thread of the process is in.
__thread Block *here;

void Block::run(const char *kernel, const Grid &grid, void (*thread)(const void *), const void *closure) {
    this->kernel = kernel;
    this->thread = thread;
    this->closure = closure;
    order = Order::of_next_launch();
    const Size b = grid.blocks, t = grid.threads;
    blockDim = dim3(t.x, t.y, t.z);
    gridDim = dim3(b.x, b.y, b.z);
    count = t.x * t.y * t.z;
    for (unsigned i = 0; i < count; ++i) {
        threads[i].index = uint3{i % t.x, i / t.x % t.y, i / t.x / t.y};
    }
    const uint64_t blocks = (uint64_t)b.x * b.y * b.z;
    const Order::Steps steps = order.steps(blocks);
    for (uint64_t i = 0; i < blocks; ++i) {
        const uint64_t at = steps.at(i);
        blockIdx = uint3{(unsigned)(at % b.x), (unsigned)(at / b.x % b.y), (unsigned)(at / b.x / b.y)};
        run_block();
    }
}

void Block::run_block() {
    running = count;
    at_barrier = 0;
    for (unsigned i = 0; i < count; ++i) {
        threads[i].fiber = nullptr;
        threads[i].state = State::Ready;
        ready[i] = (uint16_t)i;
    }
    for (unsigned w = 0; w * WARP < count; ++w) {
        const unsigned lanes = count - w * WARP;
        warps[w].members = lanes >= WARP ? ~0u : (1u << lanes) - 1;
        warps[w].arrived = warps[w].parity = 0;
    }
    order.arrange(ready, count);
    first_ready = 0;
    ready_count = count;
    take_turn();
    switch_fiber(outside, *(threads[current].fiber = fiber()));
}

// A fiber runs one thread after the other, as long as none waits: then they share a stack, and nothing is switched.
void Block::work(void *block) {
    Fiber *mine = nullptr;
    ((Block *)block)->work_on(mine);
}

__attribute__((noinline)) void Block::work_on(Fiber *&mine) {
    for (;;) {
        mine = threads[current].fiber;
        call();
        returned();
        Fiber *next = &outside;
        if (running > 0) {
            take_turn();
            next = threads[current].fiber;
            if (!next) {
                threads[current].fiber = mine;
                continue;
            }
        }
        idle.push_back(mine);
        switch_fiber(*mine, *next);
    }
}

// Not inlined, as it is the one that fibers, which may later go on in another thread of the process, call to be in this
// one's thread-local variables.
__attribute__((noinline)) void Block::call() { thread(closure); }

void Block::returned() {
    threads[current].state = State::Returned;
    --running;
    Warp &warp = warps[current / WARP];
    warp.members &= ~(1u << current % WARP);
    if (warp.arrived && warp.arrived == warp.members) {
        release(warp);
    }
    if (at_barrier && at_barrier == running) {
        release_barrier();
    }
}

void Block::barrier(const char *name) {
    if (at_barrier && !same(barrier_name, name)) {
        give_up("kernel %s: threads of a block wait at %s and at %s", kernel, barrier_name, name);
    }
    barrier_name = name;
    threads[current].state = State::AtBarrier;
    if (++at_barrier == running) {
        release_barrier();
    }
    give_way();
}

const Lanes &Block::meet(const char *meeting, unsigned mask, uint64_t value) {
    Warp &warp = warps[current / WARP];
    if (warp.members & ~mask) {
        give_up("kernel %s: %s for the lanes %08x of a warp that has %08x; only all together are simulated", kernel,
                meeting, mask, warp.members);
    }
    if (warp.arrived && !same(warp.meeting, meeting)) {
        give_up("kernel %s: lanes of a warp wait at %s and at %s", kernel, warp.meeting, meeting);
    }
    warp.meeting = meeting;
    Lanes &lanes = warp.lanes[warp.parity];
    if (!warp.arrived) {
        for (uint64_t &other : lanes.value) {
            other = ~(uint64_t)0; // what is read from a lane that is not there
        }
    }
    lanes.value[current % WARP] = value;
    warp.arrived |= 1u << current % WARP;
    threads[current].state = State::AtMeeting;
    if (warp.arrived == warp.members) {
        release(warp);
    }
    give_way();
    return lanes;
}

void Block::release_barrier() {
    uint16_t numbers[MOST];
    unsigned n = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (threads[i].state == State::AtBarrier) {
            numbers[n++] = (uint16_t)i;
        }
    }
    at_barrier = 0;
    make_ready(numbers, n);
}

void Block::release(Warp &warp) {
    uint16_t numbers[WARP];
    unsigned n = 0;
    const unsigned first = (unsigned)(&warp - warps) * WARP;
    for (uint32_t left = warp.arrived; left; left &= left - 1) {
        numbers[n++] = (uint16_t)(first + (unsigned)__builtin_ctz(left));
    }
    warp.lanes[warp.parity].given = warp.arrived;
    warp.parity ^= 1;
    warp.arrived = 0;
    make_ready(numbers, n);
}

void Block::make_ready(uint16_t *numbers, unsigned n) {
    order.arrange(numbers, n);
    unsigned at = first_ready + ready_count;
    if (order.runs_ahead()) {
        at = first_ready = (first_ready + MOST - n) % MOST;
    }
    for (unsigned i = 0; i < n; ++i) {
        threads[numbers[i]].state = State::Ready;
        ready[(at + i) % MOST] = numbers[i];
    }
    ready_count += n;
}

// Lets the first thread of those that are ready be the current one.
__attribute__((noinline)) void Block::take_turn() {
    if (ready_count == 0) {
        deadlock();
    }
    current = ready[first_ready];
    first_ready = (first_ready + 1) % MOST;
    --ready_count;
    threadIdx = threads[current].index;
}

void Block::give_way() {
    Thread &from = threads[current];
    take_turn();
    Thread &to = threads[current];
    if (&to == &from) {
        return;
    }
    if (!to.fiber) {
        to.fiber = fiber();
    }
    switch_fiber(*from.fiber, *to.fiber);
}

Fiber *Block::fiber() {
    if (idle.empty()) {
        return make_fiber(work, this, fibers++);
    }
    Fiber *last = idle.back();
    idle.pop_back();
    return last;
}

void Block::deadlock() {
    unsigned returned = 0;
    for (unsigned i = 0; i < count; ++i) {
        returned += threads[i].state == State::Returned;
    }
    report("kernel %s, block (%u, %u, %u) of %u threads: none can go on, %u have returned", kernel, blockIdx.x,
           blockIdx.y, blockIdx.z, count, returned);
    for (unsigned i = 0; i < count; ++i) {
        const Thread &t = threads[i];
        const Warp &warp = warps[i / WARP];
        if (t.state == State::AtBarrier && (i == 0 || threads[i - 1].state != State::AtBarrier)) {
            report("  from thread (%u, %u, %u) on: wait at %s for all others", t.index.x, t.index.y, t.index.z,
                   barrier_name);
        }
        if (t.state == State::AtMeeting && (i % WARP == 0 || threads[i - 1].state != State::AtMeeting)) {
            report("  from thread (%u, %u, %u) on: wait at %s for lanes %08x", t.index.x, t.index.y, t.index.z,
                   warp.meeting, warp.members & ~warp.arrived);
        }
        if (t.state == State::Returned && (i == 0 || threads[i - 1].state != State::Returned)) {
            report("  from thread (%u, %u, %u) on: returned", t.index.x, t.index.y, t.index.z);
        }
    }
    give_up("kernel %s is in a deadlock", kernel);
}

// Blocks that no launch uses now. There are as many as launches ever ran at the same time, and they live as long as the
// process, which may launch in its last destructors.
std::mutex unused_lock;
std::vector<Block *> &unused = *new std::vector<Block *>;

} // namespace

void run_grid(const char *kernel, const void *code, const Grid &grid, void (*thread)(const void *),
              const void *closure) {
    if (here) {
        give_up("kernel %s is launched from a kernel", kernel);
    }
    {
        std::lock_guard<std::mutex> lock(unused_lock);
        if (unused.empty()) {
            unused.push_back(new Block);
        }
        here = unused.back();
        unused.pop_back();
    }
    forget_shared_memory(code);
    here->run(kernel, grid, thread, closure);
    std::lock_guard<std::mutex> lock(unused_lock);
    unused.push_back(here);
    here = nullptr;
}

static Block &block_of_caller(const char *what) {
    if (!here) {
        give_up("%s is called outside of a kernel", what);
    }
    return *here;
}

void barrier(const char *name) { block_of_caller(name).barrier(name); }

const Lanes &meet(const char *meeting, unsigned mask, uint64_t value) {
    return block_of_caller(meeting).meet(meeting, mask, value);
}

} // namespace software_gpu
