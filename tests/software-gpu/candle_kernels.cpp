// The kernels of candle that training still uses, under candle's names and with its arguments, as loops over elements.
//
// A tensor that is not contiguous comes with `info` on the device: its sizes, then its strides, of each operand. candle
// counts elements in 32 bits, and so does this.
#include "kernels.h"
#include "numbers.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

namespace software_gpu {

namespace {

struct bf16 {
    uint16_t bits;
};

// What a type is computed with.
template <class T> using Wide = std::conditional_t<std::is_same_v<T, bf16>, float, T>;
template <class T> Wide<T> wide(T x) {
    if constexpr (std::is_same_v<T, bf16>) {
        return from_bf16(x.bits);
    } else {
        return x;
    }
}

// A conversion as a GPU makes it: towards zero to integers, to the nearest end if beyond, NaN to 0.
template <class T, class S> T converted(S x) {
    if constexpr (std::is_same_v<T, bf16>) {
        return bf16{to_bf16((float)x)};
    } else if constexpr (std::is_integral_v<T> && std::is_floating_point_v<S>) {
        return x != x                                     ? T(0)
               : x <= (S)std::numeric_limits<T>::lowest() ? std::numeric_limits<T>::lowest()
               : x >= (S)std::numeric_limits<T>::max()    ? std::numeric_limits<T>::max()
                                                          : (T)x;
    } else {
        return (T)x;
    }
}

// The arguments of a launch, one after the other.
class Arguments {
  public:
    explicit Arguments(void **next) : next_argument(next) {}
    template <class T> T next() {
        T value;
        memcpy(&value, *next_argument++, sizeof value);
        return value;
    }

  private:
    void **next_argument;
};

// Where the elements of a tensor lie.
struct Layout {
    size_t dims;
    const size_t *sizes, *strides; // null if contiguous
    uint32_t at(uint32_t i) const {
        if (!sizes) {
            return i;
        }
        uint32_t place = 0;
        for (size_t d = dims; d-- > 0;) {
            place += (uint32_t)(i % sizes[d] * strides[d]);
            i = (uint32_t)(i / sizes[d]);
        }
        return place;
    }
};

Layout layout_of(size_t dims, const size_t *info, size_t operand) {
    return {dims, info, info ? info + (1 + operand) * dims : nullptr};
}

template <class S, class T, class F> void map(void **arguments, const Grid &) {
    Arguments next(arguments);
    const auto n = next.next<size_t>(), dims = next.next<size_t>();
    const Layout from = layout_of(dims, next.next<const size_t *>(), 0);
    const auto *x = next.next<const S *>();
    auto *y = next.next<T *>();
    for (uint32_t i = 0; i < n; ++i) {
        if constexpr (std::is_same_v<S, T>) {
            y[i] = converted<T>(F()(wide(x ? x[from.at(i)] : y[i])));
        } else {
            y[i] = converted<T>(F()(wide(x[from.at(i)])));
        }
    }
}

template <class S, class T, class F> void map2(void **arguments, const Grid &) {
    Arguments next(arguments);
    const auto n = next.next<size_t>(), dims = next.next<size_t>();
    const auto *info = next.next<const size_t *>();
    const Layout left = layout_of(dims, info, 0), right = layout_of(dims, info, 1);
    const auto *a = next.next<const S *>(), *b = next.next<const S *>();
    auto *y = next.next<T *>();
    for (uint32_t i = 0; i < n; ++i) {
        y[i] = converted<T>(F()(wide(a[left.at(i)]), wide(b[right.at(i)])));
    }
}

template <class T> void affine(void **arguments, const Grid &) {
    Arguments next(arguments);
    const auto n = next.next<size_t>(), dims = next.next<size_t>();
    const Layout from = layout_of(dims, next.next<const size_t *>(), 0);
    const auto *x = next.next<const T *>();
    auto *y = next.next<T *>();
    const auto mul = wide(next.next<T>()), add = wide(next.next<T>());
    for (uint32_t i = 0; i < n; ++i) {
        y[i] = converted<T>(wide(x ? x[from.at(i)] : y[i]) * mul + add);
    }
}

template <class T> void const_set(void **arguments, const Grid &) {
    Arguments next(arguments);
    const auto n = next.next<size_t>(), dims = next.next<size_t>();
    const Layout to = layout_of(dims, next.next<const size_t *>(), 0);
    const auto value = next.next<T>();
    auto *y = next.next<T *>();
    for (uint32_t i = 0; i < n; ++i) {
        y[to.at(i)] = value;
    }
}

template <class T> void fill(void **arguments, const Grid &) {
    Arguments next(arguments);
    auto *y = next.next<T *>();
    const auto value = next.next<T>();
    const auto n = next.next<size_t>();
    for (size_t i = 0; i < n; ++i) {
        y[i] = value;
    }
}

template <class T> void copy2d(void **arguments, const Grid &) {
    Arguments next(arguments);
    const auto *x = next.next<const T *>();
    auto *y = next.next<T *>();
    const auto rows = next.next<uint32_t>(), columns = next.next<uint32_t>();
    const auto x_row = next.next<uint32_t>(), y_row = next.next<uint32_t>();
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < columns; ++j) {
            y[i * y_row + j] = x[i * x_row + j];
        }
    }
}

