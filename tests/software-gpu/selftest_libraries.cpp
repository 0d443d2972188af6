// Tests the stand-ins of cuDNN, cuBLASLt, cuBLAS and cuRAND: their arithmetic against loops that are written another
// way, in f64, and what they refuse.
#include "numbers.h"
#include "selftest.h"

#include <cmath>
#include <cstring>
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cudnn_graph.h>
#include <curand.h>
#include <functional>
#include <numeric>

namespace selftest {

namespace {

// What rounding may do: of the result to bfloat16 (8 bits), of the factors to TF32 (11 bits), of sums of f32.
double tolerance(bool bf16, bool tf32) { return bf16 || tf32 ? 4e-3 : 3e-6; }

// --- cuDNN ---------------------------------------------------------------------------------------------------------

using Handle = cudnnBackendDescriptor_t;

struct Shape {
    int64_t n, c, h, w, k, r, s, stride[2], padding[2], padding_after[2], dilation[2];
    int64_t p() const { return (h + padding[0] + padding_after[0] - dilation[0] * (r - 1) - 1) / stride[0] + 1; }
    int64_t q() const { return (w + padding[1] + padding_after[1] - dilation[1] * (s - 1) - 1) / stride[1] + 1; }
};

enum { FORWARD, DATA, FILTER };

// A tensor on the host, with strides of the order that is asked for.
struct Array {
    std::vector<int64_t> sizes, strides;
    std::vector<double> values;
    Array(std::vector<int64_t> sizes, bool channels_last, unsigned seed) : sizes(sizes) {
        const int64_t a = sizes[1], b = sizes[2], c = sizes[3];
        strides =
            channels_last ? std::vector<int64_t>{a * b * c, 1, c * a, a} : std::vector<int64_t>{a * b * c, b * c, c, 1};
        values = numbers((size_t)(sizes[0] * a * b * c), seed);
    }
    double &at(int64_t i, int64_t j, int64_t k, int64_t l) {
        return values[(size_t)(i * strides[0] + j * strides[1] + k * strides[2] + l * strides[3])];
    }
    void round(bool bf16) { values = selftest::values(elements(values, bf16), bf16); }
};

// Each number of the result by itself, from its definition.
std::vector<double> direct(int direction, const Shape &g, Array x, Array w, Array y, double alpha, double beta) {
    Array &out = direction == FORWARD ? y : direction == DATA ? x : w;
    Array sums = out;
    std::fill(sums.values.begin(), sums.values.end(), 0);
    for (int64_t n = 0; n < g.n; ++n) {
        for (int64_t k = 0; k < g.k; ++k) {
            for (int64_t c = 0; c < g.c; ++c) {
                for (int64_t h = 0; h < g.h; ++h) {
                    for (int64_t v = 0; v < g.w; ++v) {
                        for (int64_t r = 0; r < g.r; ++r) {
                            for (int64_t s = 0; s < g.s; ++s) {
                                const int64_t from_p = h + g.padding[0] - r * g.dilation[0];
                                const int64_t from_q = v + g.padding[1] - s * g.dilation[1];
                                const int64_t p = from_p / g.stride[0], q = from_q / g.stride[1];
                                if (from_p < 0 || from_q < 0 || from_p % g.stride[0] || from_q % g.stride[1] ||
                                    p >= g.p() || q >= g.q()) {
                                    continue;
                                }
                                if (direction == FORWARD) {
                                    sums.at(n, k, p, q) += x.at(n, c, h, v) * w.at(k, c, r, s);
                                } else if (direction == DATA) {
                                    sums.at(n, c, h, v) += y.at(n, k, p, q) * w.at(k, c, r, s);
                                } else {
                                    sums.at(k, c, r, s) += y.at(n, k, p, q) * x.at(n, c, h, v);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    for (size_t i = 0; i < out.values.size(); ++i) {
        sums.values[i] = alpha * sums.values[i] + (beta != 0 ? beta * out.values[i] : 0);
    }
    return sums.values;
}

Handle make(cudnnBackendDescriptorType_t kind) {
    Handle handle = nullptr;
    CHECK(cudnnBackendCreateDescriptor(kind, &handle) == CUDNN_STATUS_SUCCESS);
    return handle;
}

template <class T>
cudnnStatus_t set(Handle handle, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                  std::vector<T> values) {
    return cudnnBackendSetAttribute(handle, name, type, (int64_t)values.size(), values.data());
}

template <class T>
std::vector<T> get(Handle handle, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) {
    std::vector<T> values(20);
    int64_t count = -1;
    CHECK(cudnnBackendGetAttribute(handle, name, type, 20, &count, values.data()) == CUDNN_STATUS_SUCCESS);
    values.resize((size_t)count);
    return values;
}

Handle tensor(const Array &array, bool bf16, int64_t id) {
    const Handle t = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    CHECK(!set<int>(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE,
                    {bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT}));
    CHECK(!set<int64_t>(t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, array.sizes));
    CHECK(!set<int64_t>(t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, array.strides));
    CHECK(!set<int64_t>(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {id}));
    CHECK(!set<int64_t>(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {16}));
    return t;
}

void set_convolution(Handle c, const Shape &g) {
    CHECK(!set<int>(c, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT}));
    CHECK(!set<int>(c, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, {CUDNN_CROSS_CORRELATION}));
    CHECK(!set<int64_t>(c, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, {2}));
    CHECK(!set<int64_t>(c, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, {g.padding[0], g.padding[1]}));
    CHECK(!set<int64_t>(c, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64,
                        {g.padding_after[0], g.padding_after[1]}));
    CHECK(!set<int64_t>(c, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, {g.dilation[0], g.dilation[1]}));
    CHECK(!set<int64_t>(c, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, {g.stride[0], g.stride[1]}));
}

// All descriptors of a convolution up to its graph.
struct Graph {
    std::vector<Handle> parts;
    Handle operation = nullptr, graph = nullptr;

    Graph(cudnnHandle_t library, int direction, const Shape &g, const Array &x, const Array &w, const Array &y,
          const std::vector<bool> &bf16, float alpha, float beta) {
        const Handle convolution = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
        set_convolution(convolution, g);
        parts = {convolution, tensor(x, bf16[0], 11), tensor(w, bf16[1], 22), tensor(y, bf16[2], 33)};
        for (const Handle part : parts) {
            CHECK(!cudnnBackendFinalize(part));
        }
        const cudnnBackendDescriptorType_t kinds[] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                                      CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                                      CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR};
        const cudnnBackendAttributeName_t names[3][6] = {
            {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
        operation = make(kinds[direction]);
        for (size_t i = 0; i < 4; ++i) {
            CHECK(!set<Handle>(operation, names[direction][i], CUDNN_TYPE_BACKEND_DESCRIPTOR, {parts[i]}));
        }
        CHECK(!set<float>(operation, names[direction][4], CUDNN_TYPE_FLOAT, {alpha}));
        CHECK(!set<float>(operation, names[direction][5], CUDNN_TYPE_FLOAT, {beta}));
        CHECK(!cudnnBackendFinalize(operation));
        graph = make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
        CHECK(!set<cudnnHandle_t>(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, {library}));
        CHECK(!set<Handle>(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, {operation}));
        CHECK(!cudnnBackendFinalize(graph));
        parts.push_back(operation);
        parts.push_back(graph);
    }
    ~Graph() {
        for (const Handle part : parts) {
            CHECK(!cudnnBackendDestroyDescriptor(part));
        }
    }
};

// The configurations that a mode suggests.
std::vector<Handle> suggestions(Handle graph, cudnnBackendHeurMode_t mode) {
    const Handle heuristics = make(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    CHECK(!set<Handle>(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, {graph}));
    CHECK(!set<int>(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, {mode}));
    CHECK(!cudnnBackendFinalize(heuristics));
    std::vector<Handle> configs;
    for (int i = 0; i < 10; ++i) {
        configs.push_back(make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    }
    int64_t count = -1;
    CHECK(!cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 10,
                                    &count, configs.data()));
    CHECK(!cudnnBackendDestroyDescriptor(heuristics));
    while ((int64_t)configs.size() > count) {
        CHECK(!cudnnBackendDestroyDescriptor(configs.back()));
        configs.pop_back();
    }
    return configs;
}

// All four engines of a graph.
struct Engines {
    std::vector<Handle> configs;
    explicit Engines(Handle graph) {
        configs = suggestions(graph, CUDNN_HEUR_MODE_A);
        CHECK(configs.size() == 3);
        const std::vector<Handle> fallback = suggestions(graph, CUDNN_HEUR_MODE_FALLBACK);
        CHECK(fallback.size() == 1);
        configs.insert(configs.end(), fallback.begin(), fallback.end());
    }
    ~Engines() {
        for (const Handle config : configs) {
            CHECK(!cudnnBackendDestroyDescriptor(config));
        }
    }
};

std::vector<int> notes(Handle config) {
    Handle engine = make(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    int64_t count = 0;
    CHECK(!cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                    &engine) &&
          count == 1);
    const std::vector<int> notes = get<int>(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
    CHECK(!cudnnBackendDestroyDescriptor(engine));
    return notes;
}

Handle unfinished_plan(cudnnHandle_t library, Handle config) {
    const Handle plan = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    CHECK(!set<cudnnHandle_t>(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, {library}));
    CHECK(!set<Handle>(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, {config}));
    return plan;
}

int64_t workspace_of(Handle plan) {
    return get<int64_t>(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64)[0];
}

Handle unfinished_pack(std::vector<int64_t> ids, std::vector<void *> pointers, void *workspace) {
    const Handle pack = make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    CHECK(!set<int64_t>(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids));
    CHECK(!set<void *>(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers));
    CHECK(!set<void *>(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, {workspace}));
    return pack;
}

cudnnStatus_t execute(cudnnHandle_t library, Handle plan, std::vector<int64_t> ids, std::vector<void *> pointers,
                      void *workspace) {
    const Handle pack = unfinished_pack(ids, pointers, workspace);
    CHECK(!cudnnBackendFinalize(pack));
    const cudnnStatus_t status = cudnnBackendExecute(library, plan, pack);
    CHECK(!cudnnBackendDestroyDescriptor(pack));
    return status;
}

void test_convolution(cudnnHandle_t library, const Shape &g, const std::vector<bool> &bf16, bool channels_last,
                      float alpha, float beta) {
    Array x({g.n, g.c, g.h, g.w}, channels_last, 1), w({g.k, g.c, g.r, g.s}, channels_last, 2);
    Array y({g.n, g.k, g.p(), g.q()}, channels_last, 3);
    x.round(bf16[0]);
    w.round(bf16[1]);
    y.round(bf16[2]);
    for (const int direction : {FORWARD, DATA, FILTER}) {
        const size_t out = direction == FORWARD ? 2 : direction == DATA ? 0 : 1;
        const std::vector<double> expected = direct(direction, g, x, w, y, alpha, beta);
        const Graph graph(library, direction, g, x, w, y, bf16, alpha, beta);
        const Engines engines(graph.graph);
        CHECK(get<int64_t>(graph.graph, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, CUDNN_TYPE_INT64)[0] == 4);
        std::vector<std::vector<double>> results;
        for (size_t i = 0; i < 4; ++i) {
            const std::vector<int> expected_notes = i == 0   ? std::vector<int>{CUDNN_NUMERICAL_NOTE_TENSOR_CORE}
                                                    : i == 1 ? std::vector<int>{CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC}
                                                             : std::vector<int>{};
            CHECK(notes(engines.configs[i]) == expected_notes);
            const Handle plan = unfinished_plan(library, engines.configs[i]);
            const int64_t together = bf16[0] ? 8 : 4;
            const bool refused =
                (i == 0 && (g.c % together || g.k % together)) || (i == 2 && (g.stride[0] > 1 || g.stride[1] > 1));
            CHECK(cudnnBackendFinalize(plan) == (refused ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS));
            if (refused) {
                results.push_back({});
                CHECK(!cudnnBackendDestroyDescriptor(plan));
                continue;
            }
            CHECK((workspace_of(plan) > 0) == (i != 3));
            const Memory workspace((size_t)workspace_of(plan) + 1);
            // The output is full of NaN where it is not to be read.
            const Array *arrays[3] = {&x, &w, &y};
            std::vector<char> bytes[3];
            for (size_t t = 0; t < 3; ++t) {
                bytes[t] = elements(arrays[t]->values, bf16[t]);
            }
            if (beta == 0) {
                std::fill(bytes[out].begin(), bytes[out].end(), (char)0xFF);
            }
            const Memory mx = on_device(bytes[0]), mw = on_device(bytes[1]), my = on_device(bytes[2]);
            const Memory &result = out == 0 ? mx : out == 1 ? mw : my;
            CHECK(!execute(library, plan, {33, 11, 22}, {my.at(), mx.at(), mw.at()}, workspace.at()));
            results.push_back(values(result.read<char>(), bf16[out]));
            const bool exact = i > 0 || (bf16[0] && bf16[1] && bf16[2]);
            CHECK(difference(results.back(), expected) < tolerance(bf16[out], !exact));
            if (i == 1 && beta == 0) {
                CHECK(!execute(library, plan, {33, 11, 22}, {my.at(), mx.at(), mw.at()}, workspace.at()));
                CHECK(bf16[out] || values(result.read<char>(), bf16[out]) != results.back()); // nondeterministic
            }
            CHECK(!cudnnBackendDestroyDescriptor(plan));
        }
        if (!results[0].empty() && !bf16[0] && !bf16[1] && !bf16[2]) {
            CHECK(difference(results[0], results[3]) > 1e-5); // TF32 shows
        }
        if (!results[2].empty()) {
            CHECK(results[2] == results[3]);
        }
    }
}

bool is(cudnnStatus_t status, const std::function<cudnnStatus_t()> &work) {
    return refuses<cudnnStatus_t>(status, work);
}

// A convolution descriptor, or a tensor's, in which one attribute is `values` instead of what is right.
template <class T>
Handle odd(const Shape &g, const Array &array, bool of_tensor, cudnnBackendAttributeName_t name,
           cudnnBackendAttributeType_t type, std::vector<T> values) {
    Handle d = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    if (of_tensor) {
        CHECK(!cudnnBackendDestroyDescriptor(d));
        d = tensor(array, false, 1);
    } else {
        set_convolution(d, g);
    }
    CHECK(!set<T>(d, name, type, values));
    return d;
}

void test_cudnn_rules(cudnnHandle_t library) {
    const Shape g{2, 8, 5, 5, 4, 3, 3, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
    const Array x({2, 8, 5, 5}, true, 1), w({4, 8, 3, 3}, true, 2), y({2, 4, 5, 5}, true, 3);
    const cudnnBackendAttributeType_t INT64 = CUDNN_TYPE_INT64, DESCRIPTOR = CUDNN_TYPE_BACKEND_DESCRIPTOR;

    // Attributes.
    const Handle t = make(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    CHECK(is(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE,
             [&] { return set<float>(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_FLOAT, {1}); }));
    CHECK(is(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT,
             [&] { return set<int64_t>(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, INT64, {1, 2}); }));
    CHECK(is(CUDNN_STATUS_NOT_SUPPORTED,
             [&] { return set<int64_t>(t, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, INT64, {1}); }));
    CHECK(is(CUDNN_STATUS_BAD_PARAM_NULL_POINTER,
             [&] { return cudnnBackendSetAttribute(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, INT64, 1, nullptr); }));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendFinalize(t); })); // everything is missing
    CHECK(!cudnnBackendDestroyDescriptor(t));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendDestroyDescriptor(t); }));
    CHECK(is(CUDNN_STATUS_NOT_SUPPORTED, [] {
        Handle handle;
        return cudnnBackendCreateDescriptor(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, &handle);
    }));

    // What a tensor and a convolution may be.
    const auto refused = [&](cudnnStatus_t status, Handle d) {
        CHECK(is(status, [&] { return cudnnBackendFinalize(d); }));
        char message[100];
        cudnnGetLastErrorString(message, sizeof message);
        CHECK(strlen(message) > 5);
        CHECK(!cudnnBackendDestroyDescriptor(d));
    };
    refused(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE,
            odd<int>(g, x, true, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_DOUBLE}));
    refused(CUDNN_STATUS_BAD_PARAM, odd<int64_t>(g, x, true, CUDNN_ATTR_TENSOR_DIMENSIONS, INT64, {2, 8, 0, 5}));
    refused(CUDNN_STATUS_BAD_PARAM, odd<int64_t>(g, x, true, CUDNN_ATTR_TENSOR_STRIDES, INT64, {200, 1, 40}));
    refused(CUDNN_STATUS_BAD_PARAM, odd<int64_t>(g, x, true, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, INT64, {6}));
    refused(CUDNN_STATUS_NOT_SUPPORTED, odd<char>(g, x, true, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, {1}));
    refused(CUDNN_STATUS_BAD_PARAM, odd<int64_t>(g, x, false, CUDNN_ATTR_CONVOLUTION_DILATIONS, INT64, {1}));
    refused(CUDNN_STATUS_BAD_PARAM, odd<int64_t>(g, x, false, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, INT64, {1, 0}));
    refused(CUDNN_STATUS_BAD_PARAM, odd<int64_t>(g, x, false, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, INT64, {3}));
    refused(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE,
            odd<int>(g, x, false, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_BFLOAT16}));
    refused(CUDNN_STATUS_NOT_SUPPORTED,
            odd<int>(g, x, false, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, {CUDNN_CONVOLUTION}));

    // What an operation may be: a wrong height, batch, number of channels or outputs.
    const auto operation = [&](const Array &x, const Array &w, const Array &y, int64_t id_of_y) {
        const Handle op = make(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR),
                     c = make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
        set_convolution(c, g);
        const std::vector<Handle> parts = {c, tensor(x, false, 1), tensor(w, false, 2), tensor(y, false, id_of_y)};
        const cudnnBackendAttributeName_t names[] = {
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y};
        CHECK(is(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                 [&] { return set<Handle>(op, names[1], DESCRIPTOR, {parts[1]}); }));
        for (size_t i = 0; i < 4; ++i) {
            CHECK(!cudnnBackendFinalize(parts[i]));
            CHECK(!set<Handle>(op, names[i], DESCRIPTOR, {parts[i]}));
        }
        CHECK(is(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE,
                 [&] { return set<Handle>(op, names[1], DESCRIPTOR, {parts[0]}); }));
        CHECK(is(CUDNN_STATUS_BAD_PARAM,
                 [&] { return set<int64_t>(parts[1], CUDNN_ATTR_TENSOR_UNIQUE_ID, INT64, {5}); })); // finalized
        CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendFinalize(op); }));                // no alpha
        CHECK(!set<float>(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, {1}));
        CHECK(!set<float>(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, {0}));
        cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
        stderr_of([&] { status = cudnnBackendFinalize(op); });
        for (const Handle part : parts) {
            CHECK(!cudnnBackendDestroyDescriptor(part));
        }
        CHECK(!cudnnBackendDestroyDescriptor(op));
        return status;
    };
    CHECK(operation(x, w, y, 3) == CUDNN_STATUS_SUCCESS);
    CHECK(operation(x, w, y, 2) == CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES);
    CHECK(operation(x, w, Array({2, 4, 4, 5}, true, 0), 3) == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    CHECK(operation(x, w, Array({3, 4, 5, 5}, true, 0), 3) == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    CHECK(operation(x, w, Array({2, 8, 5, 5}, true, 0), 3) == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    CHECK(operation(x, Array({4, 7, 3, 3}, true, 0), y, 3) == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    CHECK(operation(x, Array({4, 4, 3, 3}, true, 0), y, 3) == CUDNN_STATUS_NOT_SUPPORTED); // two groups
    CHECK(operation(Array({2, 8, 5, 6}, true, 0), w, y, 3) == CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);

    // Plans and runs.
    Graph graph(library, FORWARD, g, x, w, y, {false, false, false}, 1, 0);
    const Engines engines(graph.graph);
    const Memory mx = on_device(elements(x.values, false)), mw = on_device(elements(w.values, false));
    const Memory my(y.values.size() * 4 + 16), small(16), workspace(1 << 16);
    cudnnHandle_t other;
    CHECK(!cudnnCreate(&other));
    const Handle foreign = unfinished_plan(other, engines.configs[0]),
                 plan = unfinished_plan(library, engines.configs[0]);
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendFinalize(foreign); }));
    int64_t count, size;
    CHECK(is(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, [&] {
        return cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, INT64, 1, &count, &size);
    }));
    CHECK(!cudnnBackendFinalize(plan) && workspace_of(plan) == 2048);
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendFinalize(plan); })); // again
    const auto run = [&](std::vector<int64_t> ids, std::vector<void *> pointers, void *workspace) {
        return [=] { return execute(library, plan, ids, pointers, workspace); };
    };
    const std::vector<int64_t> ids = {11, 22, 33};
    CHECK(!execute(library, plan, ids, {mx.at(), mw.at(), my.at()}, workspace.at()));
    CHECK(is(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, run(ids, {mx.at(), mw.at(), my.at()}, small.at())));
    CHECK(is(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, run(ids, {mx.at(), mw.at(), my.at()}, nullptr)));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, run({11, 22, 33, 44}, {mx.at(), mw.at(), my.at(), my.at()}, workspace.at())));
    CHECK(is(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, run({11, 22}, {mx.at(), mw.at()}, workspace.at())));
    CHECK(is(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, run(ids, {mx.at(), nullptr, my.at()}, workspace.at())));
    CHECK(is(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, run(ids, {mx.at(), mw.at(), my.at(4)}, workspace.at())));
    CHECK(is(CUDNN_STATUS_EXECUTION_FAILED, run(ids, {mx.at(16), mw.at(), my.at()}, workspace.at())));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, run(ids, {mx.at(), mw.at(), mx.at()}, workspace.at()))); // in place
    const Handle pack = unfinished_pack(ids, {mx.at(), mw.at(), my.at()}, workspace.at());
    CHECK(is(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, [&] { return cudnnBackendExecute(library, plan, pack); }));
    CHECK(!cudnnBackendFinalize(pack));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendExecute(other, plan, pack); }));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendExecute(library, pack, plan); }));
    const Handle twice = unfinished_pack({11, 11}, {mx.at(), mw.at()}, workspace.at());
    const Handle uneven = unfinished_pack({11, 22, 33}, {mx.at(), mw.at()}, workspace.at());
    CHECK(is(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, [&] { return cudnnBackendFinalize(twice); }));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendFinalize(uneven); }));
    // A part of the plan that is gone.
    CHECK(!cudnnBackendDestroyDescriptor(graph.parts[1]));
    graph.parts.erase(graph.parts.begin() + 1);
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnBackendExecute(library, plan, pack); }));
    for (const Handle handle : {foreign, plan, pack, twice, uneven}) {
        CHECK(!cudnnBackendDestroyDescriptor(handle));
    }
    CHECK(!cudnnDestroy(other));
    CHECK(is(CUDNN_STATUS_BAD_PARAM, [&] { return cudnnDestroy(other); }));
}

