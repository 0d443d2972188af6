// What every kernel starts from: element types, reductions of a warp and of a block, and how a kernel is declared.
//
// The same sources are compiled twice: by nvcc for a GPU, and by a C++ compiler for the software GPU, on which the tests
// run where there is none (tests/software-gpu in the workspace).
#pragma once

#ifdef MSHARP_SOFTWARE_GPU
#include "software_gpu.h"
#else
#include <cuda_bf16.h>
// A kernel that the host can launch by its name.
#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
#endif

typedef __nv_bfloat16 bf16;
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

constexpr int WARP = 32;

// Numbers are kept as T and computed with in f32.
__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __bfloat162float(x); }
template <class T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }

// N neighbouring elements, which travel in one instruction where they lie at a multiple of their size.
template <class T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

// The sum over the lanes of a warp, in every lane.
template <class A> __device__ __forceinline__ A warp_sum(A value) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, lane);
    }
    return value;
}

// The largest over the lanes of a warp, in every lane; of what is NaN, nothing counts.
template <class A> __device__ __forceinline__ A warp_max(A value) {
    for (int lane = WARP / 2; lane > 0; lane /= 2) {
        value = fmax(value, __shfl_xor_sync(0xffffffffu, value, lane));
    }
    return value;
}

// The sum over the threads of a block of at most 1024 in x, in every thread. Always the same order, so the same bits.
template <class A> __device__ __forceinline__ A block_sum(A value) {
    __shared__ A sums[WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = (blockDim.x + WARP - 1) / WARP;
    value = warp_sum(value);
    __syncthreads(); // the sums of a call before may still be read
    if (lane == 0) {
        sums[warp] = value;
    }
    __syncthreads();
    return warp_sum(lane < warps ? sums[lane] : A(0));
}

// Whether this block is the last of `blocks` to get here; what the others wrote before is then visible to it. `count` is
// 0 before and after.
__device__ __forceinline__ bool last_block(u32 *count, u32 blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        last = atomicAdd(count, 1u) == blocks - 1;
        if (last) {
            *count = 0;
        }
    }
    __syncthreads();
    if (last) {
        __threadfence();
    }
    return last;
}

// A number that another block of this launch wrote, past the cache of this one's processor.
template <class A> __device__ __forceinline__ A written_by_others(const A *x) { return *(const volatile A *)x; }
