// Normalisations with what follows them: y = relu?(norm(x) + residual?).
//
// A tensor is rows of c channels. A *span* is a run of rows with one set of coefficients per channel: the whole batch for
// batch normalisation, an image for group normalisation, and for both where samples or micro-batches have something each. Statistics are
// f32 [spans, c]; so many neighbouring spans share a weight, and so many a bias.
//
// A thread keeps N neighbouring channels and walks down rows: blockDim.x threads side by side, blockDim.y below each
// other; blockIdx.x counts the blocks side by side, blockIdx.y the chunks of rows, blockIdx.z the spans.
#include "device.cuh"

constexpr int THREADS = 256;

struct Place {
    int channel;      // of this thread's first
    bool inside;      // whether it has channels at all
    i64 first, last;  // its rows: first, first + blockDim.y, ... below last
    i64 base;         // of the span's first row, in elements
};

template <int N> __device__ __forceinline__ Place place(i64 rows, int c) {
    Place p;
    p.channel = (blockIdx.x * blockDim.x + threadIdx.x) * N;
    p.inside = p.channel < c;
    const i64 chunk = (rows + gridDim.y - 1) / gridDim.y;
    p.first = blockIdx.y * chunk + threadIdx.y;
    p.last = min(rows, (i64)(blockIdx.y + 1) * chunk);
    p.base = blockIdx.z * rows * c;
    return p;
}

template <class T, int N> __device__ __forceinline__ Pack<T, N> load(const T *x, i64 at) {
    return *(const Pack<T, N> *)(x + at);
}

// What the threads of a block exchange values through: N doubles, or 2 N floats, each.
template <int N> __device__ __forceinline__ double *shared_parts() {
    __shared__ double parts[N * THREADS];
    return parts;
}

// Adds up two sums of N channels over the threads below each other, into those of threadIdx.y = 0.
template <int N> __device__ __forceinline__ void add_up(float (&a)[N], float (&b)[N]) {
    float *parts = (float *)shared_parts<N>();
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (int below = blockDim.y / 2; below > 0; below /= 2) {
        __syncthreads();
        if (threadIdx.y >= below && threadIdx.y < 2 * below) {
#pragma unroll
            for (int j = 0; j < N; ++j) {
                parts[(2 * j) * THREADS + thread] = a[j];
                parts[(2 * j + 1) * THREADS + thread] = b[j];
            }
        }
        __syncthreads();
        if (threadIdx.y < below) {
            const int other = thread + below * blockDim.x;
#pragma unroll
            for (int j = 0; j < N; ++j) {
                a[j] += parts[(2 * j) * THREADS + other];
                b[j] += parts[(2 * j + 1) * THREADS + other];
            }
        }
    }
}

// Adds up N numbers over the threads below each other, in order, into those of threadIdx.y = 0.
template <int N> __device__ __forceinline__ void add_up_in_order(double (&a)[N]) {
    double *parts = shared_parts<N>();
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; ++j) {
        parts[j * THREADS + thread] = a[j];
    }
    __syncthreads();
    if (threadIdx.y == 0) {
        for (int y = 1; y < (int)blockDim.y; ++y) {
#pragma unroll
            for (int j = 0; j < N; ++j) {
                a[j] += parts[j * THREADS + thread + y * blockDim.x];
            }
        }
    }
}

// Leaves two sums of each thread's channels among those of all blocks, [spans, chunks, 2, c], and reports the last block of a
// span the sums of all its chunks, in f64 and in order; false for the others. They count in threads with threadIdx.y = 0.
template <int N>
__device__ __forceinline__ bool total(float (&first)[N], float (&second)[N], float *partials, u32 *counts, Place p, int c,
                                      double (&a)[N], double (&b)[N]) {
    add_up(first, second);
    const int chunks = gridDim.y;
    float *mine = partials + (i64)blockIdx.z * chunks * 2 * c + p.channel;
    if (threadIdx.y == 0 && p.inside) {
#pragma unroll
        for (int j = 0; j < N; ++j) {
            mine[((i64)blockIdx.y * 2) * c + j] = first[j];
            mine[((i64)blockIdx.y * 2 + 1) * c + j] = second[j];
        }
    }
    if (!last_block(counts + blockIdx.z * gridDim.x + blockIdx.x, chunks)) {
        return false;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
        a[j] = b[j] = 0;
    }
    if (p.inside) {
        for (int chunk = threadIdx.y; chunk < chunks; chunk += blockDim.y) {
#pragma unroll
            for (int j = 0; j < N; ++j) {
                a[j] += written_by_others(mine + ((i64)chunk * 2) * c + j);
                b[j] += written_by_others(mine + ((i64)chunk * 2 + 1) * c + j);
            }
        }
    }
    add_up_in_order(a);
    add_up_in_order(b);
    return true;
}

