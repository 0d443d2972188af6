// cuBLASLt's stand-in: descriptions of products, one suggestion for each, and the product.
//
// What the real library leaves to the caller is checked here: that an algorithm is used for the product that it was
// suggested for, with pointers as aligned and a workspace as large as was said then, and on memory that exists.
#pragma GCC visibility push(default)
#include <cublasLt.h>
#pragma GCC visibility pop

#include "memory.h"
#include "product.h"
#include "report.h"

#include <cstring>
#include <mutex>
#include <set>

namespace software_gpu {

namespace {

// The pointers that were handed out and not given back.
class Handles {
  public:
    template <class T> void *add(T *object) {
        const std::lock_guard<std::mutex> lock(mutex);
        alive.insert(object);
        return object;
    }
    bool has(const void *object) {
        const std::lock_guard<std::mutex> lock(mutex);
        return alive.count(object) > 0;
    }
    bool remove(const void *object) {
        const std::lock_guard<std::mutex> lock(mutex);
        return alive.erase(object) > 0;
    }

  private:
    std::mutex mutex;
    std::set<const void *> alive;
};

struct Library {};
struct Operation {
    int32_t compute, scale;
    int32_t transposed[2] = {CUBLAS_OP_N, CUBLAS_OP_N};
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    int32_t bias_type = -1; // that of D
};
struct Layout {
    int32_t type;
    uint64_t rows, columns;
    int64_t row_to_row;
    int32_t order = CUBLASLT_ORDER_COL, batches = 1;
    int64_t batch_stride = 0;
};
struct Preference {
    uint64_t workspace = 0;
    uint32_t alignment[4] = {256, 256, 256, 256}; // of A, B, C and D
};

// What an algorithm holds of these: it is copied by who uses it.
struct Algorithm {
    uint64_t mark, problem, workspace;
    uint32_t alignment[4];
};
constexpr uint64_t MARK = 0x534f465447505531;
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

Handles &libraries() {
    static Handles *handles = new Handles;
    return *handles;
}
Handles &objects() {
    static Handles *handles = new Handles;
    return *handles;
}

template <class T, class H> const T *object(const char *function, H handle) {
    if (!objects().has(handle)) {
        report("%s: a descriptor that does not exist", function);
        return nullptr;
    }
    return (const T *)handle;
}

cublasStatus_t refuse(const char *function, const char *why, cublasStatus_t status = CUBLAS_STATUS_INVALID_VALUE) {
    report("%s: %s", function, why);
    return status;
}

// Sets a value of exactly the size that it has.
template <class T> cublasStatus_t set(const char *function, T &value, const void *from, size_t size) {
    if (!from || size != sizeof(T)) {
        report("%s: an attribute of %zu bytes gets %zu", function, sizeof(T), size);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    memcpy(&value, from, size);
    return CUBLAS_STATUS_SUCCESS;
}

// A product as its descriptors tell it.
struct Problem {
    Product product;
    const Operation *operation;
};

bool is_fit(const Layout &l) {
    return l.rows > 0 && l.columns > 0 && l.row_to_row >= (int64_t)l.rows && size_of((cudaDataType)l.type) > 0 &&
           l.batches >= 1 && (l.batches == 1 || l.batch_stride >= 0);
}

Matrix matrix(const Layout &l, bool transposed) {
    return {(cudaDataType)l.type, nullptr,        (int64_t)l.rows, (int64_t)l.columns,
            l.row_to_row,         l.batch_stride, transposed};
}

// Checks that the descriptors fit together.
cublasStatus_t describe(const char *function, Problem &problem, cublasLtMatmulDesc_t operation_handle,
                        cublasLtMatrixLayout_t a_handle, cublasLtMatrixLayout_t b_handle,
                        cublasLtMatrixLayout_t c_handle, cublasLtMatrixLayout_t d_handle) {
    const auto *operation = object<Operation>(function, operation_handle);
    const Layout *l[4] = {object<Layout>(function, a_handle), object<Layout>(function, b_handle),
                          object<Layout>(function, c_handle), object<Layout>(function, d_handle)};
    if (!operation || !l[0] || !l[1] || !l[2] || !l[3]) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    for (const Layout *layout : l) {
        if (!is_fit(*layout)) {
            return refuse(function,
                          "a matrix without elements, of an unknown type, or with a leading dimension below its rows");
        }
        if (layout->order != CUBLASLT_ORDER_COL) {
            return refuse(function, "only column-major matrices are simulated", CUBLAS_STATUS_NOT_SUPPORTED);
        }
        if (layout->batches != l[3]->batches) {
            return refuse(function, "the matrices have different batch counts");
        }
    }
    const bool ta = operation->transposed[0] != CUBLAS_OP_N, tb = operation->transposed[1] != CUBLAS_OP_N;
    const uint64_t m = ta ? l[0]->columns : l[0]->rows, k = ta ? l[0]->rows : l[0]->columns;
    const uint64_t n = tb ? l[1]->rows : l[1]->columns, k_of_b = tb ? l[1]->columns : l[1]->rows;
    if (k != k_of_b || l[3]->rows != m || l[3]->columns != n || l[2]->rows != m || l[2]->columns != n) {
        report("%s: op(A) is %zu x %zu, op(B) %zu x %zu, C %zu x %zu, D %zu x %zu", function, (size_t)m, (size_t)k,
               (size_t)k_of_b, (size_t)n, (size_t)l[2]->rows, (size_t)l[2]->columns, (size_t)l[3]->rows,
               (size_t)l[3]->columns);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    const int32_t input = l[0]->type, output = l[3]->type;
    const bool f32 = input == CUDA_R_32F && output == CUDA_R_32F;
    const bool bf16 = input == CUDA_R_16BF && (output == CUDA_R_16BF || output == CUDA_R_32F);
    const bool computable =
        operation->compute == CUBLAS_COMPUTE_32F || (operation->compute == CUBLAS_COMPUTE_32F_FAST_TF32 && f32);
    if (l[1]->type != input || l[2]->type != output || operation->scale != CUDA_R_32F || !(f32 || bf16) ||
        !computable) {
        report("%s: types %d, %d, %d, %d with compute type %d and scale type %d", function, input, l[1]->type,
               l[2]->type, output, operation->compute, operation->scale);
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const bool biased = operation->epilogue == CUBLASLT_EPILOGUE_BIAS;
    if (!biased && operation->epilogue != CUBLASLT_EPILOGUE_DEFAULT) {
        return refuse(function, "only the epilogues DEFAULT and BIAS are simulated", CUBLAS_STATUS_NOT_SUPPORTED);
    }
    const int32_t bias_type = operation->bias_type < 0 ? output : operation->bias_type;
    if (biased && bias_type != output) {
        return refuse(function, "a bias of another type than D", CUBLAS_STATUS_NOT_SUPPORTED);
    }
    Product &p = problem.product;
    p = {};
    p.a = matrix(*l[0], ta);
    p.b = matrix(*l[1], tb);
    p.c = matrix(*l[2], false);
    p.d = matrix(*l[3], false);
    p.batches = l[3]->batches;
    p.rounding = operation->compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? Rounding::Tf32 : Rounding::None;
    p.bias_type = (cudaDataType)bias_type;
    problem.operation = operation;
    return CUBLAS_STATUS_SUCCESS;
}

// A number that tells problems apart (FNV-1a).
uint64_t key(const Problem &problem) {
    const Product &p = problem.product;
    uint64_t hash = 0xcbf29ce484222325;
    const auto mix = [&](int64_t x) { hash = (hash ^ (uint64_t)x) * 0x100000001b3; };
    for (const Matrix *m : {&p.a, &p.b, &p.c, &p.d}) {
        for (const int64_t x :
             {(int64_t)m->type, m->rows, m->columns, m->row_to_row, m->batch_stride, (int64_t)m->transposed}) {
            mix(x);
        }
    }
    for (const int64_t x : {p.batches, (int64_t)p.rounding, (int64_t)problem.operation->epilogue}) {
        mix(x);
    }
    return hash;
}

bool overlap(const void *a, size_t a_size, const void *b, size_t b_size) {
    return (const char *)a < (const char *)b + b_size && (const char *)b < (const char *)a + a_size;
}

} // namespace

} // namespace software_gpu

using namespace software_gpu;

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = (cublasLtHandle_t)libraries().add(new Library);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    return libraries().remove(handle) ? (delete (Library *)handle, CUBLAS_STATUS_SUCCESS)
                                      : refuse("cublasLtDestroy", "no such handle", CUBLAS_STATUS_NOT_INITIALIZED);
}

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *handle, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    *handle = (cublasLtMatmulDesc_t)objects().add(new Operation{(int32_t)compute, (int32_t)scale});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
    return objects().remove(handle) ? (delete (Operation *)handle, CUBLAS_STATUS_SUCCESS)
                                    : refuse("cublasLtMatmulDescDestroy", "no such descriptor");
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              const void *from, size_t size) {
    const char *function = "cublasLtMatmulDescSetAttribute";
    auto *o = const_cast<Operation *>(object<Operation>(function, handle));
    if (!o) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE: return set(function, o->compute, from, size);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE: return set(function, o->scale, from, size);
    case CUBLASLT_MATMUL_DESC_TRANSA:
    case CUBLASLT_MATMUL_DESC_TRANSB: {
        int32_t operation = CUBLAS_OP_N;
        if (const cublasStatus_t error = set(function, operation, from, size)) {
            return error;
        }
        if (operation != CUBLAS_OP_N && operation != CUBLAS_OP_T && operation != CUBLAS_OP_C) {
            return refuse(function, "neither N nor T nor C");
        }
        o->transposed[attribute == CUBLASLT_MATMUL_DESC_TRANSB] = operation;
        return CUBLAS_STATUS_SUCCESS;
    }
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(function, o->epilogue, from, size);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(function, o->bias, from, size);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return set(function, o->bias_type, from, size);
    default: report("%s: attribute %d is not simulated", function, (int)attribute); return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *handle, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t row_to_row) {
    *handle = (cublasLtMatrixLayout_t)objects().add(new Layout{(int32_t)type, rows, columns, row_to_row});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
    return objects().remove(handle) ? (delete (Layout *)handle, CUBLAS_STATUS_SUCCESS)
                                    : refuse("cublasLtMatrixLayoutDestroy", "no such descriptor");
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void *from,
                                                size_t size) {
    const char *function = "cublasLtMatrixLayoutSetAttribute";
    auto *l = const_cast<Layout *>(object<Layout>(function, handle));
    if (!l) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE: return set(function, l->type, from, size);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: return set(function, l->order, from, size);
    case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(function, l->rows, from, size);
    case CUBLASLT_MATRIX_LAYOUT_COLS: return set(function, l->columns, from, size);
    case CUBLASLT_MATRIX_LAYOUT_LD: return set(function, l->row_to_row, from, size);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(function, l->batches, from, size);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(function, l->batch_stride, from, size);
    default: report("%s: attribute %d is not simulated", function, (int)attribute); return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *handle) {
    *handle = (cublasLtMatmulPreference_t)objects().add(new Preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
    return objects().remove(handle) ? (delete (Preference *)handle, CUBLAS_STATUS_SUCCESS)
                                    : refuse("cublasLtMatmulPreferenceDestroy", "no such descriptor");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *from,
                                                    size_t size) {
    const char *function = "cublasLtMatmulPreferenceSetAttribute";
    auto *p = const_cast<Preference *>(object<Preference>(function, handle));
    if (!p) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(function, p->workspace, from, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(function, p->alignment[0], from, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(function, p->alignment[1], from, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(function, p->alignment[2], from, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(function, p->alignment[3], from, size);
    default: report("%s: attribute %d is not simulated", function, (int)attribute); return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t library, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference_handle, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int *found) {
    const char *function = "cublasLtMatmulAlgoGetHeuristic";
    if (!libraries().has(library)) {
        return refuse(function, "no such handle", CUBLAS_STATUS_NOT_INITIALIZED);
    }
    const auto *preference = object<Preference>(function, preference_handle);
    if (!preference || requested < 1 || !results || !found) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    *found = 0;
    Problem problem;
    if (const cublasStatus_t error = describe(function, problem, operation, a, b, c, d)) {
        return error;
    }
    const Matrix &out = problem.product.d;
    Algorithm algorithm{};
    algorithm.mark = MARK;
    algorithm.problem = key(problem);
    // As if K were split: an f32 for each element of D, if there may be so many.
    const uint64_t wanted = (uint64_t)(out.rows * out.columns) * 4;
    algorithm.workspace = wanted <= preference->workspace ? wanted : 0;
    memcpy(algorithm.alignment, preference->alignment, sizeof algorithm.alignment);
    cublasLtMatmulHeuristicResult_t &result = results[0];
    memset(&result, 0, sizeof result);
    memcpy(&result.algo, &algorithm, sizeof algorithm);
    result.workspaceSize = algorithm.workspace;
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = 1;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t library, cublasLtMatmulDesc_t operation, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *chosen, void *workspace, size_t workspace_size,
                              cudaStream_t stream) {
    const char *function = "cublasLtMatmul";
    if (!libraries().has(library)) {
        return refuse(function, "no such handle", CUBLAS_STATUS_NOT_INITIALIZED);
    }
    Problem problem;
    if (const cublasStatus_t error = describe(function, problem, operation, a_layout, b_layout, c_layout, d_layout)) {
        return error;
    }
    if (!alpha || !beta || !a || !b || !d) {
        return refuse(function, "a null pointer");
    }
    Product &p = problem.product;
    p.alpha = *(const float *)alpha;
    p.beta = *(const float *)beta;
    p.a.data = a;
    p.b.data = b;
    p.c.data = c;
    p.d.data = d;

    Algorithm algorithm{MARK, key(problem), 0, {1, 1, 1, 1}}; // of the library's own choice, where there is none
    if (chosen) {
        memcpy(&algorithm, chosen, sizeof algorithm);
    }
    if (algorithm.mark != MARK || algorithm.problem != key(problem)) {
        return refuse(function, "the algorithm was not suggested for this product");
    }
    const void *pointers[4] = {a, b, c, d};
    for (int i = 0; i < 4; ++i) {
        if ((uintptr_t)pointers[i] % algorithm.alignment[i] != 0) {
            report("%s: %c lies at %p, no multiple of %u, which the algorithm was told", function, "ABCD"[i],
                   pointers[i], algorithm.alignment[i]);
            return CUBLAS_STATUS_INVALID_VALUE;
        }
    }

    const Turn turn = turn_on(stream);
    if (!turn) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    const size_t a_size = extent(p.a, p.batches), b_size = extent(p.b, p.batches), d_size = extent(p.d, p.batches);
    const bool reads_c = p.beta != 0;
    if (!is_device_memory(a, a_size, "cublasLtMatmul: A") || !is_device_memory(b, b_size, "cublasLtMatmul: B") ||
        !is_device_memory(d, d_size, "cublasLtMatmul: D") ||
        (reads_c && !is_device_memory(c, extent(p.c, p.batches), "cublasLtMatmul: C"))) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (overlap(a, a_size, d, d_size) || overlap(b, b_size, d, d_size)) {
        return refuse(function, "D overlaps A or B");
    }
    if (problem.operation->epilogue == CUBLASLT_EPILOGUE_BIAS) {
        p.bias = problem.operation->bias;
        if (!is_device_memory(p.bias, (size_t)p.d.rows * size_of(p.bias_type), "cublasLtMatmul: bias")) {
            return CUBLAS_STATUS_INVALID_VALUE;
        }
    }
    if (algorithm.workspace > 0) {
        if (workspace_size < algorithm.workspace || (uintptr_t)workspace % 256 != 0) {
            report("%s: a workspace of %zu bytes at %p; %zu are needed, at a multiple of 256", function, workspace_size,
                   workspace, (size_t)algorithm.workspace);
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        if (!is_device_memory(workspace, algorithm.workspace, "cublasLtMatmul: workspace")) {
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        memset(workspace, 0xA5, algorithm.workspace); // whatever anybody else kept there is gone
    }
    multiply(p);
    return CUBLAS_STATUS_SUCCESS;
}