void test_cudnn() {
    cudnnHandle_t library;
    CHECK(cudnnGetVersion() == CUDNN_VERSION && !cudnnCreate(&library) && !cudnnSetStream(library, nullptr));
    const Shape shapes[] = {
        {2, 8, 7, 5, 16, 3, 3, {1, 1}, {1, 1}, {1, 1}, {1, 1}}, {3, 3, 9, 8, 5, 3, 3, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
        {2, 16, 6, 7, 8, 1, 1, {2, 2}, {0, 0}, {0, 0}, {1, 1}}, {1, 8, 11, 10, 8, 5, 3, {2, 1}, {2, 0}, {1, 3}, {1, 1}},
        {2, 5, 8, 9, 7, 2, 3, {1, 2}, {0, 1}, {1, 1}, {2, 3}},
    };
    for (const Shape &g : shapes) {
        for (const bool channels_last : {true, false}) {
            test_convolution(library, g, {false, false, false}, channels_last, 1, 0);
            test_convolution(library, g, {true, true, true}, channels_last, 1, 0);
            test_convolution(library, g, {true, true, false}, channels_last, 1, 0);
            test_convolution(library, g, {false, false, false}, channels_last, 0.5f, 2);
        }
    }
    test_cudnn_rules(library);
    CHECK(!cudnnDestroy(library));
}

// --- cuBLASLt ------------------------------------------------------------------------------------------------------

// A column-major matrix on the host with gaps between its columns, in which is NaN.
struct Plain {
    int64_t rows, columns, row_to_row;
    std::vector<double> values;
    Plain(int64_t rows, int64_t columns, int64_t gap, int64_t batches, unsigned seed)
        : rows(rows), columns(columns), row_to_row(rows + gap),
          values(numbers((size_t)(row_to_row * columns * batches), seed)) {
        for (size_t i = 0; i < values.size(); ++i) {
            if ((int64_t)i % row_to_row >= rows) {
                values[i] = NAN;
            }
        }
    }
    int64_t stride() const { return row_to_row * columns; }
    double &at(int64_t batch, int64_t i, int64_t j) { return values[(size_t)(batch * stride() + j * row_to_row + i)]; }
};

// alpha op(a) op(b) + beta c + bias, only the elements that exist.
std::vector<double> product(Plain &a, bool ta, Plain &b, bool tb, Plain &c, double alpha, double beta,
                            const double *bias, int64_t batches) {
    const int64_t inner = ta ? a.rows : a.columns;
    std::vector<double> out;
    for (int64_t batch = 0; batch < batches; ++batch) {
        for (int64_t j = 0; j < c.columns; ++j) {
            for (int64_t i = 0; i < c.rows; ++i) {
                double sum = 0;
                for (int64_t l = 0; l < inner; ++l) {
                    sum += (ta ? a.at(batch, l, i) : a.at(batch, i, l)) * (tb ? b.at(batch, j, l) : b.at(batch, l, j));
                }
                out.push_back(alpha * sum + (beta != 0 ? beta * c.at(batch, i, j) : 0) + (bias ? bias[i] : 0));
            }
        }
    }
    return out;
}

std::vector<double> existing(Plain &c, int64_t batches) {
    std::vector<double> out;
    for (int64_t batch = 0; batch < batches; ++batch) {
        for (int64_t j = 0; j < c.columns; ++j) {
            for (int64_t i = 0; i < c.rows; ++i) {
                out.push_back(c.at(batch, i, j));
            }
        }
    }
    return out;
}

bool is(cublasStatus_t status, const std::function<cublasStatus_t()> &work) {
    return refuses<cublasStatus_t>(status, work);
}

// Descriptors of a product, and what the library suggests for it.
struct Lt {
    cublasLtHandle_t library = nullptr;
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t layouts[3] = {};
    cublasLtMatmulPreference_t preference = nullptr;
    cublasLtMatmulHeuristicResult_t found{};

    Lt(const Plain &a, bool ta, const Plain &b, bool tb, const Plain &c, bool bf16, bool bf16_out,
       cublasComputeType_t compute, int batches) {
        const cudaDataType types[3] = {bf16 ? CUDA_R_16BF : CUDA_R_32F, bf16 ? CUDA_R_16BF : CUDA_R_32F,
                                       bf16_out ? CUDA_R_16BF : CUDA_R_32F};
        CHECK(!cublasLtCreate(&library) && !cublasLtMatmulDescCreate(&operation, compute, CUDA_R_32F));
        const cublasOperation_t ops[2] = {ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N};
        CHECK(!cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &ops[0], sizeof ops[0]));
        CHECK(!cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &ops[1], sizeof ops[1]));
        const Plain *matrices[3] = {&a, &b, &c};
        for (int i = 0; i < 3; ++i) {
            const Plain &m = *matrices[i];
            const int64_t stride = m.stride();
            CHECK(!cublasLtMatrixLayoutCreate(&layouts[i], types[i], (uint64_t)m.rows, (uint64_t)m.columns,
                                              m.row_to_row));
            CHECK(!cublasLtMatrixLayoutSetAttribute(layouts[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batches,
                                                    sizeof batches));
            CHECK(!cublasLtMatrixLayoutSetAttribute(layouts[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                                    sizeof stride));
        }
        const uint64_t room = 1 << 20;
        CHECK(!cublasLtMatmulPreferenceCreate(&preference));
        CHECK(!cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                                                    sizeof room));
    }
    void bias(const void *pointer) const {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        CHECK(!cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
        CHECK(!cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &pointer, sizeof pointer));
    }
    cublasStatus_t choose() {
        int count = 0;
        const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
            library, operation, layouts[0], layouts[1], layouts[2], layouts[2], preference, 1, &found, &count);
        CHECK(status != CUBLAS_STATUS_SUCCESS || (count == 1 && found.state == CUBLAS_STATUS_SUCCESS));
        return status;
    }
    cublasStatus_t multiply(float alpha, const void *a, const void *b, float beta, const void *c, void *d,
                            void *workspace, size_t size) {
        return cublasLtMatmul(library, operation, &alpha, a, layouts[0], b, layouts[1], &beta, c, layouts[2], d,
                              layouts[2], &found.algo, workspace, size, nullptr);
    }
    ~Lt() {
        CHECK(!cublasLtMatmulDescDestroy(operation) && !cublasLtMatmulPreferenceDestroy(preference) &&
              !cublasLtDestroy(library));
        for (const cublasLtMatrixLayout_t layout : layouts) {
            CHECK(!cublasLtMatrixLayoutDestroy(layout));
        }
    }
};