// What batch normalisation tracks; all null where nothing is to be tracked.
struct Running {
    float *mean, *var;
    i64 *batches;
    float momentum;
};

// Mean and 1 / sqrt(variance + eps) of each channel of each span, [spans, c], and the running statistics' step. With
// `raw` the variance itself takes the second place. Sums are of the distances to the span's first row, which keeps them
// accurate for channels whose mean is far from zero.
template <class T, int N>
__device__ __forceinline__ void moments(const T *__restrict__ x, float *partials, float *mean, float *rstd, u32 *counts,
                                        i64 rows, int c, float eps, bool raw, Running running) {
    const Place p = place<N>(rows, c);
    float sum[N] = {}, square[N] = {}, origin[N] = {};
    if (p.inside) {
        const Pack<T, N> row = load<T, N>(x, p.base + p.channel);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            origin[j] = wide(row.at[j]);
        }
        for (i64 i = p.first; i < p.last; i += blockDim.y) {
            const Pack<T, N> row = load<T, N>(x, p.base + i * c + p.channel);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const float distance = wide(row.at[j]) - origin[j];
                sum[j] += distance;
                square[j] += distance * distance;
            }
        }
    }
    double first[N], second[N];
    if (!total(sum, square, partials, counts, p, c, first, second)) {
        return;
    }
    if (threadIdx.y == 0 && p.inside) {
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const int at = blockIdx.z * c + p.channel + j;
            const double shift = first[j] / rows, var = fmax(second[j] / rows - shift * shift, 0.0);
            const double centre = origin[j] + shift;
            mean[at] = (float)centre;
            rstd[at] = (float)(raw ? var : 1 / sqrt(var + eps));
            if (running.mean) {
                const double m = running.momentum, unbiased = var * ((double)rows / (rows - 1));
                running.mean[at] = (float)((1 - m) * running.mean[at] + m * centre);
                running.var[at] = (float)((1 - m) * running.var[at] + m * unbiased);
            }
        }
    }
    if (running.batches && blockIdx.x == 0 && threadIdx.x == 0 && threadIdx.y == 0) {
        *running.batches += 1;
    }
}
#define MOMENTS(T, N)                                                                                                  \
    KERNEL(moments_##T##_##N, const T *x, float *partials, float *mean, float *rstd, u32 *counts, i64 rows, int c,    \
           float eps, bool raw, float *running_mean, float *running_var, i64 *batches, float momentum) {               \
        const Running running = {running_mean, running_var, batches, momentum};                                        \
        moments<T, N>(x, partials, mean, rstd, counts, rows, c, eps, raw, running);                                    \
    }
MOMENTS(float, 4)
MOMENTS(float, 1)
MOMENTS(bf16, 8)
MOMENTS(bf16, 1)

// Running statistics as those of n / c spans: their mean, and 1 / sqrt(variance + eps).
KERNEL(running_moments, const float *running_mean, const float *var, float *mean, float *rstd, i64 n, int c, float eps) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        mean[i] = running_mean[i % c];
        rstd[i] = (float)(1 / sqrt((double)var[i % c] + eps));
    }
}

