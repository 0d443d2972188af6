// Passes over activations, element by element.
#include "device.cuh"

// y = f(a) for n elements; 16 bytes at a time where everything lies at a multiple of 16.
template <class T, class F>
__device__ __forceinline__ void map(const T *__restrict__ a, T *__restrict__ y, i64 n, bool aligned, F f) {
    constexpr int N = 16 / sizeof(T);
    const i64 step = (i64)gridDim.x * blockDim.x, first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    const i64 packs = aligned ? n / N : 0;
    for (i64 i = first; i < packs; i += step) {
        const Pack<T, N> from = ((const Pack<T, N> *)a)[i];
        Pack<T, N> to;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            to.at[j] = narrow<T>(f(wide(from.at[j])));
        }
        ((Pack<T, N> *)y)[i] = to;
    }
    for (i64 i = packs * N + first; i < n; i += step) {
        y[i] = narrow<T>(f(wide(a[i])));
    }
}

// y = f(a, b), likewise.
template <class T, class F>
__device__ __forceinline__ void map2(const T *__restrict__ a, const T *__restrict__ b, T *__restrict__ y, i64 n,
                                     bool aligned, F f) {
    constexpr int N = 16 / sizeof(T);
    const i64 step = (i64)gridDim.x * blockDim.x, first = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    const i64 packs = aligned ? n / N : 0;
    for (i64 i = first; i < packs; i += step) {
        const Pack<T, N> left = ((const Pack<T, N> *)a)[i], right = ((const Pack<T, N> *)b)[i];
        Pack<T, N> to;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            to.at[j] = narrow<T>(f(wide(left.at[j]), wide(right.at[j])));
        }
        ((Pack<T, N> *)y)[i] = to;
    }
    for (i64 i = packs * N + first; i < n; i += step) {
        y[i] = narrow<T>(f(wide(a[i]), wide(b[i])));
    }
}

struct Relu {
    __device__ float operator()(float x) const { return x <= 0.f ? 0.f : x; } // NaN is kept
};
struct Masked {
    __device__ float operator()(float y, float dy) const { return y <= 0.f ? 0.f : dy; }
};
struct Sum {
    __device__ float operator()(float a, float b) const { return a + b; }
};

// x times the normal distribution's integral up to x, which is accurate on both sides of 0 as erfc has it.
struct Gelu {
    __device__ float operator()(float x) const { return 0.5f * x * erfcf(-0.70710678f * x); }
};
struct GeluGradient {
    __device__ float operator()(float x, float dy) const {
        return dy * (0.5f * erfcf(-0.70710678f * x) + 0.39894228f * x * expf(-0.5f * x * x));
    }
};

KERNEL(gelu_f32, const float *x, float *y, i64 n, bool aligned) { map(x, y, n, aligned, Gelu()); }
KERNEL(gelu_bf16, const bf16 *x, bf16 *y, i64 n, bool aligned) { map(x, y, n, aligned, Gelu()); }
KERNEL(gelu_gradient_f32, const float *x, const float *dy, float *dx, i64 n, bool aligned) {
    map2(x, dy, dx, n, aligned, GeluGradient());
}
KERNEL(gelu_gradient_bf16, const bf16 *x, const bf16 *dy, bf16 *dx, i64 n, bool aligned) {
    map2(x, dy, dx, n, aligned, GeluGradient());
}

KERNEL(relu_f32, const float *x, float *y, i64 n, bool aligned) { map(x, y, n, aligned, Relu()); }
KERNEL(relu_bf16, const bf16 *x, bf16 *y, i64 n, bool aligned) { map(x, y, n, aligned, Relu()); }

// The gradient behind a ReLU with output y.
KERNEL(masked_f32, const float *y, const float *dy, float *dx, i64 n, bool aligned) {
    map2(y, dy, dx, n, aligned, Masked());
}
KERNEL(masked_bf16, const bf16 *y, const bf16 *dy, bf16 *dx, i64 n, bool aligned) {
    map2(y, dy, dx, n, aligned, Masked());
}

KERNEL(add_f32, const float *a, const float *b, float *y, i64 n, bool aligned) { map2(a, b, y, n, aligned, Sum()); }
KERNEL(add_bf16, const bf16 *a, const bf16 *b, bf16 *y, i64 n, bool aligned) { map2(a, b, y, n, aligned, Sum()); }

// The same numbers in another element type, or in the same.
template <class A, class B> __device__ __forceinline__ void cast(const A *__restrict__ x, B *__restrict__ y, i64 n) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        y[i] = narrow<B>(wide(x[i]));
    }
}
KERNEL(cast_f32_f32, const float *x, float *y, i64 n) { cast(x, y, n); }
KERNEL(cast_f32_bf16, const float *x, bf16 *y, i64 n) { cast(x, y, n); }
KERNEL(cast_bf16_f32, const bf16 *x, float *y, i64 n) { cast(x, y, n); }
KERNEL(cast_bf16_bf16, const bf16 *x, bf16 *y, i64 n) { cast(x, y, n); }

// y[i, j] += bias[j] for n elements in rows of c, of which `each` neighbouring ones have a bias of their own.
template <class T>
__device__ __forceinline__ void add_bias(T *y, const float *__restrict__ bias, i64 n, i64 c, i64 each) {
    const bool apart = n / c > each;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        y[i] = narrow<T>(wide(y[i]) + bias[i % c + (apart ? i / c / each * c : 0)]);
    }
}
KERNEL(add_bias_f32, float *y, const float *bias, i64 n, i64 c, i64 each) { add_bias(y, bias, n, c, each); }
KERNEL(add_bias_bf16, bf16 *y, const float *bias, i64 n, i64 c, i64 each) { add_bias(y, bias, n, c, each); }

// sums[k, j] = the sum of x[i, j] over the rows i of chunk k, of which there are `each`, in f64: blockIdx.y is the chunk. A
// block for each 32 columns, of 32 x 8 threads.
template <class T>
__device__ __forceinline__ void column_sums(const T *__restrict__ x, float *__restrict__ sums, i64 rows, i64 c, i64 each) {
    __shared__ double parts[8][32];
    const i64 column = (i64)blockIdx.x * 32 + threadIdx.x, last = min(rows, (blockIdx.y + 1) * each);
    double sum = 0;
    if (column < c) {
        for (i64 row = blockIdx.y * each + threadIdx.y; row < last; row += 8) {
            sum += wide(x[row * c + column]);
        }
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < c) {
        for (int part = 1; part < 8; ++part) {
            sum += parts[part][threadIdx.x];
        }
        sums[blockIdx.y * c + column] = (float)sum;
    }
}
KERNEL(column_sums_f32, const float *x, float *sums, i64 rows, i64 c, i64 each) { column_sums(x, sums, rows, c, each); }
KERNEL(column_sums_bf16, const bf16 *x, float *sums, i64 rows, i64 c, i64 each) { column_sums(x, sums, rows, c, each); }
