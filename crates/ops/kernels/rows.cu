// Rows of a matrix, each by a warp: softmax and layer normalisation.
#include "device.cuh"

// The row of this warp, of blocks of one dimension.
__device__ __forceinline__ i64 row_of_warp() { return ((i64)blockIdx.x * blockDim.x + threadIdx.x) / WARP; }

// y = softmax(scale x) of rows of c elements, which begin x_row and y_row apart.
template <class A, class B>
__device__ __forceinline__ void softmax(const A *__restrict__ x, B *__restrict__ y, i64 rows, i64 c, i64 x_row, i64 y_row,
                                        float scale) {
    const i64 row = row_of_warp();
    const int lane = threadIdx.x % WARP;
    if (row >= rows) {
        return;
    }
    x += row * x_row;
    y += row * y_row;
    float most = -INFINITY;
    for (i64 j = lane; j < c; j += WARP) {
        most = fmaxf(most, wide(x[j]));
    }
    most = warp_max(most);
    float sum = 0;
    for (i64 j = lane; j < c; j += WARP) {
        sum += expf((wide(x[j]) - most) * scale);
    }
    const float share = 1 / warp_sum(sum);
    for (i64 j = lane; j < c; j += WARP) {
        y[j] = narrow<B>(expf((wide(x[j]) - most) * scale) * share);
    }
}
#define SOFTMAX(A, B)                                                                                                  \
    KERNEL(softmax_##A##_##B, const A *x, B *y, i64 rows, i64 c, i64 x_row, i64 y_row, float scale) {                  \
        softmax(x, y, rows, c, x_row, y_row, scale);                                                                   \
    }
SOFTMAX(float, float)
SOFTMAX(float, bf16)
SOFTMAX(bf16, bf16)

// dx = scale y (dy - sum of y dy), likewise.
template <class A, class B>
__device__ __forceinline__ void softmax_gradient(const B *__restrict__ y, const A *__restrict__ dy, B *__restrict__ dx,
                                                 i64 rows, i64 c, i64 y_row, i64 dy_row, float scale) {
    const i64 row = row_of_warp();
    const int lane = threadIdx.x % WARP;
    if (row >= rows) {
        return;
    }
    y += row * y_row;
    dy += row * dy_row;
    dx += row * y_row;
    float sum = 0;
    for (i64 j = lane; j < c; j += WARP) {
        sum += wide(y[j]) * wide(dy[j]);
    }
    sum = warp_sum(sum);
    for (i64 j = lane; j < c; j += WARP) {
        dx[j] = narrow<B>(wide(y[j]) * (wide(dy[j]) - sum) * scale);
    }
}
#define SOFTMAX_GRADIENT(A, B)                                                                                         \
    KERNEL(softmax_gradient_##A##_##B, const B *y, const A *dy, B *dx, i64 rows, i64 c, i64 y_row, i64 dy_row,         \
           float scale) {                                                                                              \
        softmax_gradient(y, dy, dx, rows, c, y_row, dy_row, scale);                                                    \
    }
SOFTMAX_GRADIENT(float, float)
SOFTMAX_GRADIENT(float, bf16)
SOFTMAX_GRADIENT(bf16, bf16)

// y = (x - mean) rstd weight + bias of rows of c elements, whose mean and rstd = 1 / sqrt(variance + eps) are left for
// the gradient. The variance is that of the distances to the mean, so it is accurate far from zero. So many neighbouring
// rows share a weight, and so many a bias.
template <class T>
__device__ __forceinline__ void layer_norm(const T *__restrict__ x, const float *__restrict__ weight,
                                           const float *__restrict__ bias, T *__restrict__ y, float *mean, float *rstd,
                                           i64 rows, i64 c, i64 of_weight, i64 of_bias, float eps) {
    const i64 row = row_of_warp();
    const int lane = threadIdx.x % WARP;
    if (row >= rows) {
        return;
    }
    weight += row / of_weight * c;
    bias += row / of_bias * c;
    x += row * c;
    y += row * c;
    const float origin = wide(x[0]);
    float sum = 0;
    for (i64 j = lane; j < c; j += WARP) {
        sum += wide(x[j]) - origin;
    }
    const float centre = origin + warp_sum(sum) / c;
    float squares = 0;
    for (i64 j = lane; j < c; j += WARP) {
        const float distance = wide(x[j]) - centre;
        squares += distance * distance;
    }
    const float scale = 1 / sqrtf(warp_sum(squares) / c + eps);
    for (i64 j = lane; j < c; j += WARP) {
        y[j] = narrow<T>((wide(x[j]) - centre) * scale * weight[j] + bias[j]);
    }
    if (lane == 0) {
        mean[row] = centre;
        rstd[row] = scale;
    }
}