// The statistics of micro-batches of `size` spans from those of their spans, [spans, c], in place, and a step of the running
// statistics for each, in order. A thread has a channel. All spans have `rows` values, so a micro-batch's mean is the mean of
// theirs, and its variance the mean of theirs plus the variance between them.
KERNEL(micro_moments, float *mean, float *var, i64 spans, int c, i64 size, i64 rows, float eps, float *running_mean,
       float *running_var, i64 *batches, float momentum) {
    const int channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel == 0 && batches) {
        *batches += (spans + size - 1) / size;
    }
    if (channel >= c) {
        return;
    }
    mean += channel;
    var += channel;
    for (i64 first = 0; first < spans; first += size) {
        const i64 last = min(spans, first + size), count = last - first;
        double centre = 0, spread = 0;
        for (i64 i = first; i < last; ++i) {
            centre += mean[i * c];
        }
        centre /= count;
        for (i64 i = first; i < last; ++i) {
            spread += var[i * c] + (mean[i * c] - centre) * (mean[i * c] - centre);
        }
        spread /= count;
        for (i64 i = first; i < last; ++i) {
            mean[i * c] = (float)centre;
            var[i * c] = (float)(1 / sqrt(spread + eps));
        }
        if (running_mean) {
            const double m = momentum, n = (double)count * rows;
            running_mean[channel] = (float)((1 - m) * running_mean[channel] + m * centre);
            running_var[channel] = (float)((1 - m) * running_var[channel] + m * spread * (n / (n - 1)));
        }
    }
}

// The statistics of groups of `size` channels from those of their channels, in place: all channels have as many values,
// so a group's mean is the mean of theirs, and its variance the mean of theirs plus the variance between them.
KERNEL(group_moments, float *mean, float *var, i64 groups, int size, float eps) {
    const i64 group = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (group >= groups) {
        return;
    }
    float *m = mean + group * size, *v = var + group * size;
    double centre = 0, spread = 0;
    for (int j = 0; j < size; ++j) {
        centre += m[j];
    }
    centre /= size;
    for (int j = 0; j < size; ++j) {
        spread += v[j] + (m[j] - centre) * (m[j] - centre);
    }
    const float rstd = (float)(1 / sqrt(spread / size + eps));
    for (int j = 0; j < size; ++j) {
        m[j] = (float)centre;
        v[j] = rstd;
    }
}

// Scale and shift, and how many spans share each.
struct Affine {
    const float *weight, *bias;
    u32 of_weight, of_bias;
};

// The coefficients of a thread's channels.
template <int N> struct Coefficients {
    float mean[N], rstd[N], weight[N], bias[N];
};
template <int N>
__device__ __forceinline__ Coefficients<N> coefficients(const float *mean, const float *rstd, Affine affine, int c,
                                                        int channel) {
    Coefficients<N> k;
    const float *weight = affine.weight + (i64)(blockIdx.z / affine.of_weight) * c;
    const float *bias = affine.bias + (i64)(blockIdx.z / affine.of_bias) * c;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        k.mean[j] = mean[blockIdx.z * c + channel + j];
        k.rstd[j] = rstd[blockIdx.z * c + channel + j];
        k.weight[j] = weight[channel + j];
        k.bias[j] = bias[channel + j];
    }
    return k;
}
template <int N> __device__ __forceinline__ float normalised(const Coefficients<N> &k, int j, float x) {
    return (x - k.mean[j]) * (k.rstd[j] * k.weight[j]) + k.bias[j];
}

// y = relu?(norm(x) + residual?)
template <class T, int N>
__device__ __forceinline__ void apply(const T *__restrict__ x, const T *__restrict__ residual, T *__restrict__ y,
                                      const float *mean, const float *rstd, Affine affine, i64 rows, int c,
                                      bool relu) {
    const Place p = place<N>(rows, c);
    if (!p.inside) {
        return;
    }
    const Coefficients<N> k = coefficients<N>(mean, rstd, affine, c, p.channel);
    for (i64 i = p.first; i < p.last; i += blockDim.y) {
        const i64 at = p.base + i * c + p.channel;
        const Pack<T, N> row = load<T, N>(x, at);
        Pack<T, N> other = {}, out;
        if (residual) {
            other = load<T, N>(residual, at);
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
            float value = normalised(k, j, wide(row.at[j]));
            if (residual) {
                value += wide(other.at[j]);
            }
            out.at[j] = narrow<T>(relu && value <= 0.f ? 0.f : value);
        }
        *(Pack<T, N> *)(y + at) = out;
    }
}
#define APPLY(T, N)                                                                                                    \
    KERNEL(apply_##T##_##N, const T *x, const T *residual, T *y, const float *mean, const float *rstd,                \
           const float *weight, const float *bias, u32 of_weight, u32 of_bias, i64 rows, int c, bool relu) {           \
        apply<T, N>(x, residual, y, mean, rstd, Affine{weight, bias, of_weight, of_bias}, rows, c, relu);              \
    }
