// Convolutions as products of matrices: the windows of an image laid out as rows, and the way back.
#include "device.cuh"

struct Sizes {
    int h, w, c, oh, ow, kh, kw, sy, sx, py, px;
};

// columns[pixel, tap, channel] = the input under a tap of an output pixel's window, 0 in the padding.
template <class T>
__device__ __forceinline__ void windows(const T *__restrict__ x, T *__restrict__ columns, i64 n, Sizes p) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        const int channel = i % p.c, tap = i / p.c % (p.kh * p.kw);
        const i64 pixel = i / p.c / (p.kh * p.kw), image = pixel / p.ow / p.oh;
        const int row = pixel / p.ow % p.oh * p.sy - p.py + tap / p.kw;
        const int column = pixel % p.ow * p.sx - p.px + tap % p.kw;
        const bool inside = row >= 0 && row < p.h && column >= 0 && column < p.w;
        columns[i] = inside ? x[((image * p.h + row) * p.w + column) * p.c + channel] : narrow<T>(0);
    }
}
KERNEL(windows_f32, const float *x, float *columns, i64 n, int h, int w, int c, int oh, int ow, int kh, int kw, int sy,
       int sx, int py, int px) {
    windows(x, columns, n, Sizes{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
KERNEL(windows_bf16, const bf16 *x, bf16 *columns, i64 n, int h, int w, int c, int oh, int ow, int kh, int kw, int sy,
       int sx, int py, int px) {
    windows(x, columns, n, Sizes{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}

// x[i] = the sum of all places in `columns` to which element i of the image went, or `adds` that to it.
template <class T>
__device__ __forceinline__ void add_windows(const T *__restrict__ columns, T *__restrict__ x, i64 n, bool adds, Sizes p) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        const int channel = i % p.c, column = i / p.c % p.w, row = i / p.c / p.w % p.h;
        const i64 image = i / p.c / p.w / p.h;
        float sum = adds ? wide(x[i]) : 0;
        for (int ky = 0; ky < p.kh; ++ky) {
            const int y = row + p.py - ky;
            if (y < 0 || y % p.sy || y / p.sy >= p.oh) {
                continue;
            }
            for (int kx = 0; kx < p.kw; ++kx) {
                const int x = column + p.px - kx;
                if (x < 0 || x % p.sx || x / p.sx >= p.ow) {
                    continue;
                }
                const i64 pixel = (image * p.oh + y / p.sy) * p.ow + x / p.sx;
                sum += wide(columns[((pixel * p.kh + ky) * p.kw + kx) * p.c + channel]);
            }
        }
        x[i] = narrow<T>(sum);
    }
}
KERNEL(add_windows_f32, const float *columns, float *x, i64 n, bool adds, int h, int w, int c, int oh, int ow, int kh, int kw,
       int sy, int sx, int py, int px) {
    add_windows(columns, x, n, adds, Sizes{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
KERNEL(add_windows_bf16, const bf16 *columns, bf16 *x, i64 n, bool adds, int h, int w, int c, int oh, int ow, int kh, int kw,
       int sy, int sx, int py, int px) {
    add_windows(columns, x, n, adds, Sizes{h, w, c, oh, ow, kh, kw, sy, sx, py, px});
}
