// CUDA's language for plain C++: what the kernels of crates/ops/kernels need to be compiled for the software GPU.
//
// What is left out does not compile, on purpose: bfloat16 has no arithmetic here (the kernels compute in f32), and
// shared memory that a launch asks for does not exist.
#pragma once

#include <cassert>
#include <cfloat>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <math.h>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels.h"
#include "numbers.h"

// --- Declarations --------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ __attribute__((unused))
#define __align__(n) alignas(n)
// Blocks of one thread of the process run one after the other, so a variable is the whole block's if it is that
// thread's. AddressSanitizer guards the ends of common variables only; with it, launches wait for each other instead.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

// A kernel that cuModuleGetFunction finds by its name.
#define KERNEL(name, ...) SOFTWARE_GPU_KERNEL(name, __VA_ARGS__)
#define SOFTWARE_GPU_KERNEL(name, ...)                                                                                 \
    extern "C" void name(__VA_ARGS__);                                                                                 \
    static const ::software_gpu::Registration software_gpu_registration_of_##name(                                     \
        #name, [](void **arguments, const ::software_gpu::Grid &grid) {                                                \
            ::software_gpu::launch(#name, &name, arguments, grid);                                                     \
        });                                                                                                            \
    extern "C" void name(__VA_ARGS__)

// --- Vectors -------------------------------------------------------------------------------------------------------

#define SOFTWARE_GPU_VECTORS(type, name)                                                                               \
    struct name##1 { type x; };                                                                                        \
    struct alignas(2 * sizeof(type)) name##2 { type x, y; };                                                           \
    struct name##3 { type x, y, z; };                                                                                  \
    struct alignas(4 * sizeof(type) > 16 ? 16 : 4 * sizeof(type)) name##4 { type x, y, z, w; };                        \
    inline name##1 make_##name##1(type x) { return {x}; }                                                              \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                                   \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                                        \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
SOFTWARE_GPU_VECTORS(signed char, char)
SOFTWARE_GPU_VECTORS(unsigned char, uchar)
SOFTWARE_GPU_VECTORS(short, short)
SOFTWARE_GPU_VECTORS(unsigned short, ushort)
SOFTWARE_GPU_VECTORS(int, int)
SOFTWARE_GPU_VECTORS(unsigned, uint)
SOFTWARE_GPU_VECTORS(long long, longlong)
SOFTWARE_GPU_VECTORS(unsigned long long, ulonglong)
SOFTWARE_GPU_VECTORS(float, float)
SOFTWARE_GPU_VECTORS(double, double)
#undef SOFTWARE_GPU_VECTORS

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// --- Where a thread is, and how it waits for others ----------------------------------------------------------------

#pragma GCC visibility push(default)
extern __thread uint3 threadIdx, blockIdx;
extern __thread dim3 blockDim, gridDim;
#pragma GCC visibility pop
constexpr int warpSize = 32;

namespace software_gpu {

// What the lanes of a warp brought to a meeting.
struct Lanes {
    uint64_t value[32]; // all bits 1 for a lane that was not there
    uint32_t given;     // who was
};

#pragma GCC visibility push(default)
// Until all threads of the block that have not returned are here.
void barrier(const char *name);

// Until all lanes of the warp that have not returned are here, with a value each. The answer is good until the next
// call.
const Lanes &meet(const char *meeting, unsigned mask, uint64_t value);
#pragma GCC visibility pop

inline unsigned lane() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32; }

