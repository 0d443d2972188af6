// Filters between the layout of parameters, f32 [o, i, taps], and that of convolutions, [o, taps, i].
#include "device.cuh"

constexpr int INPUTS = 32, MOST_TAPS = 64;

// Where an element of a tile lies: its input and its tap in the tile, and its place in memory.
struct At {
    int i, t;
    i64 place;
};

// Turns the filters of one output (blockIdx.y), INPUTS inputs at a time, around in shared memory, so that a block reads and
// writes runs of memory: from [i, taps] to [taps, i], or back. More taps than MOST_TAPS go through in several rounds.
template <bool FORTH, class A, class B>
__device__ __forceinline__ void turn(const A *__restrict__ from, B *__restrict__ to, int inputs, int taps) {
    __shared__ float tile[INPUTS * (MOST_TAPS + 1)];
    const i64 base = (i64)blockIdx.y * inputs * taps;
    const int i0 = blockIdx.x * INPUTS, width = min(INPUTS, inputs - i0);
    for (int t0 = 0; t0 < taps; t0 += MOST_TAPS) {
        const int count = min(MOST_TAPS, taps - t0);
        const auto tap_by_tap = [&](int k) {
            const int i = k / count, t = k % count;
            return At{i, t, base + (i64)(i0 + i) * taps + t0 + t};
        };
        const auto input_by_input = [&](int k) {
            const int t = k / width, i = k % width;
            return At{i, t, base + (i64)(t0 + t) * inputs + i0 + i};
        };
        for (int k = threadIdx.x; k < width * count; k += blockDim.x) {
            const At at = FORTH ? tap_by_tap(k) : input_by_input(k);
            tile[at.i * (MOST_TAPS + 1) + at.t] = wide(from[at.place]);
        }
        __syncthreads();
        for (int k = threadIdx.x; k < width * count; k += blockDim.x) {
            const At at = FORTH ? input_by_input(k) : tap_by_tap(k);
            to[at.place] = narrow<B>(tile[at.i * (MOST_TAPS + 1) + at.t]);
        }
        __syncthreads();
    }
}
KERNEL(filters_f32, const float *w, float *out, int inputs, int taps) { turn<true>(w, out, inputs, taps); }
KERNEL(filters_bf16, const float *w, bf16 *out, int inputs, int taps) { turn<true>(w, out, inputs, taps); }
KERNEL(filter_gradients_f32, const float *dw, float *out, int inputs, int taps) { turn<false>(dw, out, inputs, taps); }
KERNEL(filter_gradients_bf16, const bf16 *dw, float *out, int inputs, int taps) { turn<false>(dw, out, inputs, taps); }
