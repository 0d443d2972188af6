// LayerScale: h + γ ⊙ x for rows of d elements, and its gradients. `each` neighbouring rows have a γ of their own.
#include "device.cuh"

#define ELEMENTS(i, n)                                                                                                 \
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x)

// Where the scale of element i is, of n.
__device__ __forceinline__ i64 scale_of(i64 i, i64 n, i64 d, i64 each) {
    return i % d + (n / d > each ? i / d / each * d : 0);
}

template <class T>
__device__ __forceinline__ void layer_scale(const T *__restrict__ h, const T *__restrict__ x,
                                            const float *__restrict__ gamma, T *__restrict__ y, i64 n, i64 d, i64 each) {
    ELEMENTS(i, n) { y[i] = narrow<T>(wide(h[i]) + gamma[scale_of(i, n, d, each)] * wide(x[i])); }
}

// dx = γ ⊙ dy
template <class T>
__device__ __forceinline__ void layer_scale_input(const T *__restrict__ dy, const float *__restrict__ gamma,
                                                  T *__restrict__ dx, i64 n, i64 d, i64 each) {
    ELEMENTS(i, n) { dx[i] = narrow<T>(gamma[scale_of(i, n, d, each)] * wide(dy[i])); }
}

// sums[chunk, column] = Σ dy x over the `chunk` rows of a chunk, blockIdx.y; a block of 32 × 8 threads has 32 columns.
template <class T>
__device__ __forceinline__ void layer_scale_parameter(const T *__restrict__ x, const T *__restrict__ dy, float *sums,
                                                      i64 rows, i64 d, i64 chunk) {
    __shared__ float parts[8][32];
    const i64 column = (i64)blockIdx.x * 32 + threadIdx.x, last = min(rows, (blockIdx.y + 1) * chunk);
    float sum = 0;
    if (column < d) {
        for (i64 row = blockIdx.y * chunk + threadIdx.y; row < last; row += 8) {
            sum += wide(dy[row * d + column]) * wide(x[row * d + column]);
        }
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < d) {
        for (int part = 1; part < 8; ++part) {
            sum += parts[part][threadIdx.x];
        }
        sums[blockIdx.y * d + column] = sum;
    }
}

#define LAYER_SCALE(T, NAME)                                                                                           \
    KERNEL(layer_scale_##NAME, const T *h, const T *x, const float *gamma, T *y, i64 n, i64 d, i64 each) {             \
        layer_scale(h, x, gamma, y, n, d, each);                                                                       \
    }                                                                                                                  \
    KERNEL(layer_scale_input_##NAME, const T *dy, const float *gamma, T *dx, i64 n, i64 d, i64 each) {                 \
        layer_scale_input(dy, gamma, dx, n, d, each);                                                                  \
    }                                                                                                                  \
    KERNEL(layer_scale_parameter_##NAME, const T *x, const T *dy, float *sums, i64 rows, i64 d, i64 chunk) {           \
        layer_scale_parameter(x, dy, sums, rows, d, chunk);                                                            \
    }
LAYER_SCALE(float, f32)
LAYER_SCALE(bf16, bf16)
