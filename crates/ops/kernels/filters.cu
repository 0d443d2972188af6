// Filters between the layout of parameters, f32 [o, i, taps], and that of convolutions, [o, taps, i].
//
// A block turns 32 inputs of one output around in shared memory, so that it reads and writes runs of memory.
#include "device.cuh"

constexpr int INPUTS = 32, MOST_TAPS = 64;

// A filter of more taps goes through in several rounds.
template <class T>
__device__ __forceinline__ void to_channels_last(const float *__restrict__ w, T *__restrict__ out, int inputs,
                                                 int taps) {
    __shared__ float tile[INPUTS * (MOST_TAPS + 1)];
    const i64 base = (i64)blockIdx.y * inputs * taps;
    const int i0 = blockIdx.x * INPUTS, width = min(INPUTS, inputs - i0);
    for (int t0 = 0; t0 < taps; t0 += MOST_TAPS) {
        const int count = min(MOST_TAPS, taps - t0);
        for (int k = threadIdx.x; k < width * count; k += blockDim.x) {
            const int i = k / count, t = k % count;
            tile[i * (MOST_TAPS + 1) + t] = w[base + (i64)(i0 + i) * taps + t0 + t];
        }
        __syncthreads();
        for (int k = threadIdx.x; k < width * count; k += blockDim.x) {
            const int t = k / width, i = k % width;
            out[base + (i64)(t0 + t) * inputs + i0 + i] = narrow<T>(tile[i * (MOST_TAPS + 1) + t]);
        }
        __syncthreads();
    }
}
KERNEL(filters_f32, const float *w, float *out, int inputs, int taps) { to_channels_last(w, out, inputs, taps); }
KERNEL(filters_bf16, const float *w, bf16 *out, int inputs, int taps) { to_channels_last(w, out, inputs, taps); }

// The way back, for gradients.
template <class T>
__device__ __forceinline__ void from_channels_last(const T *__restrict__ dw, float *__restrict__ out, int inputs,
                                                   int taps) {
    __shared__ float tile[INPUTS * (MOST_TAPS + 1)];
    const i64 base = (i64)blockIdx.y * inputs * taps;
    const int i0 = blockIdx.x * INPUTS, width = min(INPUTS, inputs - i0);
    for (int t0 = 0; t0 < taps; t0 += MOST_TAPS) {
        const int count = min(MOST_TAPS, taps - t0);
        for (int k = threadIdx.x; k < width * count; k += blockDim.x) {
            const int t = k / width, i = k % width;
            tile[i * (MOST_TAPS + 1) + t] = wide(dw[base + (i64)(t0 + t) * inputs + i0 + i]);
        }
        __syncthreads();
        for (int k = threadIdx.x; k < width * count; k += blockDim.x) {
            const int i = k / count, t = k % count;
            out[base + (i64)(i0 + i) * taps + t0 + t] = tile[i * (MOST_TAPS + 1) + t];
        }
        __syncthreads();
    }
}
KERNEL(filter_gradients_f32, const float *dw, float *out, int inputs, int taps) {
    from_channels_last(dw, out, inputs, taps);
}
KERNEL(filter_gradients_bf16, const bf16 *dw, float *out, int inputs, int taps) {
    from_channels_last(dw, out, inputs, taps);
}
