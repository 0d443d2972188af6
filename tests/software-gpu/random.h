// A small generator of random numbers (Marsaglia's xorshift64*), for orders and for curand's stand-in.
#pragma once

#include <cstdint>

namespace software_gpu {

struct Random {
    uint64_t state;

    // Any seed will do: it is mixed first (the finaliser of splitmix64), and must not become 0.
    explicit Random(uint64_t seed) {
        seed += 0x9e3779b97f4a7c15;
        seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;
        seed = (seed ^ seed >> 27) * 0x94d049bb133111eb;
        state = (seed ^ seed >> 31) | 1;
    }

    uint64_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545f4914f6cdd1d;
    }

    // Below n, which is at most 2^32.
    uint32_t below(uint64_t n) { return (uint32_t)((next() >> 32) * n >> 32); }

    // In (0, 1], as curand's are.
    double uniform() { return ((double)(next() >> 11) + 1) * 0x1p-53; }
};

} // namespace software_gpu
