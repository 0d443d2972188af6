// The element types of matrices and convolutions, and how a tensor core sees them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace software_gpu {

inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

inline float from_bf16(uint16_t x) { return float_of((uint32_t)x << 16); }

// To the nearest, ties to even; NaN stays NaN, as the one that NVIDIA's conversion makes.
inline uint16_t to_bf16(float x) {
    if (std::isnan(x)) {
        return 0x7fff;
    }
    const uint32_t bits = bits_of(x);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// What is left of an f32 in a tensor core: 10 bits of the fraction, to the nearest, ties away from zero.
inline float to_tf32(float x) {
    if (!std::isfinite(x)) {
        return x;
    }
    return float_of((bits_of(x) + 0x1000) & 0xffffe000u);
}

} // namespace software_gpu
