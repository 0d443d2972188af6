// Pooling, channels last. A thread for N neighbouring channels of each pixel, which are one vector; indices have 32 bits,
// whose divisions are cheap.
#include "device.cuh"

struct Window {
    int h, w, c, oh, ow, kh, kw, sy, sx, py, px;
};

// The windows [first, last) along one axis that contain position `at`.
__device__ __forceinline__ void windows(int at, int kernel, int stride, int padding, int count, int &first, int &last) {
    const int reach = at + padding - kernel; // the window before the first ends here
    first = reach < 0 ? 0 : reach / stride + 1;
    last = min(count, (at + padding) / stride + 1);
}

// The place of vector `i` of an image [h, w, c / N]: its first channel, its pixel, and the image.
struct Place {
    u32 channel, x, y, image;
};
template <int N> __device__ __forceinline__ Place place(u32 i, int h, int w, int c) {
    const u32 vectors = c / N, pixel = i / vectors, row = pixel / w;
    return {(i - pixel * vectors) * N, pixel - row * w, row % h, row / h};
}

// The largest of each window, and where in its window it lies: the first one, row by row; NaN counts as the largest.
template <class T, int N>
__device__ __forceinline__ void max_pool(const T *__restrict__ x, T *__restrict__ y, u8 *__restrict__ winner, u32 n,
                                         Window p) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n / N; i += gridDim.x * blockDim.x) {
        const Place o = place<N>(i, p.oh, p.ow, p.c);
        const T *image = x + (u64)o.image * p.h * p.w * p.c + o.channel;
        Pack<T, N> best;
        Pack<u8, N> at;
        bool any = false;
        for (int ky = 0; ky < p.kh; ++ky) {
            const int row = (int)o.y * p.sy - p.py + ky;
            for (int kx = 0; kx < p.kw; ++kx) {
                const int column = (int)o.x * p.sx - p.px + kx;
                if (row < 0 || row >= p.h || column < 0 || column >= p.w) {
                    continue;
                }
                const Pack<T, N> candidate = *(const Pack<T, N> *)(image + (row * p.w + column) * p.c);
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    const float value = wide(candidate.at[j]);
                    if (!any || value > wide(best.at[j]) || value != value) {
                        best.at[j] = candidate.at[j];
                        at.at[j] = (u8)(ky * p.kw + kx);
                    }
                }
                any = true;
            }
        }
        ((Pack<T, N> *)y)[i] = best;
        ((Pack<u8, N> *)winner)[i] = at;
    }
}
#define MAX_POOL(T, N)                                                                                                 \
    KERNEL(max_pool_##T##_##N, const T *x, T *y, u8 *winner, u32 n, int h, int w, int c, int oh, int ow, int kh,      \
           int kw, int sy, int sx, int py, int px) {                                                                   \
        max_pool<T, N>(x, y, winner, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});                              \
    }
MAX_POOL(float, 4)
MAX_POOL(float, 1)
MAX_POOL(bf16, 8)
MAX_POOL(bf16, 1)

// dx of it: each element reads the windows that contain it, so nothing is written twice.
template <class T, int N>
__device__ __forceinline__ void max_pool_gradient(const T *__restrict__ dy, const u8 *__restrict__ winner,
                                                  T *__restrict__ dx, u32 n, Window p) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n / N; i += gridDim.x * blockDim.x) {
        const Place o = place<N>(i, p.h, p.w, p.c);
        const u64 image = (u64)o.image * p.oh * p.ow * p.c + o.channel;
        int y0, y1, x0, x1;
        windows(o.y, p.kh, p.sy, p.py, p.oh, y0, y1);
        windows(o.x, p.kw, p.sx, p.px, p.ow, x0, x1);
        float sum[N] = {};
        for (int oy = y0; oy < y1; ++oy) {
            for (int ox = x0; ox < x1; ++ox) {
                const u64 at = image + (oy * p.ow + ox) * p.c;
                const int place = ((int)o.y - oy * p.sy + p.py) * p.kw + (int)o.x - ox * p.sx + p.px;
                const Pack<u8, N> won = *(const Pack<u8, N> *)(winner + at);
                const Pack<T, N> grad = *(const Pack<T, N> *)(dy + at);
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    sum[j] += won.at[j] == place ? wide(grad.at[j]) : 0.f;
                }
            }
        }
        Pack<T, N> to;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            to.at[j] = narrow<T>(sum[j]);
        }
        ((Pack<T, N> *)dx)[i] = to;
    }
}
#define MAX_POOL_GRADIENT(T, N)                                                                                        \
    KERNEL(max_pool_gradient_##T##_##N, const T *dy, const u8 *winner, T *dx, u32 n, int h, int w, int c, int oh,     \
           int ow, int kh, int kw, int sy, int sx, int py, int px) {                                                   \
        max_pool_gradient<T, N>(dy, winner, dx, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});                   \
    }
