// cuDNN's stand-in: the part of its backend that describes and runs one two-dimensional convolution.
//
// A descriptor is set up attribute by attribute, by a table of what each kind has (ATTRIBUTES), and checked as a whole
// when it is finalized. There are four engines, made such that a caller who takes the first that suits has to look at
// all: see ENGINES.
#pragma GCC visibility push(default)
#include <cudnn_graph.h>
#pragma GCC visibility pop

#include "convolution.h"
#include "memory.h"
#include "report.h"

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

struct cudnnContext {
    cudaStream_t stream = nullptr;
};

namespace software_gpu {

namespace {

using Kind = cudnnBackendDescriptorType_t;
using Name = cudnnBackendAttributeName_t;
using Type = cudnnBackendAttributeType_t;
using Status = cudnnStatus_t;

thread_local std::string last_error;

__attribute__((format(printf, 2, 3))) Status refuse(Status status, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report("cuDNN: %s: %s", cudnnGetErrorString(status), text);
    last_error = text;
    return status;
}

// --- Engines -------------------------------------------------------------------------------------------------------

struct Engine {
    cudnnBackendHeurMode_t mode; // who suggests it
    std::vector<cudnnBackendNumericalNote_t> notes;
    const char *(*refuses)(const Convolution &); // why it does not do this one, or null
    int64_t (*workspace)(const Convolution &);
};

const char *nothing(const Convolution &) { return nullptr; }

const Engine ENGINES[] = {
    // Tensor cores: f32 is rounded to TF32. Channels come in 16 bytes.
    {CUDNN_HEUR_MODE_A,
     {CUDNN_NUMERICAL_NOTE_TENSOR_CORE},
     [](const Convolution &c) {
         const int64_t together = 16 / (int64_t)c.x.element();
         const bool fits = c.x.sizes[1] % together == 0 && c.y.sizes[1] % together == 0;
         return fits ? nullptr : "channels do not come in 16 bytes";
     },
     [](const Convolution &c) { return c.y.sizes[1] * 512; }},
    // Adds up in another order each time.
    {CUDNN_HEUR_MODE_A,
     {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC},
     nothing,
     [](const Convolution &) -> int64_t { return 256; }},
    // Exact, but not for all.
    {CUDNN_HEUR_MODE_A,
     {},
     [](const Convolution &c) { return c.stride[0] == 1 && c.stride[1] == 1 ? nullptr : "strides"; },
     [](const Convolution &c) { return c.x.sizes[0] * c.x.sizes[1] * c.x.sizes[2] * c.x.sizes[3] * 4; }},
    // For all.
    {CUDNN_HEUR_MODE_FALLBACK, {}, nothing, [](const Convolution &) -> int64_t { return 0; }},
};
constexpr int64_t ENGINE_COUNT = sizeof ENGINES / sizeof *ENGINES;
constexpr int64_t NONDETERMINISTIC = 1;

bool has(const Engine &engine, cudnnBackendNumericalNote_t note) {
    return std::find(engine.notes.begin(), engine.notes.end(), note) != engine.notes.end();
}

// --- Attributes ----------------------------------------------------------------------------------------------------

enum class Use { Required, Optional, ReadOnly };

struct Attribute {
    Kind kind;
    Name name;
    Type type;
    int64_t least, most; // elements
    Use use;
    Kind of; // the kind of the descriptors that are its elements
};

constexpr Kind NONE = (Kind)-1;
constexpr Kind TENSOR = CUDNN_BACKEND_TENSOR_DESCRIPTOR, CONVOLUTION = CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR;
constexpr Kind FORWARD = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
constexpr Kind DATA = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR;
constexpr Kind FILTER = CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR;
constexpr Kind GRAPH = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, HEURISTICS = CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
constexpr Kind ENGINE = CUDNN_BACKEND_ENGINE_DESCRIPTOR, CONFIG = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
constexpr Kind PLAN = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, PACK = CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;
constexpr Type INT64 = CUDNN_TYPE_INT64, DESCRIPTOR = CUDNN_TYPE_BACKEND_DESCRIPTOR;
constexpr int64_t MANY = 1 << 20;

const Attribute ATTRIBUTES[] = {
    {TENSOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, Use::Required, NONE},
    {TENSOR, CUDNN_ATTR_TENSOR_DIMENSIONS, INT64, 1, CUDNN_DIM_MAX, Use::Required, NONE},
    {TENSOR, CUDNN_ATTR_TENSOR_STRIDES, INT64, 1, CUDNN_DIM_MAX, Use::Required, NONE},
    {TENSOR, CUDNN_ATTR_TENSOR_UNIQUE_ID, INT64, 1, 1, Use::Required, NONE},
    {TENSOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, INT64, 1, 1, Use::Required, NONE},
    {TENSOR, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, Use::Optional, NONE},

    {CONVOLUTION, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, Use::Required, NONE},
    {CONVOLUTION, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1, Use::Required, NONE},
    {CONVOLUTION, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, INT64, 1, 1, Use::Required, NONE},
    {CONVOLUTION, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, INT64, 1, CUDNN_DIM_MAX, Use::Required, NONE},
    {CONVOLUTION, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, INT64, 1, CUDNN_DIM_MAX, Use::Required, NONE},
    {CONVOLUTION, CUDNN_ATTR_CONVOLUTION_DILATIONS, INT64, 1, CUDNN_DIM_MAX, Use::Required, NONE},
    {CONVOLUTION, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, INT64, 1, CUDNN_DIM_MAX, Use::Required, NONE},

#define OPERATION(kind, prefix, x, w, y)                                                                               \
    {kind, prefix##_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, Use::Required, NONE},                                               \
        {kind, prefix##_BETA, CUDNN_TYPE_FLOAT, 1, 1, Use::Required, NONE},                                            \
        {kind, prefix##_CONV_DESC, DESCRIPTOR, 1, 1, Use::Required, CONVOLUTION},                                      \
        {kind, prefix##_##x, DESCRIPTOR, 1, 1, Use::Required, TENSOR},                                                 \
        {kind, prefix##_##w, DESCRIPTOR, 1, 1, Use::Required, TENSOR},                                                 \
        {kind, prefix##_##y, DESCRIPTOR, 1, 1, Use::Required, TENSOR}
    OPERATION(FORWARD, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD, X, W, Y),
    OPERATION(DATA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA, DX, W, DY),
    OPERATION(FILTER, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER, X, DW, DY),
#undef OPERATION

    {GRAPH, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, Use::Required, NONE},
    {GRAPH, CUDNN_ATTR_OPERATIONGRAPH_OPS, DESCRIPTOR, 1, MANY, Use::Required, NONE},
    {GRAPH, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, INT64, 1, 1, Use::ReadOnly, NONE},

    {HEURISTICS, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, DESCRIPTOR, 1, 1, Use::Required, GRAPH},
    {HEURISTICS, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1, Use::Required, NONE},
    {HEURISTICS, CUDNN_ATTR_ENGINEHEUR_SM_COUNT_TARGET, CUDNN_TYPE_INT32, 1, 1, Use::Optional, NONE},
    {HEURISTICS, CUDNN_ATTR_ENGINEHEUR_RESULTS, DESCRIPTOR, 1, MANY, Use::ReadOnly, CONFIG},

    {ENGINE, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, DESCRIPTOR, 1, 1, Use::Required, GRAPH},
    {ENGINE, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, INT64, 1, 1, Use::Required, NONE},
    {ENGINE, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, 0, MANY, Use::ReadOnly, NONE},
    {ENGINE, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, 0, MANY, Use::ReadOnly, NONE},

    {CONFIG, CUDNN_ATTR_ENGINECFG_ENGINE, DESCRIPTOR, 1, 1, Use::Required, ENGINE},

    {PLAN, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, Use::Required, NONE},
    {PLAN, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, DESCRIPTOR, 1, 1, Use::Required, CONFIG},
    {PLAN, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, INT64, 1, 1, Use::ReadOnly, NONE},

    {PACK, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, INT64, 1, MANY, Use::Required, NONE},
    {PACK, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, MANY, Use::Required, NONE},
    {PACK, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1, Use::Required, NONE},
};

const Attribute *find(Kind kind, Name name) {
    for (const Attribute &attribute : ATTRIBUTES) {
        if (attribute.kind == kind && attribute.name == name) {
            return &attribute;
        }
    }
    return nullptr;
}

bool is_known(Kind kind) {
    return std::any_of(std::begin(ATTRIBUTES), std::end(ATTRIBUTES),
                       [&](const Attribute &a) { return a.kind == kind; });
}

size_t size_of(Type type) {
    switch (type) {
    case CUDNN_TYPE_BOOLEAN: return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return 8;
    default: return 4;
    }
}

// --- Descriptors ---------------------------------------------------------------------------------------------------

// Another descriptor, as it was when it was referred to: not one that came to its address later.
struct Reference {
    void *handle = nullptr;
    uint64_t serial = 0;
};

struct Value {
    int64_t count = 0;
    std::vector<char> bytes;
    std::vector<Reference> references;
    template <class T> T at(int64_t i = 0) const {
        T value;
        memcpy(&value, bytes.data() + (size_t)i * sizeof value, sizeof value);
        return value;
    }
};

struct Descriptor {
    Kind kind;
    uint64_t serial;
    bool finished = false;
    std::map<Name, Value> values;

    // What a finished one is, by its kind.
    Tensor tensor{};
    Convolution convolution{}; // of a convolution, and of an operation with its tensors
    Reference graph;           // of an engine, a configuration, a plan
    int64_t engine = 0;        // likewise
    cudnnHandle_t handle = nullptr;
    int64_t workspace = 0; // of a plan
};

// Descriptors and handles that exist. One lock for all: nobody describes convolutions often.
struct Library {
    std::recursive_mutex mutex;
    std::map<void *, std::unique_ptr<Descriptor>> descriptors;
    std::set<cudnnHandle_t> handles;
    uint64_t serials = 0;
};

Library &library() {
    static Library *library = new Library; // never destroyed: descriptors may be, by later destructors
    return *library;
}

using Guard = std::lock_guard<std::recursive_mutex>;

Descriptor *existing(void *handle) {
    const auto found = library().descriptors.find(handle);
    return found == library().descriptors.end() ? nullptr : found->second.get();
}

Reference reference(const Descriptor &descriptor) { return {(void *)&descriptor, descriptor.serial}; }

// What a reference means now: a finished descriptor. The real library may keep a copy of its own; whoever relies on
// that relies on what is not written.
Status resolve(const Reference &reference, Descriptor *&descriptor, const char *as) {
    descriptor = existing(reference.handle);
    if (!descriptor || descriptor->serial != reference.serial) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s was destroyed", as);
    }
    if (!descriptor->finished) {
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "%s is not finalized", as);
    }
    return CUDNN_STATUS_SUCCESS;
}

// --- Finalizing ----------------------------------------------------------------------------------------------------

Status finish_tensor(Descriptor &d) {
    const Value &sizes = d.values[CUDNN_ATTR_TENSOR_DIMENSIONS], &strides = d.values[CUDNN_ATTR_TENSOR_STRIDES];
    if (sizes.count != strides.count) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "a tensor of %d dimensions has %d strides", (int)sizes.count,
                      (int)strides.count);
    }
    if (sizes.count != 4) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "a tensor of %d dimensions; 4 are simulated", (int)sizes.count);
    }
    const auto virtual_tensor = d.values.find(CUDNN_ATTR_TENSOR_IS_VIRTUAL);
    if (virtual_tensor != d.values.end() && virtual_tensor->second.at<bool>()) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "virtual tensors are not simulated");
    }
    const auto type = d.values[CUDNN_ATTR_TENSOR_DATA_TYPE].at<cudnnDataType_t>();
    if (type != CUDNN_DATA_FLOAT && type != CUDNN_DATA_BFLOAT16) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "a tensor of type %d", (int)type);
    }
    Tensor &t = d.tensor;
    t.is_bf16 = type == CUDNN_DATA_BFLOAT16;
    t.id = d.values[CUDNN_ATTR_TENSOR_UNIQUE_ID].at<int64_t>();
    t.alignment = d.values[CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT].at<int64_t>();
    if (t.alignment <= 0 || t.alignment % (int64_t)t.element() != 0) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "an alignment of %d bytes, elements of %zu", (int)t.alignment,
                      t.element());
    }
    for (int i = 0; i < 4; ++i) {
        t.sizes[i] = sizes.at<int64_t>(i);
        t.strides[i] = strides.at<int64_t>(i);
        if (t.sizes[i] <= 0 || t.strides[i] <= 0) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "dimension %d has size %d and stride %d", i, (int)t.sizes[i],
                          (int)t.strides[i]);
        }
    }
    return CUDNN_STATUS_SUCCESS;
}