template <class T> uint64_t packed(T value) {
    static_assert((sizeof(T) == 4 || sizeof(T) == 8) && std::is_trivially_copyable_v<T>,
                  "a shuffle takes 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> T unpacked(uint64_t bits) {
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace software_gpu

inline void __syncthreads() { software_gpu::barrier("__syncthreads"); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { software_gpu::meet("__syncwarp", mask, 0); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __threadfence(); }
inline void __threadfence_system() { __threadfence(); }

// Lanes of a segment of `width` neighbours; one that is asked for beyond it answers with the asker's own value.
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const unsigned lane = software_gpu::lane(), segment = lane & ~(unsigned)(width - 1);
    const software_gpu::Lanes &lanes = software_gpu::meet("__shfl_sync", mask, software_gpu::packed(value));
    return software_gpu::unpacked<T>(lanes.value[segment + ((unsigned)source & (unsigned)(width - 1))]);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    const unsigned lane = software_gpu::lane(), source = lane ^ (unsigned)bits;
    const software_gpu::Lanes &lanes = software_gpu::meet("__shfl_xor_sync", mask, software_gpu::packed(value));
    const bool beyond = source >= (lane & ~(unsigned)(width - 1)) + (unsigned)width;
    return software_gpu::unpacked<T>(lanes.value[beyond ? lane : source]);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const unsigned lane = software_gpu::lane();
    const software_gpu::Lanes &lanes = software_gpu::meet("__shfl_down_sync", mask, software_gpu::packed(value));
    const bool beyond = lane % (unsigned)width + delta >= (unsigned)width;
    return software_gpu::unpacked<T>(lanes.value[beyond ? lane : lane + delta]);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const unsigned lane = software_gpu::lane();
    const software_gpu::Lanes &lanes = software_gpu::meet("__shfl_up_sync", mask, software_gpu::packed(value));
    const bool beyond = lane % (unsigned)width < delta;
    return software_gpu::unpacked<T>(lanes.value[beyond ? lane : lane - delta]);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const software_gpu::Lanes &lanes = software_gpu::meet("__ballot_sync", mask, predicate != 0);
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        ballot |= (unsigned)(lanes.given >> lane & 1 & (lanes.value[lane] != 0)) << lane;
    }
    return ballot;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

// --- Atomics: threads take turns, so nothing happens in between; other launches are another matter -----------------

inline int atomicAdd(int *at, int x) { return __atomic_fetch_add(at, x, __ATOMIC_SEQ_CST); }
inline unsigned atomicAdd(unsigned *at, unsigned x) { return __atomic_fetch_add(at, x, __ATOMIC_SEQ_CST); }
inline unsigned long long atomicAdd(unsigned long long *at, unsigned long long x) {
    return __atomic_fetch_add(at, x, __ATOMIC_SEQ_CST);
}
inline float atomicAdd(float *at, float x) {
    const float before = *at;
    *at = before + x;
    return before;
}
inline double atomicAdd(double *at, double x) {
    const double before = *at;
    *at = before + x;
    return before;
}
template <class T> T atomicExch(T *at, T x) {
    const T before = *at;
    *at = x;
    return before;
}
template <class T> T atomicCAS(T *at, T expected, T x) {
    const T before = *at;
    if (before == expected) {
        *at = x;
    }
    return before;
}
template <class T> T atomicMax(T *at, T x) {
    const T before = *at;
    if (x > before) {
        *at = x;
    }
    return before;
}
template <class T> T atomicMin(T *at, T x) {
    const T before = *at;
    if (x < before) {
        *at = x;
    }
    return before;
}

// --- Numbers -------------------------------------------------------------------------------------------------------

template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b) {
    using C = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<C>) {
        return fmin((C)a, (C)b);
    } else {
        return (C)a < (C)b ? (C)a : (C)b;
    }
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b) {
    using C = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<C>) {
        return fmax((C)a, (C)b);
    } else {
        return (C)a > (C)b ? (C)a : (C)b;
    }
}

inline float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x >= 1.f ? 1.f : x > 0.f ? x : 0.f; }
inline float __expf_(float x) { return expf(x); }
inline float __logf_(float x) { return logf(x); }
#define __expf __expf_ // libm has functions of these names, which are not for us
#define __logf __logf_

inline unsigned __float_as_uint(float x) { return software_gpu::unpacked<unsigned>(software_gpu::packed(x)); }
inline int __float_as_int(float x) { return software_gpu::unpacked<int>(software_gpu::packed(x)); }
inline float __uint_as_float(unsigned x) { return software_gpu::unpacked<float>(x); }
inline float __int_as_float(int x) { return software_gpu::unpacked<float>((unsigned)x); }
inline long long __double_as_longlong(double x) { return software_gpu::unpacked<long long>(software_gpu::packed(x)); }
inline double __longlong_as_double(long long x) { return software_gpu::unpacked<double>((uint64_t)x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
    return (unsigned)((((unsigned long long)high << 32 | low) << (n & 31)) >> 32);
}

template <class T> T __ldg(const T *at) { return *at; }
template <class T> T __ldcs(const T *at) { return *at; }
template <class T> T __ldcg(const T *at) { return *at; }
template <class T> void __stcs(T *at, T x) { *at = x; }
template <class T> void __stcg(T *at, T x) { *at = x; }

// bfloat16, to be converted.
struct __nv_bfloat16 {
    unsigned short bits;
    __nv_bfloat16() = default; // no constructor that does anything: shared memory has them
    explicit __nv_bfloat16(float x) : bits(software_gpu::to_bf16(x)) {}
    explicit operator float() const { return software_gpu::from_bf16(bits); }
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
inline __nv_bfloat16 __float2bfloat16(float x) { return __nv_bfloat16(x); }
inline float __bfloat162float(__nv_bfloat16 x) { return (float)x; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 x;
    x.bits = bits;
    return x;
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__nv_bfloat16(x), __nv_bfloat16(y)}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 x) { return {__nv_bfloat16(x.x), __nv_bfloat16(x.y)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 x) { return {(float)x.x, (float)x.y}; }

// --- How a kernel gets its arguments -------------------------------------------------------------------------------

namespace software_gpu {

struct Registration {
    Registration(const char *name, void (*launch)(void **, const Grid &)) {
        add_kernel(Origin::Compiled, Kernel{name, launch});
    }
};

template <class... P> struct Call {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
    static void run(const void *call) { std::apply(((const Call *)call)->kernel, ((const Call *)call)->arguments); }
};

// An argument of cuLaunchKernel points to the value, which need not lie at a multiple of its size.
template <class T> T argument(const void *from) {
    static_assert(std::is_trivially_copyable_v<T>, "a kernel's arguments are copied byte by byte");
    T value;
    memcpy(&value, from, sizeof value);
    return value;
}

template <class... P, size_t... I>
void launch(const char *name, void (*kernel)(P...), void **arguments, const Grid &grid, std::index_sequence<I...>) {
    const Call<P...> call{kernel, std::tuple<P...>(argument<P>(arguments[I])...)};
    run_grid(name, (const void *)kernel, grid, Call<P...>::run, &call);
}
template <class... P> void launch(const char *name, void (*kernel)(P...), void **arguments, const Grid &grid) {
    launch(name, kernel, arguments, grid, std::index_sequence_for<P...>());
}

} // namespace software_gpu
