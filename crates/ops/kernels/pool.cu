// Pooling, channels last. A thread for each element.
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

// The largest of each window, and where in its window it lies: the first one, row by row; NaN wins.
template <class T>
__device__ __forceinline__ void max_pool(const T *__restrict__ x, T *__restrict__ y, u8 *__restrict__ winner, i64 n,
                                         Window p) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        const int channel = i % p.c, ox = i / p.c % p.ow, oy = i / p.c / p.ow % p.oh;
        const T *image = x + i / p.c / p.ow / p.oh * p.h * p.w * p.c + channel;
        T best = narrow<T>(0);
        int at = -1;
        for (int ky = 0; ky < p.kh; ++ky) {
            const int row = oy * p.sy - p.py + ky;
            for (int kx = 0; kx < p.kw; ++kx) {
                const int column = ox * p.sx - p.px + kx;
                if (row < 0 || row >= p.h || column < 0 || column >= p.w) {
                    continue;
                }
                const T candidate = image[((i64)row * p.w + column) * p.c];
                if (at < 0 || wide(candidate) > wide(best) || wide(candidate) != wide(candidate)) {
                    best = candidate;
                    at = ky * p.kw + kx;
                }
            }
        }
        y[i] = best;
        winner[i] = (u8)at;
    }
}
KERNEL(max_pool_f32, const float *x, float *y, u8 *winner, i64 n, int h, int w, int c, int oh, int ow, int kh, int kw,
       int sy, int sx, int py, int px) {
    max_pool(x, y, winner, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
KERNEL(max_pool_bf16, const bf16 *x, bf16 *y, u8 *winner, i64 n, int h, int w, int c, int oh, int ow, int kh, int kw,
       int sy, int sx, int py, int px) {
    max_pool(x, y, winner, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}

// dx of it: each element asks the windows that contain it, so nothing is written twice.
template <class T>
__device__ __forceinline__ void max_pool_gradient(const T *__restrict__ dy, const u8 *__restrict__ winner,
                                                  T *__restrict__ dx, i64 n, Window p) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        const int channel = i % p.c, column = i / p.c % p.w, row = i / p.c / p.w % p.h;
        const i64 image = i / p.c / p.w / p.h * p.oh * p.ow * p.c + channel;
        int y0, y1, x0, x1;
        windows(row, p.kh, p.sy, p.py, p.oh, y0, y1);
        windows(column, p.kw, p.sx, p.px, p.ow, x0, x1);
        float sum = 0;
        for (int oy = y0; oy < y1; ++oy) {
            for (int ox = x0; ox < x1; ++ox) {
                const i64 at = image + ((i64)oy * p.ow + ox) * p.c;
                const int place = (row - oy * p.sy + p.py) * p.kw + column - ox * p.sx + p.px;
                if (winner[at] == place) {
                    sum += wide(dy[at]);
                }
            }
        }
        dx[i] = narrow<T>(sum);
    }
}
KERNEL(max_pool_gradient_f32, const float *dy, const u8 *winner, float *dx, i64 n, int h, int w, int c, int oh, int ow,
       int kh, int kw, int sy, int sx, int py, int px) {
    max_pool_gradient(dy, winner, dx, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
KERNEL(max_pool_gradient_bf16, const bf16 *dy, const u8 *winner, bf16 *dx, i64 n, int h, int w, int c, int oh, int ow,
       int kh, int kw, int sy, int sx, int py, int px) {
    max_pool_gradient(dy, winner, dx, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}

// The mean of each window, padding counted as zeros.
template <class T>
__device__ __forceinline__ void average_pool(const T *__restrict__ x, T *__restrict__ y, i64 n, Window p) {
    const float share = 1.f / (p.kh * p.kw);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        const int channel = i % p.c, ox = i / p.c % p.ow, oy = i / p.c / p.ow % p.oh;
        const T *image = x + i / p.c / p.ow / p.oh * p.h * p.w * p.c + channel;
        const int y0 = max(oy * p.sy - p.py, 0), y1 = min(oy * p.sy - p.py + p.kh, p.h);
        const int x0 = max(ox * p.sx - p.px, 0), x1 = min(ox * p.sx - p.px + p.kw, p.w);
        float sum = 0;
        for (int row = y0; row < y1; ++row) {
            for (int column = x0; column < x1; ++column) {
                sum += wide(image[((i64)row * p.w + column) * p.c]);
            }
        }
        y[i] = narrow<T>(sum * share);
    }
}
KERNEL(average_pool_f32, const float *x, float *y, i64 n, int h, int w, int c, int oh, int ow, int kh, int kw, int sy,
       int sx, int py, int px) {
    average_pool(x, y, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
KERNEL(average_pool_bf16, const bf16 *x, bf16 *y, i64 n, int h, int w, int c, int oh, int ow, int kh, int kw, int sy,
       int sx, int py, int px) {
    average_pool(x, y, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}

template <class T>
__device__ __forceinline__ void average_pool_gradient(const T *__restrict__ dy, T *__restrict__ dx, i64 n, Window p) {
    const float share = 1.f / (p.kh * p.kw);
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        const int channel = i % p.c, column = i / p.c % p.w, row = i / p.c / p.w % p.h;
        const T *image = dy + i / p.c / p.w / p.h * p.oh * p.ow * p.c + channel;
        int y0, y1, x0, x1;
        windows(row, p.kh, p.sy, p.py, p.oh, y0, y1);
        windows(column, p.kw, p.sx, p.px, p.ow, x0, x1);
        float sum = 0;
        for (int oy = y0; oy < y1; ++oy) {
            for (int ox = x0; ox < x1; ++ox) {
                sum += wide(image[((i64)oy * p.ow + ox) * p.c]);
            }
        }
        dx[i] = narrow<T>(sum * share);
    }
}
KERNEL(average_pool_gradient_f32, const float *dy, float *dx, i64 n, int h, int w, int c, int oh, int ow, int kh,
       int kw, int sy, int sx, int py, int px) {
    average_pool_gradient(dy, dx, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
KERNEL(average_pool_gradient_bf16, const bf16 *dy, bf16 *dx, i64 n, int h, int w, int c, int oh, int ow, int kh,
       int kw, int sy, int sx, int py, int px) {
    average_pool_gradient(dy, dx, n, Window{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