// dx = rstd (g - mean of g - x^ times the mean of g x^) with g = dy weight and x^ the normalised row.
template <class T>
__device__ __forceinline__ void layer_norm_input(const T *__restrict__ x, const T *__restrict__ dy,
                                                 const float *__restrict__ weight, const float *__restrict__ mean,
                                                 const float *__restrict__ rstd, T *__restrict__ dx, i64 rows, i64 c,
                                                 i64 of_weight) {
    const i64 row = row_of_warp();
    const int lane = threadIdx.x % WARP;
    if (row >= rows) {
        return;
    }
    weight += row / of_weight * c;
    x += row * c;
    dy += row * c;
    dx += row * c;
    const float centre = mean[row], scale = rstd[row];
    float sum = 0, product = 0;
    for (i64 j = lane; j < c; j += WARP) {
        const float g = wide(dy[j]) * weight[j];
        sum += g;
        product += g * (wide(x[j]) - centre) * scale;
    }
    const float shift = warp_sum(sum) / c, slope = warp_sum(product) / c;
    for (i64 j = lane; j < c; j += WARP) {
        const float normalised = (wide(x[j]) - centre) * scale;
        dx[j] = narrow<T>(scale * (wide(dy[j]) * weight[j] - shift - normalised * slope));
    }
}

// The sums of dy x^ and of dy over chunks of `chunk` rows, each [chunks, c]: blockIdx.y is the chunk, a block of 32 x 8
// threads has 32 columns.
template <class T>
__device__ __forceinline__ void layer_norm_parameters(const T *__restrict__ x, const T *__restrict__ dy,
                                                      const float *__restrict__ mean, const float *__restrict__ rstd,
                                                      float *scales, float *shifts, i64 rows, i64 c, i64 chunk) {
    __shared__ float parts[2][8][32];
    const i64 column = (i64)blockIdx.x * 32 + threadIdx.x, last = min(rows, (blockIdx.y + 1) * chunk);
    float scale = 0, shift = 0;
    if (column < c) {
        for (i64 row = blockIdx.y * chunk + threadIdx.y; row < last; row += 8) {
            const float g = wide(dy[row * c + column]);
            scale += g * (wide(x[row * c + column]) - mean[row]) * rstd[row];
            shift += g;
        }
    }
    parts[0][threadIdx.y][threadIdx.x] = scale;
    parts[1][threadIdx.y][threadIdx.x] = shift;
    __syncthreads();
    if (threadIdx.y == 0 && column < c) {
        for (int part = 1; part < 8; ++part) {
            scale += parts[0][part][threadIdx.x];
            shift += parts[1][part][threadIdx.x];
        }
        scales[blockIdx.y * c + column] = scale;
        shifts[blockIdx.y * c + column] = shift;
    }
}
#define LAYER_NORM(T, NAME)                                                                                            \
    KERNEL(layer_norm_##NAME, const T *x, const float *weight, const float *bias, T *y, float *mean, float *rstd,      \
           i64 rows, i64 c, i64 of_weight, i64 of_bias, float eps) {                                                   \
        layer_norm(x, weight, bias, y, mean, rstd, rows, c, of_weight, of_bias, eps);                                  \
    }                                                                                                                  \
    KERNEL(layer_norm_input_##NAME, const T *x, const T *dy, const float *weight, const float *mean,                   \
           const float *rstd, T *dx, i64 rows, i64 c, i64 of_weight) {                                                 \
        layer_norm_input(x, dy, weight, mean, rstd, dx, rows, c, of_weight);                                           \
    }                                                                                                                  \
    KERNEL(layer_norm_parameters_##NAME, const T *x, const T *dy, const float *mean, const float *rstd, float *scales, \
           float *shifts, i64 rows, i64 c, i64 chunk) {                                                                \
        layer_norm_parameters(x, dy, mean, rstd, scales, shifts, rows, c, chunk);                                      \
    }
LAYER_NORM(float, f32)
LAYER_NORM(bf16, bf16)