Status finish_convolution(Descriptor &d) {
    const auto dims = d.values[CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS].at<int64_t>();
    Convolution &c = d.convolution;
    const struct {
        Name name;
        int64_t *to, least;
    } lists[] = {
        {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, c.padding, 0},
        {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, c.padding_after, 0},
        {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, c.stride, 1},
        {CUDNN_ATTR_CONVOLUTION_DILATIONS, c.dilation, 1},
    };
    for (const auto &list : lists) {
        if (d.values[list.name].count != dims) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d has %d elements in %d spatial dimensions",
                          (int)list.name, (int)d.values[list.name].count, (int)dims);
        }
    }
    if (dims != 2) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "%d spatial dimensions; 2 are simulated", (int)dims);
    }
    for (const auto &list : lists) {
        for (int i = 0; i < 2; ++i) {
            list.to[i] = d.values[list.name].at<int64_t>(i);
            if (list.to[i] < list.least) {
                return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d is %d", (int)list.name, (int)list.to[i]);
            }
        }
    }
    if (d.values[CUDNN_ATTR_CONVOLUTION_COMP_TYPE].at<cudnnDataType_t>() != CUDNN_DATA_FLOAT) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "only what is computed in FLOAT is simulated");
    }
    if (d.values[CUDNN_ATTR_CONVOLUTION_CONV_MODE].at<cudnnConvolutionMode_t>() != CUDNN_CROSS_CORRELATION) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "only cross-correlation is simulated");
    }
    return CUDNN_STATUS_SUCCESS;
}

