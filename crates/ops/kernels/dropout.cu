// Dropout, whose mask is a function of a seed and of an element's index.
#include "chacha.cuh"
#include "device.cuh"

// y[i] = 0 · x[i] where word i of the stream is below `drop_below`, else scale · x[i]. A thread has a block of the
// stream, which is 16 words.
template <class T>
__device__ __forceinline__ void dropout(const T *__restrict__ x, T *__restrict__ y, i64 n, const u32 *seed,
                                        u64 drop_below, float scale) {
    const i64 step = (i64)gridDim.x * blockDim.x, blocks = (n + 15) / 16;
    for (i64 block = (i64)blockIdx.x * blockDim.x + threadIdx.x; block < blocks; block += step) {
        u32 words[16];
        chacha8(seed, (u64)block, words);
        for (int j = 0; j < 16 && 16 * block + j < n; ++j) {
            const i64 i = 16 * block + j;
            y[i] = narrow<T>(wide(x[i]) * (words[j] < drop_below ? 0.f : scale));
        }
    }
}

// The words of a seed, which comes in four numbers.
#define SEED(a, b, c, d) {(u32)a, (u32)(a >> 32), (u32)b, (u32)(b >> 32), (u32)c, (u32)(c >> 32), (u32)d, (u32)(d >> 32)}

KERNEL(dropout_f32, const float *x, float *y, i64 n, u64 a, u64 b, u64 c, u64 d, u64 drop_below, float scale) {
    const u32 seed[8] = SEED(a, b, c, d);
    dropout(x, y, n, seed, drop_below, scale);
}
KERNEL(dropout_bf16, const bf16 *x, bf16 *y, i64 n, u64 a, u64 b, u64 c, u64 d, u64 drop_below, float scale) {
    const u32 seed[8] = SEED(a, b, c, d);
    dropout(x, y, n, seed, drop_below, scale);
}