// A sum for each block, by as many threads as it has: each adds up what it meets, then halves are added to halves.
template <class T> void fast_sum(void **arguments, const Grid &grid) {
    Arguments next(arguments);
    const auto n = next.next<size_t>(), summands = next.next<size_t>(), dims = next.next<size_t>();
    const Layout from = layout_of(dims, next.next<const size_t *>(), 0);
    const auto *x = next.next<const T *>();
    auto *y = next.next<T *>();
    std::vector<Wide<T>> parts(grid.threads.x);
    for (size_t block = 0; block < grid.blocks.x; ++block) {
        const size_t first = block * summands, last = first + summands < n ? first + summands : n;
        for (size_t thread = 0; thread < parts.size(); ++thread) {
            parts[thread] = 0;
            for (size_t i = first + thread; i < last; i += parts.size()) {
                parts[thread] += wide(x[from.at((uint32_t)i)]);
            }
        }
        for (size_t half = parts.size() / 2; half > 0; half /= 2) {
            for (size_t thread = 0; thread < half; ++thread) {
                parts[thread] += parts[thread + half];
            }
        }
        y[block] = converted<T>(parts[0]);
    }
}

// A sum for each thread.
template <class T> void fast_sum_small(void **arguments, const Grid &grid) {
    Arguments next(arguments);
    const auto n = next.next<size_t>(), summands = next.next<size_t>(), dims = next.next<size_t>();
    const Layout from = layout_of(dims, next.next<const size_t *>(), 0);
    const auto *x = next.next<const T *>();
    auto *y = next.next<T *>();
    for (size_t i = 0; i < n && i < (size_t)grid.blocks.x * grid.threads.x; ++i) {
        Wide<T> sum = 0;
        for (size_t j = 0; j < summands; ++j) {
            sum += wide(x[from.at((uint32_t)(i * summands + j))]);
        }
        y[i] = converted<T>(sum);
    }
}

#define FUNCTION(name, result)                                                                                         \
    struct name {                                                                                                      \
        template <class T> auto operator()(T x) const { return result; }                                               \
    }
FUNCTION(Same, x);
FUNCTION(Neg, -x);
FUNCTION(Recip, T(1) / x);
FUNCTION(Sqr, x *x);
FUNCTION(Sqrt, std::sqrt(x));
FUNCTION(Abs, std::abs(x));
FUNCTION(Exp, std::exp(x));
FUNCTION(Log, std::log(x));
FUNCTION(Tanh, std::tanh(x));
FUNCTION(Relu, x < 0 ? T(0) : x);
FUNCTION(Sign, T((x > 0) - (x < 0)));
#undef FUNCTION

#define FUNCTION(name, result)                                                                                         \
    struct name {                                                                                                      \
        template <class T> auto operator()(T x, T y) const { return result; }                                          \
    }
FUNCTION(Add, x + y);
FUNCTION(Sub, x - y);
FUNCTION(Mul, (x * y));
FUNCTION(Div, x / y);
FUNCTION(Minimum, x > y ? y : x);
FUNCTION(Maximum, x < y ? y : x);
FUNCTION(Eq, x == y);
FUNCTION(Ne, x != y);
FUNCTION(Lt, x < y);
FUNCTION(Le, x <= y);
FUNCTION(Gt, x > y);
FUNCTION(Ge, x >= y);
#undef FUNCTION

void add(const std::string &name, void (*launch)(void **, const Grid &)) {
    add_kernel(Origin::Candle, Kernel{strdup(name.c_str()), launch}); // names live as long as the process
}

// What exists for every type.
template <class T> void add_common(const std::string &type) {
    add("ucopy_" + type, map<T, T, Same>);
    add("affine_" + type, affine<T>);
    add("const_set_" + type, const_set<T>);
    add("fill_" + type, fill<T>);
    add("copy2d_" + type, copy2d<T>);
    add("fast_sum_" + type, fast_sum<T>);
    add("fast_sum_small_" + type, fast_sum_small<T>);
    add("badd_" + type, map2<T, T, Add>);
    add("bsub_" + type, map2<T, T, Sub>);
    add("bmul_" + type, map2<T, T, Mul>);
    add("bdiv_" + type, map2<T, T, Div>);
    add("bminimum_" + type, map2<T, T, Minimum>);
    add("bmaximum_" + type, map2<T, T, Maximum>);
    add("eq_" + type, map2<T, uint8_t, Eq>);
    add("ne_" + type, map2<T, uint8_t, Ne>);
    add("lt_" + type, map2<T, uint8_t, Lt>);
    add("le_" + type, map2<T, uint8_t, Le>);
    add("gt_" + type, map2<T, uint8_t, Gt>);
    add("ge_" + type, map2<T, uint8_t, Ge>);
    add("cast_" + type + "_f32", map<T, float, Same>);
    add("cast_" + type + "_f64", map<T, double, Same>);
    add("cast_" + type + "_bf16", map<T, bf16, Same>);
    add("cast_" + type + "_u8", map<T, uint8_t, Same>);
    add("cast_" + type + "_u32", map<T, uint32_t, Same>);
    add("cast_" + type + "_i64", map<T, int64_t, Same>);
}

template <class T> void add_functions(const std::string &type) {
    add("uneg_" + type, map<T, T, Neg>);
    add("urecip_" + type, map<T, T, Recip>);
    add("usqr_" + type, map<T, T, Sqr>);
    add("usqrt_" + type, map<T, T, Sqrt>);
    add("uabs_" + type, map<T, T, Abs>);
    add("uexp_" + type, map<T, T, Exp>);
    add("ulog_" + type, map<T, T, Log>);
    add("utanh_" + type, map<T, T, Tanh>);
    add("urelu_" + type, map<T, T, Relu>);
    add("usign_" + type, map<T, T, Sign>);
}

const bool added = [] {
    add_common<float>("f32");
    add_common<double>("f64");
    add_common<bf16>("bf16");
    add_common<uint8_t>("u8");
    add_common<uint32_t>("u32");
    add_common<int64_t>("i64");
    add_functions<float>("f32");
    add_functions<double>("f64");
    add_functions<bf16>("bf16");
    return true;
}();

} // namespace

} // namespace software_gpu