Status finish_operation(Descriptor &d, Direction direction, const Name (&names)[6]) {
    Descriptor *parts[4]; // convolution, x, w, y
    const char *const what[4] = {"the convolution of an operation", "x of an operation", "w of an operation",
                                 "y of an operation"};
    for (int i = 0; i < 4; ++i) {
        if (const Status error = resolve(d.values[names[i]].references[0], parts[i], what[i])) {
            return error;
        }
    }
    Convolution &c = d.convolution;
    c = parts[0]->convolution;
    c.direction = direction;
    c.x = parts[1]->tensor;
    c.w = parts[2]->tensor;
    c.y = parts[3]->tensor;
    c.alpha = d.values[names[4]].at<float>();
    c.beta = d.values[names[5]].at<float>();
    if (c.x.id == c.w.id || c.x.id == c.y.id || c.w.id == c.y.id) {
        return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "tensors with ids %d, %d and %d", (int)c.x.id,
                      (int)c.w.id, (int)c.y.id);
    }
    const int64_t *x = c.x.sizes, *w = c.w.sizes, *y = c.y.sizes;
    bool fits = x[0] == y[0] && w[0] == y[1] && x[1] % w[1] == 0;
    for (int i = 0; i < 2; ++i) {
        const int64_t room = x[2 + i] + c.padding[i] + c.padding_after[i] - c.dilation[i] * (w[2 + i] - 1) - 1;
        fits = fits && room >= 0 && y[2 + i] == room / c.stride[i] + 1;
    }
    if (!fits) {
        return refuse(
            CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH,
            "x [%d, %d, %d, %d], w [%d, %d, %d, %d] and y [%d, %d, %d, %d] with padding (%d, %d) and stride (%d, %d)",
            (int)x[0], (int)x[1], (int)x[2], (int)x[3], (int)w[0], (int)w[1], (int)w[2], (int)w[3], (int)y[0],
            (int)y[1], (int)y[2], (int)y[3], (int)c.padding[0], (int)c.padding[1], (int)c.stride[0], (int)c.stride[1]);
    }
    if (x[1] != w[1]) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "groups are not simulated");
    }
    return CUDNN_STATUS_SUCCESS;
}

