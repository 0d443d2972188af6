// Elements of a vision transformer that change their place: images cut into patches, the class token, heads apart.
#include "device.cuh"

#define ELEMENTS(i, n)                                                                                                 \
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x)

// Where element i of images [b, h, w, c] is in their patches [b, h/size, w/size, c, size, size].
__device__ __forceinline__ i64 place_in_patches(i64 i, i64 h, i64 w, i64 c, i64 size) {
    const i64 channel = i % c, x = i / c % w, y = i / c / w % h, image = i / c / w / h;
    const i64 patch = (image * (h / size) + y / size) * (w / size) + x / size;
    return ((patch * c + channel) * size + y % size) * size + x % size;
}
template <class T>
__device__ __forceinline__ void patches(const T *__restrict__ x, T *__restrict__ y, i64 n, i64 h, i64 w, i64 c, i64 size,
                                        bool back) {
    ELEMENTS(i, n) {
        const i64 place = place_in_patches(i, h, w, c, size);
        if (back) {
            y[i] = x[place];
        } else {
            y[place] = x[i];
        }
    }
}
KERNEL(patches_f32, const float *x, float *y, i64 n, i64 h, i64 w, i64 c, i64 size, bool back) {
    patches(x, y, n, h, w, c, size, back);
}
KERNEL(patches_bf16, const bf16 *x, bf16 *y, i64 n, i64 h, i64 w, i64 c, i64 size, bool back) {
    patches(x, y, n, h, w, c, size, back);
}

// y = the class token and the patches x of each sample, plus the positions; n elements, `sample` in each sample. So many
// neighbouring samples have a class token of their own, and so many have positions of their own.
template <class T>
__device__ __forceinline__ void tokens(const T *__restrict__ x, const float *__restrict__ class_token,
                                       const float *__restrict__ positions, T *__restrict__ y, i64 n, i64 sample, i64 d,
                                       i64 of_class, i64 of_positions) {
    ELEMENTS(i, n) {
        const i64 at = i % sample, row = i / sample;
        const float token = at < d ? class_token[row / of_class * d + at] : wide(x[row * (sample - d) + at - d]);
        y[i] = narrow<T>(token + positions[row / of_positions * sample + at]);
    }
}
KERNEL(tokens_f32, const float *x, const float *class_token, const float *positions, float *y, i64 n, i64 sample, i64 d,
       i64 of_class, i64 of_positions) {
    tokens(x, class_token, positions, y, n, sample, d, of_class, of_positions);
}
KERNEL(tokens_bf16, const bf16 *x, const float *class_token, const float *positions, bf16 *y, i64 n, i64 sample, i64 d,
       i64 of_class, i64 of_positions) {
    tokens(x, class_token, positions, y, n, sample, d, of_class, of_positions);
}

// y = the `part` elements from `first` on of every `sample` elements of x; n of y.
template <class T>
__device__ __forceinline__ void cut(const T *__restrict__ x, T *__restrict__ y, i64 n, i64 sample, i64 first, i64 part) {
    ELEMENTS(i, n) { y[i] = x[i / part * sample + first + i % part]; }
}
KERNEL(cut_f32, const float *x, float *y, i64 n, i64 sample, i64 first, i64 part) { cut(x, y, n, sample, first, part); }
KERNEL(cut_bf16, const bf16 *x, bf16 *y, i64 n, i64 sample, i64 first, i64 part) { cut(x, y, n, sample, first, part); }

// dx = dy in the first d of every `sample` elements, and 0 elsewhere; n of dx.
template <class T>
__device__ __forceinline__ void first_token_gradient(const T *__restrict__ dy, T *__restrict__ dx, i64 n, i64 sample,
                                                     i64 d) {
    ELEMENTS(i, n) { dx[i] = i % sample < d ? dy[i / sample * d + i % sample] : narrow<T>(0.f); }
}
KERNEL(first_token_gradient_f32, const float *dy, float *dx, i64 n, i64 sample, i64 d) {
    first_token_gradient(dy, dx, n, sample, d);
}
KERNEL(first_token_gradient_bf16, const bf16 *dy, bf16 *dx, i64 n, i64 sample, i64 d) {
    first_token_gradient(dy, dx, n, sample, d);
}

// Heads side by side, [b, tokens, parts, heads, features], against heads apart: for each part [b, heads, tokens,
// features], where it lies by itself. `n` elements in all; parts that there are not have no pointer.
template <class T>
__device__ __forceinline__ void heads(T *packed, T *q, T *k, T *v, i64 n, i64 tokens, i64 parts, i64 heads, i64 features,
                                      bool back) {
    ELEMENTS(i, n) {
        const i64 feature = i % features, head = i / features % heads, part = i / features / heads % parts;
        const i64 token = i / features / heads / parts, sample = token / tokens;
        const i64 place = ((sample * heads + head) * tokens + token % tokens) * features + feature;
        T *apart = part == 0 ? q : part == 1 ? k : v;
        if (back) {
            packed[i] = apart[place];
        } else {
            apart[place] = packed[i];
        }
    }
}
KERNEL(heads_f32, float *packed, float *q, float *k, float *v, i64 n, i64 tokens, i64 parts, i64 count, i64 features,
       bool back) {
    heads(packed, q, k, v, n, tokens, parts, count, features, back);
}
KERNEL(heads_bf16, bf16 *packed, bf16 *q, bf16 *k, bf16 *v, i64 n, i64 tokens, i64 parts, i64 count, i64 features,
       bool back) {
    heads(packed, q, k, v, n, tokens, parts, count, features, back);
}
