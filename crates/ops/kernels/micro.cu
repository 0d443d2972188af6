// Micro-batches of a batch: products of what each has, and parameters that are displaced for each.
#include "device.cuh"

#define ELEMENTS(i, n)                                                                                                 \
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x)

// parts[row, block] = Σ x y over a part of a row of n elements, in f64: blockIdx.y is the row, blockIdx.x the part.
KERNEL(products, const float *x, const float *y, double *parts, i64 n) {
    x += blockIdx.y * n;
    y += blockIdx.y * n;
    double sum = 0;
    ELEMENTS(i, n) { sum += (double)x[i] * y[i]; }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        parts[(i64)blockIdx.y * gridDim.x + blockIdx.x] = sum;
    }
}

// sums[row] = the sum of its `count` parts, in order, and 0 where rounding made it less.
KERNEL(add_parts, const double *parts, double *sums, i64 rows, int count) {
    ELEMENTS(row, rows) {
        double sum = 0;
        for (int part = 0; part < count; ++part) {
            sum += parts[row * count + part];
        }
        sums[row] = sum < 0 ? 0 : sum; // NaN stays
    }
}

// out[row] = w + scales[row] g[row], for n elements in rows of c.
template <class T>
__device__ __forceinline__ void moved(const float *__restrict__ w, const float *__restrict__ g,
                                      const double *__restrict__ scales, T *__restrict__ out, i64 n, i64 c) {
    ELEMENTS(i, n) { out[i] = narrow<T>(w[i % c] + (float)scales[i / c] * g[i]); }
}
KERNEL(moved_f32, const float *w, const float *g, const double *scales, float *out, i64 n, i64 c) {
    moved(w, g, scales, out, n, c);
}
KERNEL(moved_bf16, const float *w, const float *g, const double *scales, bf16 *out, i64 n, i64 c) {
    moved(w, g, scales, out, n, c);
}

// out[row] = scales[row] x[row], for n elements in rows of c; `out` may be x.
template <class T>
__device__ __forceinline__ void scaled(const T *x, const double *__restrict__ scales, T *out, i64 n, i64 c) {
    ELEMENTS(i, n) { out[i] = narrow<T>((float)scales[i / c] * wide(x[i])); }
}
KERNEL(scaled_f32, const float *x, const double *scales, float *out, i64 n, i64 c) { scaled(x, scales, out, n, c); }
KERNEL(scaled_bf16, const bf16 *x, const double *scales, bf16 *out, i64 n, i64 c) { scaled(x, scales, out, n, c); }

// out = Σ weights[row] g[row] over rows of c, in f64.
KERNEL(weighted_rows, const float *g, const double *weights, float *out, i64 rows, i64 c) {
    ELEMENTS(i, c) {
        double sum = 0;
        for (i64 row = 0; row < rows; ++row) {
            sum += weights[row] * g[row * c + i];
        }
        out[i] = (float)sum;
    }
}

// squares[k, column] summed over the parameters k, and the root of it: the norms of columns.
KERNEL(norms_of_columns, const double *squares, double *norms, i64 rows, i64 columns) {
    ELEMENTS(column, columns) {
        double sum = 0;
        for (i64 row = 0; row < rows; ++row) {
            sum += squares[row * columns + column];
        }
        norms[column] = sqrt(sum);
    }
}
