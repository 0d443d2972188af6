// The arithmetic of products: the operands are copied into arrays of what they are computed in, without gaps, and
// each column of the result is a sum of columns of A.
#include "product.h"

#include "numbers.h"

#include <algorithm>
#include <vector>

namespace software_gpu {

namespace {

double load(cudaDataType type, const void *data, int64_t i) {
    switch (type) {
    case CUDA_R_32F: return ((const float *)data)[i];
    case CUDA_R_64F: return ((const double *)data)[i];
    default: return from_bf16(((const uint16_t *)data)[i]);
    }
}

void store(cudaDataType type, const void *data, int64_t i, double x) {
    switch (type) {
    case CUDA_R_32F: ((float *)data)[i] = (float)x; break;
    case CUDA_R_64F: ((double *)data)[i] = x; break;
    default: ((uint16_t *)data)[i] = to_bf16((float)x);
    }
}

double rounded(Rounding rounding, double x) {
    switch (rounding) {
    case Rounding::Tf32: return to_tf32((float)x);
    case Rounding::Bf16: return from_bf16(to_bf16((float)x));
    default: return x;
    }
}

template <class A> std::vector<A> operand(const Matrix &m, int64_t batch, Rounding rounding) {
    const int64_t rows = m.transposed ? m.columns : m.rows, columns = m.transposed ? m.rows : m.columns;
    std::vector<A> out((size_t)(rows * columns));
    for (int64_t j = 0; j < columns; ++j) {
        for (int64_t i = 0; i < rows; ++i) {
            const int64_t at = m.transposed ? i * m.row_to_row + j : j * m.row_to_row + i;
            out[(size_t)(j * rows + i)] = (A)rounded(rounding, load(m.type, m.data, batch * m.batch_stride + at));
        }
    }
    return out;
}

template <class A> void multiply_in(const Product &p) {
    const int64_t m = p.d.rows, n = p.d.columns, k = p.a.transposed ? p.a.rows : p.a.columns;
    std::vector<A> column((size_t)m);
    for (int64_t batch = 0; batch < p.batches; ++batch) {
        const std::vector<A> a = operand<A>(p.a, batch, p.rounding), b = operand<A>(p.b, batch, p.rounding);
        for (int64_t j = 0; j < n; ++j) {
            std::fill(column.begin(), column.end(), A(0));
            for (int64_t l = 0; l < k; ++l) {
                const A factor = b[(size_t)(j * k + l)];
                const A *from = a.data() + l * m;
                A *to = column.data();
                for (int64_t i = 0; i < m; ++i) {
                    to[i] += from[i] * factor;
                }
            }
            for (int64_t i = 0; i < m; ++i) {
                A x = (A)p.alpha * column[(size_t)i];
                if (p.beta != 0) {
                    x += (A)p.beta * (A)load(p.c.type, p.c.data, batch * p.c.batch_stride + j * p.c.row_to_row + i);
                }
                if (p.bias) {
                    x += (A)load(p.bias_type, p.bias, i);
                }
                store(p.d.type, p.d.data, batch * p.d.batch_stride + j * p.d.row_to_row + i, x);
            }
        }
    }
}

} // namespace

size_t size_of(cudaDataType type) {
    switch (type) {
    case CUDA_R_32F: return 4;
    case CUDA_R_64F: return 8;
    case CUDA_R_16BF: return 2;
    default: return 0;
    }
}

size_t extent(const Matrix &m, int64_t batches) {
    return (size_t)((batches - 1) * m.batch_stride + (m.columns - 1) * m.row_to_row + m.rows) * size_of(m.type);
}

void multiply(const Product &product) {
    if (product.d.type == CUDA_R_64F) {
        multiply_in<double>(product);
    } else {
        multiply_in<float>(product);
    }
}

} // namespace software_gpu
