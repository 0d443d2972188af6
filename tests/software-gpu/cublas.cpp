// cuBLAS's stand-in: handles, and the products that candle's matmul calls.
#pragma GCC visibility push(default)
#include <cublas_v2.h>
#pragma GCC visibility pop

#include "memory.h"
#include "product.h"
#include "report.h"

#include <algorithm>

struct cublasContext {
    cudaStream_t stream = nullptr;
    cublasMath_t math = CUBLAS_DEFAULT_MATH;
    cublasPointerMode_t pointers = CUBLAS_POINTER_MODE_HOST;
};

namespace software_gpu {

namespace {

struct Operand {
    const void *data;
    cudaDataType type;
    int64_t row_to_row, stride;
};

cublasStatus_t gemm(const char *function, cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int64_t m,
                    int64_t n, int64_t k, const void *alpha, Operand a, Operand b, const void *beta, Operand c,
                    int64_t batches, cublasComputeType_t compute) {
    if (!handle) {
        return CUBLAS_STATUS_NOT_INITIALIZED;
    }
    const bool f64 = compute == CUBLAS_COMPUTE_64F;
    const bool f32 = compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_PEDANTIC ||
                     compute == CUBLAS_COMPUTE_32F_FAST_TF32 || compute == CUBLAS_COMPUTE_32F_FAST_16BF;
    const bool types =
        a.type == b.type && (f64   ? a.type == CUDA_R_64F && c.type == CUDA_R_64F
                             : f32 ? (a.type == CUDA_R_32F && c.type == CUDA_R_32F) ||
                                         (a.type == CUDA_R_16BF && (c.type == CUDA_R_16BF || c.type == CUDA_R_32F))
                                   : false);
    if (!types) {
        report("%s: types %d, %d, %d with compute type %d", function, (int)a.type, (int)b.type, (int)c.type,
               (int)compute);
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const bool at = ta != CUBLAS_OP_N, bt = tb != CUBLAS_OP_N;
    if (m < 0 || n < 0 || k < 0 || batches < 0 || !alpha || !beta || a.row_to_row < std::max<int64_t>(1, at ? k : m) ||
        b.row_to_row < std::max<int64_t>(1, bt ? n : k) || c.row_to_row < std::max<int64_t>(1, m)) {
        report("%s: m %d, n %d, k %d, batches %d with leading dimensions %d, %d, %d", function, (int)m, (int)n, (int)k,
               (int)batches, (int)a.row_to_row, (int)b.row_to_row, (int)c.row_to_row);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (m == 0 || n == 0 || batches == 0) {
        return CUBLAS_STATUS_SUCCESS;
    }
    const auto number = [&](const void *x) { return f64 ? *(const double *)x : (double)*(const float *)x; };
    const bool tf32 =
        compute == CUBLAS_COMPUTE_32F_FAST_TF32 ||
        (compute == CUBLAS_COMPUTE_32F && a.type == CUDA_R_32F && handle->math == CUBLAS_TF32_TENSOR_OP_MATH);
    Product p{};
    p.a = {a.type, a.data, at ? k : m, at ? m : k, a.row_to_row, a.stride, at};
    p.b = {b.type, b.data, bt ? n : k, bt ? k : n, b.row_to_row, b.stride, bt};
    p.c = {c.type, c.data, m, n, c.row_to_row, c.stride, false};
    p.d = p.c;
    p.alpha = number(alpha);
    p.beta = number(beta);
    p.batches = batches;
    p.rounding = tf32 ? Rounding::Tf32 : compute == CUBLAS_COMPUTE_32F_FAST_16BF ? Rounding::Bf16 : Rounding::None;
    const Turn turn = turn_on(handle->stream);
    if (!turn ||
        (k > 0 && (!is_device_memory(a.data, extent(p.a, batches), "cublas gemm: A") ||
                   !is_device_memory(b.data, extent(p.b, batches), "cublas gemm: B"))) ||
        !is_device_memory(c.data, extent(p.c, batches), "cublas gemm: C")) {
        return CUBLAS_STATUS_EXECUTION_FAILED;
    }
    multiply(p);
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

} // namespace software_gpu

using namespace software_gpu;

cublasStatus_t cublasCreate(cublasHandle_t *handle) {
    *handle = new cublasContext;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int *version) {
    *version = CUBLAS_VERSION;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    return turn_on(stream) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t *stream) {
    *stream = handle->stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
    handle->math = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t *mode) {
    *mode = handle->math;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode) {
    handle->pointers = mode; // there is one memory
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetPointerMode(cublasHandle_t handle, cublasPointerMode_t *mode) {
    *mode = handle->pointers;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                          int n, int k, const void *alpha, const void *a, cudaDataType a_type,
                                          int a_row, long long a_stride, const void *b, cudaDataType b_type, int b_row,
                                          long long b_stride, const void *beta, void *c, cudaDataType c_type, int c_row,
                                          long long c_stride, int batches, cublasComputeType_t compute,
                                          cublasGemmAlgo_t) {
    return gemm("cublasGemmStridedBatchedEx", handle, ta, tb, m, n, k, alpha, {a, a_type, a_row, a_stride},
                {b, b_type, b_row, b_stride}, beta, {c, c_type, c_row, c_stride}, batches, compute);
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                            const void *alpha, const void *a, cudaDataType a_type, int a_row, const void *b,
                            cudaDataType b_type, int b_row, const void *beta, void *c, cudaDataType c_type, int c_row,
                            cublasComputeType_t compute, cublasGemmAlgo_t) {
    return gemm("cublasGemmEx", handle, ta, tb, m, n, k, alpha, {a, a_type, a_row, 0}, {b, b_type, b_row, 0}, beta,
                {c, c_type, c_row, 0}, 1, compute);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                         int n, int k, const float *alpha, const float *a, int a_row,
                                         long long a_stride, const float *b, int b_row, long long b_stride,
                                         const float *beta, float *c, int c_row, long long c_stride, int batches) {
    return gemm("cublasSgemmStridedBatched", handle, ta, tb, m, n, k, alpha, {a, CUDA_R_32F, a_row, a_stride},
                {b, CUDA_R_32F, b_row, b_stride}, beta, {c, CUDA_R_32F, c_row, c_stride}, batches, CUBLAS_COMPUTE_32F);
}

cublasStatus_t cublasDgemmStridedBatched(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m,
                                         int n, int k, const double *alpha, const double *a, int a_row,
                                         long long a_stride, const double *b, int b_row, long long b_stride,
                                         const double *beta, double *c, int c_row, long long c_stride, int batches) {
    return gemm("cublasDgemmStridedBatched", handle, ta, tb, m, n, k, alpha, {a, CUDA_R_64F, a_row, a_stride},
                {b, CUDA_R_64F, b_row, b_stride}, beta, {c, CUDA_R_64F, c_row, c_stride}, batches, CUBLAS_COMPUTE_64F);
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                           const float *alpha, const float *a, int a_row, const float *b, int b_row, const float *beta,
                           float *c, int c_row) {
    return cublasSgemmStridedBatched(handle, ta, tb, m, n, k, alpha, a, a_row, 0, b, b_row, 0, beta, c, c_row, 0, 1);
}

cublasStatus_t cublasDgemm(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k,
                           const double *alpha, const double *a, int a_row, const double *b, int b_row,
                           const double *beta, double *c, int c_row) {
    return cublasDgemmStridedBatched(handle, ta, tb, m, n, k, alpha, a, a_row, 0, b, b_row, 0, beta, c, c_row, 0, 1);
}
