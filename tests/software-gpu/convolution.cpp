// The arithmetic of convolutions: the inputs are copied into f32 arrays whose innermost dimension is the one that the
// inner loop runs over, so that the compiler makes vectors of it.
#include "convolution.h"

#include "numbers.h"

#include <algorithm>
#include <array>
#include <vector>

namespace software_gpu {

namespace {

using Order = std::array<int, 4>; // which dimension of a tensor comes first, second, ...
constexpr Order NHWC{0, 2, 3, 1}, RSCK{2, 3, 1, 0}, RSKC{2, 3, 0, 1};

// Calls f(place in a dense array of this order, place in the tensor's memory) for every element.
template <class F> void for_each(const Tensor &t, const Order &o, F f) {
    size_t i = 0;
    for (int64_t a = 0; a < t.sizes[o[0]]; ++a) {
        for (int64_t b = 0; b < t.sizes[o[1]]; ++b) {
            for (int64_t c = 0; c < t.sizes[o[2]]; ++c) {
                const int64_t row = a * t.strides[o[0]] + b * t.strides[o[1]] + c * t.strides[o[2]];
                for (int64_t d = 0; d < t.sizes[o[3]]; ++d) {
                    f(i++, row + d * t.strides[o[3]]);
                }
            }
        }
    }
}

size_t count(const Tensor &t) { return (size_t)(t.sizes[0] * t.sizes[1] * t.sizes[2] * t.sizes[3]); }

std::vector<float> load(const Tensor &t, const Order &order, const void *data, bool tf32) {
    std::vector<float> out(count(t));
    for_each(t, order, [&](size_t i, int64_t at) {
        const float x = t.is_bf16 ? from_bf16(((const uint16_t *)data)[at]) : ((const float *)data)[at];
        out[i] = tf32 ? to_tf32(x) : x;
    });
    return out;
}

template <class A>
void store(const Tensor &t, const Order &order, void *data, const std::vector<A> &sums, double alpha, double beta) {
    for_each(t, order, [&](size_t i, int64_t at) {
        double x = alpha * (double)sums[i];
        if (beta != 0) {
            x += beta * (double)(t.is_bf16 ? from_bf16(((const uint16_t *)data)[at]) : ((const float *)data)[at]);
        }
        if (t.is_bf16) {
            ((uint16_t *)data)[at] = to_bf16((float)x);
        } else {
            ((float *)data)[at] = (float)x;
        }
    });
}

// out += factor · row
void add(float *out, float factor, const float *row, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        out[i] += factor * row[i];
    }
}

// Calls f(p, q, r, s, h, w) for every pixel of an output and every point of the filter that meets a pixel of the input.
template <class F> void for_each_meeting(const Convolution &c, bool reversed, F f) {
    const int64_t *in = c.x.sizes + 2, *filter = c.w.sizes + 2, *out = c.y.sizes + 2;
    const auto at = [reversed](int64_t i, int64_t n) { return reversed ? n - 1 - i : i; };
    for (int64_t i = 0; i < out[0] * out[1]; ++i) {
        const int64_t pixel = at(i, out[0] * out[1]), p = pixel / out[1], q = pixel % out[1];
        for (int64_t j = 0; j < filter[0] * filter[1]; ++j) {
            const int64_t point = at(j, filter[0] * filter[1]), r = point / filter[1], s = point % filter[1];
            const int64_t h = p * c.stride[0] + r * c.dilation[0] - c.padding[0];
            const int64_t w = q * c.stride[1] + s * c.dilation[1] - c.padding[1];
            if (0 <= h && h < in[0] && 0 <= w && w < in[1]) {
                f(p, q, r, s, h, w);
            }
        }
    }
}

} // namespace

size_t Tensor::extent() const {
    int64_t last = 0;
    for (int d = 0; d < 4; ++d) {
        last += (sizes[d] - 1) * strides[d];
    }
    return (size_t)(last + 1) * element();
}

void convolve(const Convolution &c, void *x_data, void *w_data, void *y_data, bool tf32, bool reversed) {
    const int64_t images = c.x.sizes[0], channels = c.x.sizes[1], outputs = c.y.sizes[1];
    const int64_t height = c.x.sizes[2], width = c.x.sizes[3], rows = c.y.sizes[2], columns = c.y.sizes[3];
    const auto at_x = [&](int64_t n, int64_t h, int64_t w) { return ((n * height + h) * width + w) * channels; };
    const auto at_y = [&](int64_t n, int64_t p, int64_t q) { return ((n * rows + p) * columns + q) * outputs; };
    const auto point = [&](int64_t r, int64_t s) { return (r * c.w.sizes[3] + s) * channels * outputs; };
    const auto turned = [reversed](int64_t i, int64_t n) { return reversed ? n - 1 - i : i; };

    if (c.direction == Direction::Forward) {
        const std::vector<float> x = load(c.x, NHWC, x_data, tf32), w = load(c.w, RSCK, w_data, tf32);
        std::vector<float> y(count(c.y), 0.f);
        for (int64_t n = 0; n < images; ++n) {
            for_each_meeting(c, reversed, [&](int64_t p, int64_t q, int64_t r, int64_t s, int64_t h, int64_t v) {
                for (int64_t i = 0; i < channels; ++i) {
                    const int64_t channel = turned(i, channels);
                    add(&y[(size_t)at_y(n, p, q)], x[(size_t)(at_x(n, h, v) + channel)],
                        &w[(size_t)(point(r, s) + channel * outputs)], outputs);
                }
            });
        }
        store(c.y, NHWC, y_data, y, c.alpha, c.beta);
    } else if (c.direction == Direction::Data) {
        const std::vector<float> y = load(c.y, NHWC, y_data, tf32), w = load(c.w, RSKC, w_data, tf32);
        std::vector<float> x(count(c.x), 0.f);
        for (int64_t n = 0; n < images; ++n) {
            for_each_meeting(c, reversed, [&](int64_t p, int64_t q, int64_t r, int64_t s, int64_t h, int64_t v) {
                for (int64_t i = 0; i < outputs; ++i) {
                    const int64_t output = turned(i, outputs);
                    add(&x[(size_t)at_x(n, h, v)], y[(size_t)(at_y(n, p, q) + output)],
                        &w[(size_t)(point(r, s) + output * channels)], channels);
                }
            });
        }
        store(c.x, NHWC, x_data, x, c.alpha, c.beta);
    } else {
        const std::vector<float> x = load(c.x, NHWC, x_data, tf32), y = load(c.y, NHWC, y_data, tf32);
        std::vector<float> of_image(count(c.w));
        std::vector<double> w(count(c.w), 0.);
        for (int64_t i = 0; i < images; ++i) {
            const int64_t n = turned(i, images);
            std::fill(of_image.begin(), of_image.end(), 0.f);
            for_each_meeting(c, reversed, [&](int64_t p, int64_t q, int64_t r, int64_t s, int64_t h, int64_t v) {
                for (int64_t channel = 0; channel < channels; ++channel) {
                    add(&of_image[(size_t)(point(r, s) + channel * outputs)], x[(size_t)(at_x(n, h, v) + channel)],
                        &y[(size_t)at_y(n, p, q)], outputs);
                }
            });
            for (size_t j = 0; j < w.size(); ++j) {
                w[j] += of_image[j];
            }
        }
        store(c.w, RSCK, w_data, w, c.alpha, c.beta);
    }
}

} // namespace software_gpu