Status need_handle(cudnnHandle_t handle) {
    return library().handles.count(handle) ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_BAD_PARAM, "no such handle");
}

Status finish_graph(Descriptor &d) {
    d.handle = d.values[CUDNN_ATTR_OPERATIONGRAPH_HANDLE].at<cudnnHandle_t>();
    if (const Status error = need_handle(d.handle)) {
        return error;
    }
    const Value &operations = d.values[CUDNN_ATTR_OPERATIONGRAPH_OPS];
    if (operations.count != 1) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "%d operations; 1 is simulated", (int)operations.count);
    }
    Descriptor *operation;
    if (const Status error = resolve(operations.references[0], operation, "the operation of a graph")) {
        return error;
    }
    if (operation->kind != FORWARD && operation->kind != DATA && operation->kind != FILTER) {
        return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "the operation of a graph is no convolution");
    }
    return CUDNN_STATUS_SUCCESS;
}

// The convolution of a graph, if all of which it consists still exists.
Status convolution_of(const Reference &graph_reference, Convolution &convolution) {
    Descriptor *graph, *operation, *part;
    if (const Status error = resolve(graph_reference, graph, "an operation graph")) {
        return error;
    }
    if (const Status error = resolve(graph->values[CUDNN_ATTR_OPERATIONGRAPH_OPS].references[0], operation,
                                     "the operation of a graph")) {
        return error;
    }
    for (const auto &[name, value] : operation->values) {
        for (const Reference &reference : value.references) {
            if (const Status error = resolve(reference, part, "a part of an operation")) {
                return error;
            }
        }
    }
    convolution = operation->convolution;
    return CUDNN_STATUS_SUCCESS;
}