void test_product(int64_t m, int64_t n, int64_t k, bool ta, bool tb, bool bf16, bool bf16_out, bool tf32, int batches,
                  bool biased) {
    Plain a(ta ? k : m, ta ? m : k, 3, batches, 1), b(tb ? n : k, tb ? k : n, 2, batches, 2), c(m, n, 1, batches, 3);
    a.values = values(elements(a.values, bf16), bf16);
    b.values = values(elements(b.values, bf16), bf16);
    c.values = values(elements(c.values, bf16_out), bf16_out);
    const std::vector<double> bias = values(elements(numbers((size_t)m, 4), bf16_out), bf16_out);
    const Memory ma = on_device(elements(a.values, bf16)), mb = on_device(elements(b.values, bf16));
    const Memory mc = on_device(elements(c.values, bf16_out)), md(mc.size()),
                 m_bias = on_device(elements(bias, bf16_out));
    Lt lt(a, ta, b, tb, c, bf16, bf16_out, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, batches);
    if (biased) {
        lt.bias(m_bias.at());
    }
    CHECK(!lt.choose() && lt.found.workspaceSize == (size_t)(m * n * 4));
    const Memory workspace(lt.found.workspaceSize);
    Plain d = c;
    for (const float beta : {0.f, 0.5f}) {
        CHECK(!lt.multiply(1.5f, ma.at(), mb.at(), beta, beta == 0 ? md.at() : mc.at(), md.at(), workspace.at(),
                           workspace.size()));
        d.values = values(md.read<char>(), bf16_out);
        const std::vector<double> expected =
            product(a, ta, b, tb, c, 1.5, beta, biased ? bias.data() : nullptr, batches);
        CHECK(difference(existing(d, batches), expected) < tolerance(bf16_out, tf32));
        if (tf32) {
            CHECK(difference(existing(d, batches), expected) > 1e-5);
        }
        for (size_t i = 0; i < d.values.size(); ++i) {
            CHECK(((int64_t)i % d.row_to_row < m) == (d.values[i] == d.values[i])); // nothing in the gaps
        }
    }
}