APPLY(float, 4)
APPLY(float, 1)
APPLY(bf16, 8)
APPLY(bf16, 1)

// What a ReLU lets through of dy. Its output is y where that was kept, and is computed again where it was not.
template <class T, int N>
__device__ __forceinline__ float behind(const Coefficients<N> &k, int j, T x, const Pack<T, N> &y, T dy, bool relu,
                                        bool kept) {
    if (!relu) {
        return wide(dy);
    }
    const float out = kept ? wide(y.at[j]) : wide(narrow<T>(normalised(k, j, wide(x))));
    return out <= 0.f ? 0.f : wide(dy);
}

// Sums of g and of g (x - mean) rstd, [spans, 2, c], where g is dy behind the ReLU; `y` is null where it can be computed
// again. And the terms that dx gets through the statistics, weight · sum · scale, likewise [spans, 2, c].
template <class T, int N>
__device__ __forceinline__ void gradient_sums(const T *__restrict__ x, const T *__restrict__ y,
                                              const T *__restrict__ dy, float *partials, float *sums, float *terms,
                                              u32 *counts, const float *mean, const float *rstd, Affine affine,
                                              i64 rows, int c, bool relu, float scale) {
    const Place p = place<N>(rows, c);
    float first[N] = {}, second[N] = {};
    if (p.inside) {
        const Coefficients<N> k = coefficients<N>(mean, rstd, affine, c, p.channel);
        for (i64 i = p.first; i < p.last; i += blockDim.y) {
            const i64 at = p.base + i * c + p.channel;
            const Pack<T, N> row = load<T, N>(x, at), grad = load<T, N>(dy, at);
            const Pack<T, N> out = y ? load<T, N>(y, at) : row;
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const float g = behind<T, N>(k, j, row.at[j], out, grad.at[j], relu, y != nullptr);
                first[j] += g;
                second[j] += g * ((wide(row.at[j]) - k.mean[j]) * k.rstd[j]);
            }
        }
    }
    double a[N], b[N];
    if (!total(first, second, partials, counts, p, c, a, b)) {
        return;
    }
    if (threadIdx.y == 0 && p.inside) {
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const i64 at = (i64)blockIdx.z * 2 * c + p.channel + j;
            const double w = affine.weight[(i64)(blockIdx.z / affine.of_weight) * c + p.channel + j];
            sums[at] = (float)a[j];
            sums[at + c] = (float)b[j];
            terms[at] = (float)(w * a[j] * scale);
            terms[at + c] = (float)(w * b[j] * scale);
        }
    }
}
#define GRADIENT_SUMS(T, N)                                                                                            \
    KERNEL(gradient_sums_##T##_##N, const T *x, const T *y, const T *dy, float *partials, float *sums, float *terms,  \
           u32 *counts, const float *mean, const float *rstd, const float *weight, const float *bias, u32 of_weight,   \
           u32 of_bias, i64 rows, int c, bool relu, float scale) {                                                     \
        const Affine affine = {weight, bias, of_weight, of_bias};                                                      \
        gradient_sums<T, N>(x, y, dy, partials, sums, terms, counts, mean, rstd, affine, rows, c, relu, scale);        \
    }
GRADIENT_SUMS(float, 4)
GRADIENT_SUMS(float, 1)
GRADIENT_SUMS(bf16, 8)
GRADIENT_SUMS(bf16, 1)