Status finish_engine(Descriptor &d) {
    d.engine = d.values[CUDNN_ATTR_ENGINE_GLOBAL_INDEX].at<int64_t>();
    d.graph = d.values[CUDNN_ATTR_ENGINE_OPERATION_GRAPH].references[0];
    if (d.engine < 0 || d.engine >= ENGINE_COUNT) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "there is no engine %d", (int)d.engine);
    }
    Convolution convolution;
    return convolution_of(d.graph, convolution);
}

Status finish_config(Descriptor &d) {
    Descriptor *engine;
    if (const Status error =
            resolve(d.values[CUDNN_ATTR_ENGINECFG_ENGINE].references[0], engine, "the engine of a configuration")) {
        return error;
    }
    d.engine = engine->engine;
    d.graph = engine->graph;
    return CUDNN_STATUS_SUCCESS;
}

Status finish_heuristics(Descriptor &d) {
    d.graph = d.values[CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH].references[0];
    const auto mode = d.values[CUDNN_ATTR_ENGINEHEUR_MODE].at<cudnnBackendHeurMode_t>();
    if (mode < 0 || mode >= CUDNN_HEUR_MODES_COUNT) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "heuristics of mode %d", (int)mode);
    }
    Convolution convolution;
    return convolution_of(d.graph, convolution);
}

Status finish_plan(Descriptor &d) {
    d.handle = d.values[CUDNN_ATTR_EXECUTION_PLAN_HANDLE].at<cudnnHandle_t>();
    if (const Status error = need_handle(d.handle)) {
        return error;
    }
    Descriptor *config, *graph;
    if (const Status error = resolve(d.values[CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG].references[0], config,
                                     "the configuration of a plan")) {
        return error;
    }
    Convolution convolution;
    if (const Status error = convolution_of(config->graph, convolution)) {
        return error;
    }
    if (const Status error = resolve(config->graph, graph, "the graph of a plan")) {
        return error;
    }
    if (graph->handle != d.handle) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "a plan with another handle than its graph");
    }
    d.graph = config->graph;
    d.engine = config->engine;
    // For testing what a caller does who gets no plan at all.
    static const char *chosen = getenv("MSHARP_SOFTWARE_GPU_CUDNN");
    const bool none = chosen && !strcmp(chosen, "none");
    if (const char *why = none ? "MSHARP_SOFTWARE_GPU_CUDNN is none" : ENGINES[d.engine].refuses(convolution)) {
        last_error = why; // no report: to be told no here is common
        return CUDNN_STATUS_NOT_SUPPORTED;
    }
    d.workspace = ENGINES[d.engine].workspace(convolution);
    return CUDNN_STATUS_SUCCESS;
}

Status finish_pack(Descriptor &d) {
    const Value &ids = d.values[CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS];
    if (ids.count != d.values[CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS].count) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "%d ids for %d pointers", (int)ids.count,
                      (int)d.values[CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS].count);
    }
    std::set<int64_t> different;
    for (int64_t i = 0; i < ids.count; ++i) {
        different.insert(ids.at<int64_t>(i));
    }
    return (int64_t)different.size() == ids.count ? CUDNN_STATUS_SUCCESS
                                                  : refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "an id twice");
}

