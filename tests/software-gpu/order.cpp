// Orders, and what the environment says about them.
#include "order.h"

#include "report.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace software_gpu {

static Order::Kind kind() {
    const char *name = getenv("MSHARP_SOFTWARE_GPU_ORDER");
    if (!name || strcmp(name, "shuffled") == 0) {
        return Order::Shuffled;
    }
    if (strcmp(name, "forward") == 0) {
        return Order::Forward;
    }
    if (strcmp(name, "backward") == 0) {
        return Order::Backward;
    }
    give_up("MSHARP_SOFTWARE_GPU_ORDER is %s, not forward, backward or shuffled", name);
}

Order Order::of_next_launch() {
    static std::atomic<uint64_t> launches{0};
    const char *seed = getenv("MSHARP_SOFTWARE_GPU_SEED");
    return Order(software_gpu::kind(), (seed ? strtoull(seed, nullptr, 0) : 0) * 0x100000001b3 + launches++);
}

Order::Steps Order::steps(uint64_t n) {
    Steps steps;
    steps.n = n;
    if (kind == Forward || n == 1) {
        steps.first = 0;
        steps.step = 1;
    } else if (kind == Backward) {
        steps.first = n - 1;
        steps.step = n - 1;
    } else {
        // A step without a common divisor with n comes to every number.
        steps.first = random.next() % n;
        do {
            steps.step = 1 + random.next() % (n - 1);
        } while (std::gcd(steps.step, n) != 1);
    }
    return steps;
}

} // namespace software_gpu