void test_product_rules() {
    const int64_t m = 6, n = 5, k = 4;
    const Plain a(m, k, 0, 1, 1), b(k, n, 0, 1, 2), c(m, n, 0, 1, 3);
    const Memory ma(m * k * 4 + 16), mb(k * n * 4), mc(m * n * 4), workspace(1024), short_c(m * n * 4 - 4);
    Lt lt(a, false, b, false, c, false, false, CUBLAS_COMPUTE_32F, 1);
    CHECK(!lt.choose());
    const auto run = [&](const void *a, const void *b, void *d, void *workspace, size_t size) {
        return [=, &lt] { return lt.multiply(1, a, b, 0, d, d, workspace, size); };
    };
    const cublasStatus_t invalid = CUBLAS_STATUS_INVALID_VALUE, unsupported = CUBLAS_STATUS_NOT_SUPPORTED;
    CHECK(!lt.multiply(1, ma.at(), mb.at(), 0, mc.at(), mc.at(), workspace.at(), 1024));
    CHECK(is(invalid, run(ma.at(16), mb.at(), mc.at(), workspace.at(), 1024))); // less aligned than was said
    CHECK(is(invalid, run(ma.at(), mb.at(), short_c.at(), workspace.at(), 1024)));
    CHECK(is(invalid, run(ma.at(), mb.at(), ma.at(), workspace.at(), 1024))); // in place
    CHECK(is(invalid, run(ma.at(), mb.at(), mc.at(), workspace.at(), lt.found.workspaceSize - 1)));
    CHECK(is(invalid, run(ma.at(), mb.at(), mc.at(), workspace.at(16), 1008)));
    CHECK(is(invalid, run(ma.at(), mb.at(), mc.at(), nullptr, 1024)));
    CHECK(is(invalid, run(nullptr, mb.at(), mc.at(), workspace.at(), 1024)));
    const uint32_t aligned = 16;
    CHECK(!cublasLtMatmulPreferenceSetAttribute(lt.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &aligned,
                                                sizeof aligned));
    CHECK(!lt.choose() && !lt.multiply(1, ma.at(16), mb.at(), 0, mc.at(), mc.at(), workspace.at(), 1024));

    // An algorithm of another product.
    const cublasLtMatmulHeuristicResult_t before = lt.found;
    const int64_t wide = m + 1;
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[0], CUBLASLT_MATRIX_LAYOUT_LD, &wide, sizeof wide) &&
          !lt.choose());
    std::swap(lt.found, const_cast<cublasLtMatmulHeuristicResult_t &>(before));
    CHECK(is(invalid, run(ma.at(), mb.at(), mc.at(), workspace.at(), 1024)));

    const auto choose = [&] { return lt.choose(); };
    const int64_t narrow = m - 1;
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[0], CUBLASLT_MATRIX_LAYOUT_LD, &narrow, sizeof narrow) &&
          is(invalid, choose));
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[0], CUBLASLT_MATRIX_LAYOUT_LD, &m, sizeof m) && !lt.choose());
    const cublasOperation_t t = CUBLAS_OP_T, n_op = CUBLAS_OP_N;
    CHECK(!cublasLtMatmulDescSetAttribute(lt.operation, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof t) &&
          is(invalid, choose));
    CHECK(!cublasLtMatmulDescSetAttribute(lt.operation, CUBLASLT_MATMUL_DESC_TRANSA, &n_op, sizeof t) && !lt.choose());
    const int32_t row = CUBLASLT_ORDER_ROW, column = CUBLASLT_ORDER_COL, bf16 = CUDA_R_16BF, two = 2;
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[1], CUBLASLT_MATRIX_LAYOUT_ORDER, &row, sizeof row) &&
          is(unsupported, choose));
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[1], CUBLASLT_MATRIX_LAYOUT_ORDER, &column, sizeof row) &&
          !lt.choose());
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[1], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &two, sizeof two) &&
          is(invalid, choose));
    const int32_t one = 1;
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[1], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &one, sizeof one) &&
          !lt.choose());
    CHECK(!cublasLtMatrixLayoutSetAttribute(lt.layouts[1], CUBLASLT_MATRIX_LAYOUT_TYPE, &bf16, sizeof bf16) &&
          is(unsupported, choose));
    CHECK(
        is(invalid, [&] { return cublasLtMatmulDescSetAttribute(lt.operation, CUBLASLT_MATMUL_DESC_TRANSA, &t, 8); }));
    CHECK(is(unsupported,
             [&] { return cublasLtMatmulDescSetAttribute(lt.operation, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &t, 1); }));
    cublasLtMatmulDesc_t gone;
    CHECK(!cublasLtMatmulDescCreate(&gone, CUBLAS_COMPUTE_32F, CUDA_R_32F) && !cublasLtMatmulDescDestroy(gone));
    CHECK(is(invalid, [&] { return cublasLtMatmulDescDestroy(gone); }));
}