Status finish(Descriptor &d) {
    for (const Attribute &attribute : ATTRIBUTES) {
        if (attribute.kind == d.kind && attribute.use == Use::Required && !d.values.count(attribute.name)) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "attribute %d of a descriptor of kind %d is missing",
                          (int)attribute.name, (int)d.kind);
        }
    }
    switch (d.kind) {
    case TENSOR: return finish_tensor(d);
    case CONVOLUTION: return finish_convolution(d);
    case FORWARD:
        return finish_operation(
            d, Direction::Forward,
            {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA});
    case DATA:
        return finish_operation(
            d, Direction::Data,
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA});
    case FILTER:
        return finish_operation(
            d, Direction::Filter,
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA});
    case GRAPH: return finish_graph(d);
    case HEURISTICS: return finish_heuristics(d);
    case ENGINE: return finish_engine(d);
    case CONFIG: return finish_config(d);
    case PLAN: return finish_plan(d);
    default: return finish_pack(d);
    }
}

// --- Reading attributes --------------------------------------------------------------------------------------------

template <class T> Status answer(const std::vector<T> &values, int64_t room, int64_t *count, void *into) {
    *count = (int64_t)values.size();
    std::copy_n(values.begin(), std::min(room, *count), (T *)into);
    return CUDNN_STATUS_SUCCESS;
}

// Turns a descriptor that the caller made into a finished one.
Status fill(void *handle, Kind kind, const Reference &graph, int64_t engine) {
    Descriptor *descriptor = existing(handle);
    if (!descriptor || descriptor->kind != kind) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "no descriptor of kind %d to be filled", (int)kind);
    }
    if (descriptor->finished) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "a descriptor to be filled is finalized already");
    }
    descriptor->graph = graph;
    descriptor->engine = engine;
    descriptor->finished = true;
    return CUDNN_STATUS_SUCCESS;
}

Status read(Descriptor &d, Name name, int64_t room, int64_t *count, void *into) {
    switch (name) {
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT: return answer<int64_t>({ENGINE_COUNT}, room, count, into);
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE: return answer<int64_t>({d.workspace}, room, count, into);
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX: return answer<int64_t>({d.engine}, room, count, into);
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE: return answer(ENGINES[d.engine].notes, room, count, into);
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE: return answer<cudnnBackendBehaviorNote_t>({}, room, count, into);
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: {
        const bool fallback =
            d.values[CUDNN_ATTR_ENGINEHEUR_MODE].at<cudnnBackendHeurMode_t>() == CUDNN_HEUR_MODE_FALLBACK;
        *count = 0;
        for (int64_t engine = 0; engine < ENGINE_COUNT; ++engine) {
            if ((ENGINES[engine].mode == CUDNN_HEUR_MODE_FALLBACK) != fallback) {
                continue;
            }
            if (*count < room) {
                if (const Status error = fill(((void **)into)[*count], CONFIG, d.graph, engine)) {
                    return error;
                }
            }
            ++*count;
        }
        return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        *count = 1;
        return room < 1 ? CUDNN_STATUS_SUCCESS : fill(*(void **)into, ENGINE, d.graph, d.engine);
    default: {
        const Value &value = d.values[name];
        *count = value.count;
        memcpy(into, value.bytes.data(),
               (size_t)std::min(room, value.count) * (value.bytes.size() / (size_t)value.count));
        return CUDNN_STATUS_SUCCESS;
    }
    }
}

// The descriptor that a call is about, and the attribute that it names.
Status find(const char *what, void *handle, Name name, Type type, Descriptor *&d, const Attribute *&attribute) {
    d = existing(handle);
    if (!d) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "%s: no such descriptor", what);
    }
    attribute = find(d->kind, name);
    if (!attribute) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "%s: attribute %d of a descriptor of kind %d", what, (int)name,
                      (int)d->kind);
    }
    if (attribute->type != type) {
        return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "%s: attribute %d is of type %d, not %d", what, (int)name,
                      (int)attribute->type, (int)type);
    }
    return CUDNN_STATUS_SUCCESS;
}