// The mean of the terms over each group of `size` channels, in place; [2 spans, c] in `groups` groups altogether.
KERNEL(group_terms, float *terms, i64 groups, int size) {
    const i64 group = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (group >= groups) {
        return;
    }
    float *t = terms + group * size;
    double sum = 0;
    for (int j = 0; j < size; ++j) {
        sum += t[j];
    }
    for (int j = 0; j < size; ++j) {
        t[j] = (float)(sum / size);
    }
}

// The mean of the terms over each micro-batch of `size` spans, in place; [spans, 2, c], of which w = 2 c. A thread has a
// column.
KERNEL(micro_terms, float *terms, i64 spans, i64 w, i64 size) {
    const i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= w) {
        return;
    }
    for (i64 first = 0; first < spans; first += size) {
        const i64 last = min(spans, first + size);
        double sum = 0;
        for (i64 i = first; i < last; ++i) {
            sum += terms[i * w + column];
        }
        for (i64 i = first; i < last; ++i) {
            terms[i * w + column] = (float)(sum / (last - first));
        }
    }
}

// d(weight) = Σ g x̂ and d(bias) = Σ g over the spans, from sums [spans, 2, c].
KERNEL(affine_gradients, const float *sums, float *d_weight, float *d_bias, i64 spans, int c) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= c) {
        return;
    }
    double weight = 0, bias = 0;
    for (i64 span = 0; span < spans; ++span) {
        bias += sums[span * 2 * c + i];
        weight += sums[span * 2 * c + c + i];
    }
    d_weight[i] = (float)weight;
    d_bias[i] = (float)bias;
}

// dx = rstd (weight g - shift - slope x̂), and, if requested, g itself, which is the residual's gradient.
template <class T, int N>
__device__ __forceinline__ void gradient_input(const T *__restrict__ x, const T *__restrict__ y,
                                               const T *__restrict__ dy, T *__restrict__ dx, T *__restrict__ dr,
                                               const float *mean, const float *rstd, Affine affine,
                                               const float *terms, i64 rows, int c, bool relu) {
    const Place p = place<N>(rows, c);
    if (!p.inside) {
        return;
    }
    const Coefficients<N> k = coefficients<N>(mean, rstd, affine, c, p.channel);
    float shift[N], slope[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
        shift[j] = terms[(i64)blockIdx.z * 2 * c + p.channel + j];
        slope[j] = terms[(i64)blockIdx.z * 2 * c + c + p.channel + j];
    }
    for (i64 i = p.first; i < p.last; i += blockDim.y) {
        const i64 at = p.base + i * c + p.channel;
        const Pack<T, N> row = load<T, N>(x, at), grad = load<T, N>(dy, at);
        const Pack<T, N> out = y ? load<T, N>(y, at) : row;
        Pack<T, N> to, through;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float g = behind<T, N>(k, j, row.at[j], out, grad.at[j], relu, y != nullptr);
            const float hat = (wide(row.at[j]) - k.mean[j]) * k.rstd[j];
            to.at[j] = narrow<T>(k.rstd[j] * (k.weight[j] * g - shift[j] - slope[j] * hat));
            through.at[j] = narrow<T>(g);
        }
        if (dx) {
            *(Pack<T, N> *)(dx + at) = to;
        }
        if (dr) {
            *(Pack<T, N> *)(dr + at) = through;
        }
    }
}
#define GRADIENT_INPUT(T, N)                                                                                           \
    KERNEL(gradient_input_##T##_##N, const T *x, const T *y, const T *dy, T *dx, T *dr, const float *mean,            \
           const float *rstd, const float *weight, const float *bias, u32 of_weight, u32 of_bias, const float *terms,  \
           i64 rows, int c, bool relu) {                                                                               \
        const Affine affine = {weight, bias, of_weight, of_bias};                                                      \
        gradient_input<T, N>(x, y, dy, dx, dr, mean, rstd, affine, terms, rows, c, relu);                              \
    }
GRADIENT_INPUT(float, 4)
GRADIENT_INPUT(float, 1)
GRADIENT_INPUT(bf16, 8)
GRADIENT_INPUT(bf16, 1)
