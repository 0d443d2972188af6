// The ChaCha8 stream: random numbers that are a function of a seed and an index.
#pragma once

#include "device.cuh"

__device__ __forceinline__ void quarter_round(u32 &a, u32 &b, u32 &c, u32 &d) {
    a += b, d ^= a, d = d << 16 | d >> 16;
    c += d, b ^= c, b = b << 12 | b >> 20;
    a += b, d ^= a, d = d << 8 | d >> 24;
    c += d, b ^= c, b = b << 7 | b >> 25;
}

// Block `index` of the ChaCha8 stream of a seed (Bernstein 2008), 16 words, as rand_chacha's ChaCha8Rng has it.
__device__ __forceinline__ void chacha8(const u32 *seed, u64 index, u32 *out) {
    const u32 start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, seed[0], seed[1], seed[2], seed[3], seed[4],
                           seed[5],    seed[6],    seed[7],    (u32)index, (u32)(index >> 32), 0, 0};
    u32 s[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        s[i] = start[i];
    }
#pragma unroll
    for (int round = 0; round < 4; ++round) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            quarter_round(s[i], s[4 + i], s[8 + i], s[12 + i]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            quarter_round(s[i], s[4 + (i + 1) % 4], s[8 + (i + 2) % 4], s[12 + (i + 3) % 4]);
        }
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        out[i] = s[i] + start[i];
    }
}