// Where the tensors and the workspace of a run are.
Status places(const Convolution &c, const Descriptor &pack, int64_t workspace_size, void *(&data)[3],
              void *&workspace) {
    const Value &ids = pack.values.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const Value &pointers = pack.values.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    const Tensor *tensors[3] = {&c.x, &c.w, &c.y};
    const char *const names[3] = {"cuDNN: x", "cuDNN: w", "cuDNN: y"};
    for (int64_t i = 0; i < ids.count; ++i) {
        const bool known =
            std::any_of(tensors, tensors + 3, [&](const Tensor *t) { return t->id == ids.at<int64_t>(i); });
        if (!known) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "no tensor of the plan has the id %d", (int)ids.at<int64_t>(i));
        }
    }
    for (int t = 0; t < 3; ++t) {
        data[t] = nullptr;
        for (int64_t i = 0; i < ids.count; ++i) {
            if (ids.at<int64_t>(i) == tensors[t]->id) {
                data[t] = pointers.at<void *>(i);
            }
        }
        if (!data[t]) {
            return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no pointer for the tensor with id %d",
                          (int)tensors[t]->id);
        }
        if ((uintptr_t)data[t] % (uintptr_t)tensors[t]->alignment != 0) {
            return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "tensor %d lies at %p, no multiple of %d",
                          (int)tensors[t]->id, data[t], (int)tensors[t]->alignment);
        }
        if (!is_device_memory(data[t], tensors[t]->extent(), names[t])) {
            return refuse(CUDNN_STATUS_EXECUTION_FAILED, "tensor %d is not in memory", (int)tensors[t]->id);
        }
    }
    const int out = c.direction == Direction::Forward ? 2 : c.direction == Direction::Filter ? 1 : 0;
    for (int t = 0; t < 3; ++t) {
        const char *a = (const char *)data[t], *b = (const char *)data[out];
        if (t != out && a < b + tensors[out]->extent() && b < a + tensors[t]->extent()) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "the output overlaps tensor %d", (int)tensors[t]->id);
        }
    }
    workspace = pack.values.at(CUDNN_ATTR_VARIANT_PACK_WORKSPACE).at<void *>();
    if (workspace_size > 0 && !is_device_memory(workspace, (size_t)workspace_size, "cuDNN: workspace")) {
        return refuse(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "the workspace has fewer than %d bytes",
                      (int)workspace_size);
    }
    return CUDNN_STATUS_SUCCESS;
}

} // namespace

} // namespace software_gpu

using namespace software_gpu;

size_t cudnnGetVersion() { return CUDNN_VERSION; }

size_t cudnnGetMaxDeviceVersion() { return 900; }

size_t cudnnGetCudartVersion() { return 13000; }

cudnnStatus_t cudnnGraphVersionCheck() { return CUDNN_STATUS_SUCCESS; }