MAX_POOL_GRADIENT(float, 4)
MAX_POOL_GRADIENT(float, 1)
MAX_POOL_GRADIENT(bf16, 8)
MAX_POOL_GRADIENT(bf16, 1)

// share times the sum of x over a rectangle of pixels, `width` in a row of the image.
template <class T, int N>
__device__ __forceinline__ Pack<T, N> scaled_sum(const T *image, int width, int c, int y0, int y1, int x0, int x1,
                                                 float share) {
    float sum[N] = {};
    for (int y = y0; y < y1; ++y) {
        for (int x = x0; x < x1; ++x) {
            const Pack<T, N> value = *(const Pack<T, N> *)(image + (y * width + x) * c);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                sum[j] += wide(value.at[j]);
            }
        }
    }
    Pack<T, N> to;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        to.at[j] = narrow<T>(sum[j] * share);
    }
    return to;
}

// The mean of each window, padding counted as zeros.
template <class T, int N>
__device__ __forceinline__ void average_pool(const T *__restrict__ x, T *__restrict__ y, u32 n, Window p) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n / N; i += gridDim.x * blockDim.x) {
        const Place o = place<N>(i, p.oh, p.ow, p.c);
        const T *image = x + (u64)o.image * p.h * p.w * p.c + o.channel;
        const int top = (int)o.y * p.sy - p.py, left = (int)o.x * p.sx - p.px;
        const int y0 = max(top, 0), y1 = min(top + p.kh, p.h), x0 = max(left, 0), x1 = min(left + p.kw, p.w);
        ((Pack<T, N> *)y)[i] = scaled_sum<T, N>(image, p.w, p.c, y0, y1, x0, x1, 1.f / (p.kh * p.kw));
    }
}
#define AVERAGE_POOL(T, N)                                                                                             \
    KERNEL(average_pool_##T##_##N, const T *x, T *y, u32 n, int h, int w, int c, int oh, int ow, int kh, int kw,      \
           int sy, int sx, int py, int px) {                                                                           \
        average_pool<T, N>(x, y, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});                                  \
    }
AVERAGE_POOL(float, 4)
AVERAGE_POOL(float, 1)
AVERAGE_POOL(bf16, 8)
AVERAGE_POOL(bf16, 1)

// dx of it: a share of every window that contains the element.
template <class T, int N>
__device__ __forceinline__ void average_pool_gradient(const T *__restrict__ dy, T *__restrict__ dx, u32 n, Window p) {
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n / N; i += gridDim.x * blockDim.x) {
        const Place o = place<N>(i, p.h, p.w, p.c);
        const T *image = dy + (u64)o.image * p.oh * p.ow * p.c + o.channel;
        int y0, y1, x0, x1;
        windows(o.y, p.kh, p.sy, p.py, p.oh, y0, y1);
        windows(o.x, p.kw, p.sx, p.px, p.ow, x0, x1);
        ((Pack<T, N> *)dx)[i] = scaled_sum<T, N>(image, p.ow, p.c, y0, y1, x0, x1, 1.f / (p.kh * p.kw));
    }
}
#define AVERAGE_POOL_GRADIENT(T, N)                                                                                    \
    KERNEL(average_pool_gradient_##T##_##N, const T *dy, T *dx, u32 n, int h, int w, int c, int oh, int ow, int kh,   \
           int kw, int sy, int sx, int py, int px) {                                                                   \
        average_pool_gradient<T, N>(dy, dx, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});                       \
    }
AVERAGE_POOL_GRADIENT(float, 4)
AVERAGE_POOL_GRADIENT(float, 1)
AVERAGE_POOL_GRADIENT(bf16, 8)
AVERAGE_POOL_GRADIENT(bf16, 1)
