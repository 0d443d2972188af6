// Passes over all parameters at once.
//
// A launch gets a table of tensors by value. Each is cut into chunks, a block for each chunk of each tensor; entry i's
// blocks begin at `first`.
#include "chacha.cuh"
#include "device.cuh"

constexpr int CHUNK = 16384, TABLE = 3840;

struct Entry {
    float *a, *b, *c, *d;
    i64 len;
    int first;
    float number; // what this tensor alone has: its weight decay
};
struct alignas(16) Entries {
    char bytes[TABLE]; // as many as fit; those that do not exist begin after the last block
};

template <class E> __device__ __forceinline__ const E *entry_of(const Entries &table, int count) {
    const E *entries = (const E *)table.bytes;
    int low = 0, high = count; // the last entry that begins at or before this block
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (entries[middle].first <= (int)blockIdx.x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return entries + low;
}

// The elements of this block: [first, last).
template <class E> __device__ __forceinline__ void chunk_of(const E *entry, i64 &first, i64 &last) {
    first = (i64)(blockIdx.x - entry->first) * CHUNK;
    last = min(first + CHUNK, entry->len);
}

// number · given · |numerator| / (|denominator| + eps), from the squares of the lengths; what is null is left out.
__device__ __forceinline__ double factor(double number, const double *given, const double *numerator,
                                         const double *denominator, double eps) {
    if (given) {
        number *= *given;
    }
    if (numerator) {
        number *= sqrt(*numerator);
    }
    return denominator ? number / (sqrt(*denominator) + eps) : number;
}

// Σ a b over all tensors of all launches, in f64, in the order of the blocks. `done` blocks were before this launch, and
// the last launch, of `all` blocks with those before, adds up.
KERNEL(dot_all, const __grid_constant__ Entries table, int count, double *partials, double *sum, u32 *counter, int done,
       int all) {
    const Entry *entry = entry_of<Entry>(table, count);
    i64 first, last;
    chunk_of(entry, first, last);
    double mine = 0;
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        mine += (double)entry->a[i] * entry->b[i];
    }
    mine = block_sum(mine);
    if (threadIdx.x == 0) {
        partials[done + blockIdx.x] = mine;
    }
    if (done + (int)gridDim.x < all || !last_block(counter, gridDim.x)) {
        return;
    }
    mine = 0;
    for (int i = threadIdx.x; i < all; i += blockDim.x) {
        mine += written_by_others(partials + i);
    }
    mine = block_sum(mine);
    if (threadIdx.x == 0) {
        *sum = mine;
    }
}

// b = f · a, and f itself if requested.
KERNEL(scale_all, const __grid_constant__ Entries table, int count, double number, const double *given,
       const double *numerator, const double *denominator, double eps, double *out) {
    const Entry *entry = entry_of<Entry>(table, count);
    const double f = factor(number, given, numerator, denominator, eps);
    i64 first, last;
    chunk_of(entry, first, last);
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        entry->b[i] = (float)f * entry->a[i];
    }
    if (out && blockIdx.x == 0 && threadIdx.x == 0) {
        *out = f;
    }
}

// c = a + f b
KERNEL(add_scaled_all, const __grid_constant__ Entries table, int count, float f) {
    const Entry *entry = entry_of<Entry>(table, count);
    i64 first, last;
    chunk_of(entry, first, last);
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        entry->c[i] = entry->a[i] + f * entry->b[i];
    }
}

// b = a of any element type: `len` counts 4 bytes each.
KERNEL(copy_all, const __grid_constant__ Entries table, int count) {
    const Entry *entry = entry_of<Entry>(table, count);
    i64 first, last;
    chunk_of(entry, first, last);
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        ((u32 *)entry->b)[i] = ((const u32 *)entry->a)[i];
    }
}

// SGD as PyTorch defines it: d = g + λx; v = μv + d (v = d at first); x -= η v, or η (d + μv) with Nesterov. a is x, b is
// g, c is v, or null without momentum.
KERNEL(sgd_all, const __grid_constant__ Entries table, int count, float lr, float momentum, bool first_step,
       bool nesterov) {
    const Entry *entry = entry_of<Entry>(table, count);
    i64 first, last;
    chunk_of(entry, first, last);
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        const float x = entry->a[i], d = entry->b[i] + entry->number * x;
        float v = d;
        if (entry->c) {
            v = first_step ? d : momentum * entry->c[i] + d;
            entry->c[i] = v;
        }
        entry->a[i] = x - lr * (nesterov ? d + momentum * v : v);
    }
}

// AdamW as PyTorch defines it: x -= η λ x; m = β₁ m + (1-β₁) g; v = β₂ v + (1-β₂) g²; x -= step · m / (√v · root + ε),
// where step = η / (1-β₁ᵗ) and root = 1 / √(1-β₂ᵗ). a is x, b is g, c is m, d is v.
KERNEL(adamw_all, const __grid_constant__ Entries table, int count, float lr, float beta1, float beta2, float eps,
       float step, float root) {
    const Entry *entry = entry_of<Entry>(table, count);
    i64 first, last;
    chunk_of(entry, first, last);
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        const float g = entry->b[i], x = entry->a[i] - lr * entry->number * entry->a[i];
        const float m = beta1 * entry->c[i] + (1 - beta1) * g, v = beta2 * entry->d[i] + (1 - beta2) * g * g;
        entry->c[i] = m;
        entry->d[i] = v;
        entry->a[i] = x - step * m / (sqrtf(v) * root + eps);
    }
}

// A tensor that is displaced by random signs.
struct Signed {
    const float *x;
    float *out;
    i64 len;
    int first, unused;
    u32 seed[8];
};

// out = x + f z, and f itself if requested; z is +1 for a bit 1 of the stream of the tensor's seed and -1 for a
// 0, and is not stored.
KERNEL(displace_by_signs, const __grid_constant__ Entries table, int count, double number, const double *given,
       const double *numerator, double *f_out) {
    constexpr int BLOCKS = CHUNK / 512; // of the stream, in a chunk
    __shared__ u32 words[CHUNK / 32];
    const Signed *entry = entry_of<Signed>(table, count);
    const double wide_f = factor(number, given, numerator, nullptr, 0);
    const float f = (float)wide_f;
    if (f_out && blockIdx.x == 0 && threadIdx.x == 0) {
        *f_out = wide_f;
    }
    i64 first, last;
    chunk_of(entry, first, last);
    if (threadIdx.x < BLOCKS) {
        chacha8(entry->seed, first / 512 + threadIdx.x, words + 16 * threadIdx.x);
    }
    __syncthreads();
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        const u32 bit = words[(i - first) / 32] >> ((i - first) % 32) & 1;
        entry->out[i] = entry->x[i] + (bit ? f : -f);
    }
}