const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch ((int)status) {
#define NAME(status)                                                                                                   \
    case status: return #status
        NAME(CUDNN_STATUS_SUCCESS);
        NAME(CUDNN_STATUS_BAD_PARAM);
        NAME(CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
        NAME(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
        NAME(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
        NAME(CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND);
        NAME(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT);
        NAME(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
        NAME(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES);
        NAME(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
        NAME(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE);
        NAME(CUDNN_STATUS_NOT_SUPPORTED);
        NAME(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN);
        NAME(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE);
        NAME(CUDNN_STATUS_EXECUTION_FAILED);
#undef NAME
    default: return "another status";
    }
}

void cudnnGetLastErrorString(char *message, size_t size) {
    if (size > 0) {
        snprintf(message, size, "%s", last_error.c_str());
    }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    const Guard guard(library().mutex);
    *handle = new cudnnContext;
    library().handles.insert(*handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    const Guard guard(library().mutex);
    if (!library().handles.erase(handle)) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "no such handle");
    }
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    const Guard guard(library().mutex);
    if (const Status error = need_handle(handle)) {
        return error;
    }
    if (!turn_on(stream)) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "no such stream");
    }
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
    const Guard guard(library().mutex);
    if (const Status error = need_handle(handle)) {
        return error;
    }
    *stream = handle->stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t kind, cudnnBackendDescriptor_t *handle) {
    const Guard guard(library().mutex);
    if (!is_known(kind)) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "descriptors of kind %d are not simulated", (int)kind);
    }
    auto descriptor = std::make_unique<Descriptor>();
    descriptor->kind = kind;
    descriptor->serial = ++library().serials;
    *handle = descriptor.get();
    library().descriptors[*handle] = std::move(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t handle) {
    const Guard guard(library().mutex);
    return library().descriptors.erase(handle)
               ? CUDNN_STATUS_SUCCESS
               : refuse(CUDNN_STATUS_BAD_PARAM, "a descriptor that does not exist is destroyed");
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *elements) {
    const Guard guard(library().mutex);
    Descriptor *d;
    const Attribute *attribute;
    if (const Status error = find("set", handle, name, type, d, attribute)) {
        return error;
    }
    if (d->finished) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "set: the descriptor is finalized");
    }
    if (attribute->use == Use::ReadOnly) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "set: attribute %d can only be read", (int)name);
    }
    if (count < attribute->least || count > attribute->most) {
        return refuse(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "set: attribute %d has %d to %d elements, not %d",
                      (int)name, (int)attribute->least, (int)attribute->most, (int)count);
    }
    if (!elements) {
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "set: attribute %d", (int)name);
    }
    Value value;
    value.count = count;
    value.bytes.assign((const char *)elements, (const char *)elements + (size_t)count * size_of(type));
    for (int64_t i = 0; type == DESCRIPTOR && i < count; ++i) {
        Descriptor *element = existing(value.at<void *>(i));
        if (!element) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "set: attribute %d to a descriptor that does not exist", (int)name);
        }
        if (attribute->of != NONE && element->kind != attribute->of) {
            return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "set: attribute %d is of kind %d, not %d", (int)name,
                          (int)attribute->of, (int)element->kind);
        }
        if (!element->finished) {
            return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                          "set: attribute %d to a descriptor that is not finalized", (int)name);
        }
        value.references.push_back(reference(*element));
    }
    d->values[name] = std::move(value);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const handle, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t room, int64_t *count, void *into) {
    const Guard guard(library().mutex);
    Descriptor *d;
    const Attribute *attribute;
    if (const Status error = find("get", handle, name, type, d, attribute)) {
        return error;
    }
    if (!d->finished) {
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "get: attribute %d of a descriptor that is not finalized",
                      (int)name);
    }
    if (room < 0 || !count || (room > 0 && !into)) {
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "get: attribute %d with nowhere to put it", (int)name);
    }
    const bool filled = d->kind == ENGINE || d->kind == CONFIG; // they have no values of their own, but answer `read`
    if (attribute->use == Use::Optional && !filled && !d->values.count(name)) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "get: attribute %d was not set", (int)name);
    }
    if (name == CUDNN_ATTR_ENGINE_OPERATION_GRAPH) {
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "get: the graph of an engine is not simulated");
    }
    return read(*d, name, room, count, into);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t handle) {
    const Guard guard(library().mutex);
    Descriptor *d = existing(handle);
    if (!d) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "finalize: no such descriptor");
    }
    if (d->finished) {
        return refuse(CUDNN_STATUS_BAD_PARAM, "finalize: a descriptor of kind %d that is finalized", (int)d->kind);
    }
    const Status status = finish(*d);
    d->finished = status == CUDNN_STATUS_SUCCESS;
    return status;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_handle,
                                  cudnnBackendDescriptor_t pack_handle) {
    Convolution convolution;
    void *data[3], *workspace = nullptr;
    int64_t engine, workspace_size;
    cudaStream_t stream;
    Descriptor pack;
    {
        const Guard guard(library().mutex);
        if (const Status error = need_handle(handle)) {
            return error;
        }
        Descriptor *plan = existing(plan_handle), *given = existing(pack_handle);
        if (!plan || plan->kind != PLAN || !given || given->kind != PACK) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "execute: no plan, or no variant pack");
        }
        if (!plan->finished || !given->finished) {
            return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                          "execute: a plan or a variant pack that is not finalized");
        }
        if (plan->handle != handle) {
            return refuse(CUDNN_STATUS_BAD_PARAM, "execute: the plan is another handle's");
        }
        Descriptor *config;
        if (const Status error = resolve(plan->values[CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG].references[0], config,
                                         "the configuration of a plan")) {
            return error;
        }
        if (const Status error = convolution_of(plan->graph, convolution)) {
            return error;
        }
        engine = plan->engine;
        workspace_size = plan->workspace;
        stream = handle->stream;
        pack.values = given->values;
    }
    const Turn turn = turn_on(stream);
    if (!turn) {
        return refuse(CUDNN_STATUS_EXECUTION_FAILED, "execute: the stream was destroyed");
    }
    if (const Status error = places(convolution, pack, workspace_size, data, workspace)) {
        return error;
    }
    if (workspace_size > 0) {
        memset(workspace, 0xA5, (size_t)workspace_size); // whatever anybody else kept there is gone
    }
    static std::atomic<unsigned> runs{0};
    const bool reversed = engine == NONDETERMINISTIC && runs++ % 2 != 0;
    convolve(convolution, data[0], data[1], data[2], has(ENGINES[engine], CUDNN_NUMERICAL_NOTE_TENSOR_CORE), reversed);
    return CUDNN_STATUS_SUCCESS;
}
