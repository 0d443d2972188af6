// LayerScale: h + γ ⊙ x for rows of d elements, and its gradients.
#include "device.cuh"

#define ELEMENTS(i, n)                                                                                                 \
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x)

template <class T>
__device__ __forceinline__ void layer_scale(const T *__restrict__ h, const T *__restrict__ x,
                                            const float *__restrict__ gamma, T *__restrict__ y, i64 n, i64 d) {
    ELEMENTS(i, n) { y[i] = narrow<T>(wide(h[i]) + gamma[i % d] * wide(x[i])); }
}

// dx = γ ⊙ dy
template <class T>
__device__ __forceinline__ void layer_scale_input(const T *__restrict__ dy, const float *__restrict__ gamma,
                                                  T *__restrict__ dx, i64 n, i64 d) {
    ELEMENTS(i, n) { dx[i] = narrow<T>(gamma[i % d] * wide(dy[i])); }
}

// sums[chunk, column] = Σ dy x over the rows of a chunk, of which there are as many as blocks in y; a block of 32 × 8
// threads has 32 columns.
template <class T>
__device__ __forceinline__ void layer_scale_parameter(const T *__restrict__ x, const T *__restrict__ dy, float *sums,
                                                      i64 rows, i64 d) {
    __shared__ float parts[8][32];
    const i64 column = (i64)blockIdx.x * 32 + threadIdx.x, chunk = (rows + gridDim.y - 1) / gridDim.y;
    const i64 last = min(rows, (i64)(blockIdx.y + 1) * chunk);
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
    KERNEL(layer_scale_##NAME, const T *h, const T *x, const float *gamma, T *y, i64 n, i64 d) {                       \
        layer_scale(h, x, gamma, y, n, d);                                                                             \
    }                                                                                                                  \
    KERNEL(layer_scale_input_##NAME, const T *dy, const float *gamma, T *dx, i64 n, i64 d) {                           \
        layer_scale_input(dy, gamma, dx, n, d);                                                                        \
    }                                                                                                                  \
    KERNEL(layer_scale_parameter_##NAME, const T *x, const T *dy, float *sums, i64 rows, i64 d) {                      \
        layer_scale_parameter(x, dy, sums, rows, d);                                                                   \
    }
LAYER_SCALE(float, f32)
LAYER_SCALE(bf16, bf16)
