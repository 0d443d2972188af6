// Products of matrices, column by column in memory as BLAS has them: D = alpha op(A) op(B) + beta C + bias.
#pragma once

#include <cstddef>
#include <cstdint>
#include <library_types.h>

namespace software_gpu {

struct Matrix {
    cudaDataType type;
    const void *data;
    int64_t rows, columns, row_to_row; // from one column to the next, that is: the "leading dimension"
    int64_t batch_stride;
    bool transposed; // what is used of A and B
};

enum class Rounding { None, Tf32, Bf16 }; // of the elements of A and B before they are multiplied

struct Product {
    Matrix a, b, c, d;
    double alpha, beta; // C is not read where beta is 0
    int64_t batches;
    Rounding rounding;
    const void *bias; // null, or for each row of D an element of `bias_type`
    cudaDataType bias_type;
};

size_t size_of(cudaDataType type); // 0 for a type that is not simulated

// The bytes between the first and the last element, inclusive.
size_t extent(const Matrix &matrix, int64_t batches);

// Accumulates in f64 for f64, else in f32.
void multiply(const Product &product);

} // namespace software_gpu
