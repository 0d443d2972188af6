// The three products of a two-dimensional convolution, on tensors of any strides.
#pragma once

#include <cstddef>
#include <cstdint>

namespace software_gpu {

// Dimensions are N, C, H, W for images and K, C, R, S for filters.
struct Tensor {
    bool is_bf16; // else f32
    int64_t sizes[4], strides[4];
    int64_t id, alignment;

    size_t element() const { return is_bf16 ? 2 : 4; }
    size_t extent() const; // bytes from the first to the last element, inclusive
};

enum class Direction { Forward, Data, Filter };

struct Convolution {
    Direction direction;
    Tensor x, w, y;
    int64_t padding[2], padding_after[2], stride[2], dilation[2];
    double alpha, beta; // the output is not read where beta is 0
};

// Sums in f32, per image where an output is a sum over images. `tf32` rounds f32 inputs as a tensor core does;
// `reversed` adds up in the opposite order.
void convolve(const Convolution &convolution, void *x, void *w, void *y, bool tf32, bool reversed);

} // namespace software_gpu