void test_cublaslt() {
    for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
            test_product(7, 5, 11, ta, tb, false, false, false, 1, false);
            test_product(16, 9, 33, ta, tb, false, false, true, 2, true);
            test_product(3, 10, 6, ta, tb, true, true, false, 3, true);
            test_product(12, 4, 8, ta, tb, true, false, false, 1, false);
            test_product(1, 1, 1, ta, tb, false, false, false, 1, true);
        }
    }
    test_product_rules();
}

// --- cuBLAS and cuRAND ---------------------------------------------------------------------------------------------

void test_cublas() {
    cublasHandle_t handle;
    CHECK(!cublasCreate(&handle) && !cublasSetStream(handle, nullptr));
    const int m = 5, n = 7, k = 6, batches = 2;
    for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
            Plain a(ta ? k : m, ta ? m : k, 1, batches, 1), b(tb ? n : k, tb ? k : n, 2, batches, 2),
                c(m, n, 3, batches, 3);
            const cublasOperation_t op_a = ta ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
            const int la = (int)a.row_to_row, lb = (int)b.row_to_row, lc = (int)c.row_to_row;
            // f64
            {
                const Memory ma = on_device(a.values), mb = on_device(b.values), mc = on_device(c.values);
                const double alpha = 2, beta = -1;
                CHECK(!cublasDgemmStridedBatched(handle, op_a, op_b, m, n, k, &alpha, (double *)ma.at(), la, a.stride(),
                                                 (double *)mb.at(), lb, b.stride(), &beta, (double *)mc.at(), lc,
                                                 c.stride(), batches));
                Plain d = c;
                d.values = mc.read<double>();
                CHECK(difference(existing(d, batches), product(a, ta, b, tb, c, alpha, beta, nullptr, batches)) <
                      1e-14);
            }
            for (const bool bf16 : {false, true}) {
                for (const cublasComputeType_t compute : {CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32}) {
                    Plain x = a, y = b;
                    x.values = values(elements(a.values, bf16), bf16);
                    y.values = values(elements(b.values, bf16), bf16);
                    const Memory ma = on_device(elements(a.values, bf16)), mb = on_device(elements(b.values, bf16));
                    const Memory mc(c.values.size() * (bf16 ? 2 : 4));
                    const float alpha = 1, beta = 0;
                    const cudaDataType type = bf16 ? CUDA_R_16BF : CUDA_R_32F;
                    CHECK(!cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, &alpha, ma.at(), type, la,
                                                      a.stride(), mb.at(), type, lb, b.stride(), &beta, mc.at(), type,
                                                      lc, c.stride(), batches, compute, CUBLAS_GEMM_DEFAULT_TENSOR_OP));
                    Plain d = c;
                    d.values = values(mc.read<char>(), bf16);
                    const double off =
                        difference(existing(d, batches), product(x, ta, y, tb, c, 1, 0, nullptr, batches));
                    const bool exact = compute == CUBLAS_COMPUTE_32F;
                    CHECK(off < tolerance(bf16, !exact) && (bf16 || exact || off > 1e-5));
                }
            }
        }
    }
    const Memory small(4);
    const float one = 1;
    CHECK(is(CUBLAS_STATUS_INVALID_VALUE, [&] {
        return cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 2, 1, 1, &one, (float *)small.at(), 1, (float *)small.at(),
                           1, &one, (float *)small.at(), 2);
    }));
    CHECK(is(CUBLAS_STATUS_EXECUTION_FAILED, [&] {
        return cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 2, 1, 1, &one, (float *)small.at(), 2, (float *)small.at(),
                           1, &one, (float *)small.at(), 2);
    }));
    CHECK(!cublasDestroy(handle));
}

void test_curand() {
    const size_t n = 100000;
    const auto moments = [](const std::vector<float> &x) {
        double sum = 0, squares = 0;
        for (const float v : x) {
            sum += v;
            squares += (double)v * v;
        }
        const double mean = sum / (double)x.size();
        return std::make_pair(mean, squares / (double)x.size() - mean * mean);
    };
    const auto drawn = [&](unsigned long long seed, bool normal) {
        curandGenerator_t generator;
        const Memory out(n * 4);
        CHECK(!curandCreateGenerator(&generator, CURAND_RNG_PSEUDO_DEFAULT) &&
              !curandSetPseudoRandomGeneratorSeed(generator, seed));
        CHECK(!(normal ? curandGenerateNormal(generator, (float *)out.at(), n, 3, 2)
                       : curandGenerateUniform(generator, (float *)out.at(), n)));
        CHECK(refuses<curandStatus_t>(CURAND_STATUS_LENGTH_NOT_MULTIPLE,
                                      [&] { return curandGenerateNormal(generator, (float *)out.at(), 3, 0, 1); }));
        CHECK(!curandDestroyGenerator(generator));
        return out.read<float>();
    };
    const std::vector<float> uniform = drawn(1, false), normal = drawn(1, true);
    CHECK(uniform == drawn(1, false) && uniform != drawn(2, false));
    const auto [mean, variance] = moments(uniform);
    CHECK(std::abs(mean - 0.5) < 0.01 && std::abs(variance - 1.0 / 12) < 0.01);
    const auto [of_normal, variance_of_normal] = moments(normal);
    CHECK(std::abs(of_normal - 3) < 0.05 && std::abs(variance_of_normal - 4) < 0.1);
    CHECK(*std::min_element(uniform.begin(), uniform.end()) > 0 &&
          *std::max_element(uniform.begin(), uniform.end()) <= 1);
}

void test_rounding() {
    using namespace software_gpu;
    CHECK(to_bf16(1.f) == 0x3f80 && to_bf16(float_of(0x3f808000)) == 0x3f80 &&
          to_bf16(float_of(0x3f818000)) == 0x3f82); // ties to even
    CHECK(to_bf16(float_of(0x3f808001)) == 0x3f81 && to_bf16(float_of(0x7f7fffff)) == 0x7f80 &&
          to_bf16(-INFINITY) == 0xff80);
    CHECK(std::isnan(from_bf16(to_bf16(NAN))) && std::isnan(from_bf16(to_bf16(float_of(0x7f800001)))));
    CHECK(to_tf32(float_of(0x3f801000)) == float_of(0x3f802000) && to_tf32(float_of(0x3f800fff)) == 1.f &&
          std::isnan(to_tf32(NAN)));
}

} // namespace

void test_libraries() {
    test_rounding();
    test_cudnn();
    test_cublaslt();
    test_cublas();
    test_curand();
}

} // namespace selftest
