// The driver's devices, one unless MSHARP_SOFTWARE_GPUS says more, and their contexts.
#include "driver.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace software_gpu {

namespace {

std::atomic<bool> initialised{false};
std::atomic<int> retained[DEVICES];
thread_local CUcontext current;

// A context is nothing but an address: that of a byte for each device.
char primary_contexts[DEVICES];
CUcontext primary(CUdevice device) { return (CUcontext)&primary_contexts[device]; }

// The device of a context that exists, or -1.
CUdevice device_of(CUcontext context) {
    const char *at = (const char *)context;
    const bool is_one = at >= primary_contexts && at < primary_contexts + device_count();
    const CUdevice device = is_one ? (CUdevice)(at - primary_contexts) : -1;
    return is_one && retained[device] > 0 ? device : -1;
}

CUresult need_device(const char *function, CUdevice device) {
    if (const CUresult error = need_driver(function)) {
        return error;
    }
    if (!has_device(device)) {
        report("%s: there is no device %d", function, device);
        return CUDA_ERROR_INVALID_DEVICE;
    }
    return CUDA_SUCCESS;
}

} // namespace

int device_count() {
    static const int count = [] {
        const char *text = getenv("MSHARP_SOFTWARE_GPUS");
        const int count = text ? atoi(text) : 1;
        if (count < 1 || count > DEVICES) {
            give_up("MSHARP_SOFTWARE_GPUS is %s; expected a number from 1 to %d", text, DEVICES);
        }
        return count;
    }();
    return count;
}

bool has_device(CUdevice device) { return device >= 0 && device < device_count(); }

int current_device() { return device_of(current); }

CUresult need_driver(const char *function) {
    if (!initialised) {
        report("%s: before cuInit", function);
        return CUDA_ERROR_NOT_INITIALIZED;
    }
    return CUDA_SUCCESS;
}

CUresult need_context(const char *function) {
    if (const CUresult error = need_driver(function)) {
        return error;
    }
    if (current_device() < 0) {
        report("%s: no context is current in this thread", function);
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    return CUDA_SUCCESS;
}

CUresult need_context(const char *function, CUstream stream) {
    const bool is_default = stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
    return is_default ? need_context(function) : need_driver(function);
}

} // namespace software_gpu

using namespace software_gpu;

CUresult cuInit(unsigned flags) {
    initialised = true;
    return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDriverGetVersion(int *version) {
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    *count = device_count();
    return need_driver("cuDeviceGetCount");
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    *device = ordinal;
    return need_device("cuDeviceGet", ordinal);
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
    snprintf(name, (size_t)length, "software GPU");
    return need_device("cuDeviceGetName", device);
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    memcpy(uuid->bytes, "software GPU 000", 16);
    uuid->bytes[15] = (char)('0' + device);
    return need_device("cuDeviceGetUuid", device);
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device) {
    *bytes = MEMORY;
    return need_device("cuDeviceTotalMem", device);
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    if (const CUresult error = need_device("cuDeviceGetAttribute", device)) {
        return error;
    }
    switch (attribute) { // those of an H100
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = MULTIPROCESSORS; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = THREADS_OF_BLOCK; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 0x7fffffff; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y: *value = 65535; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = THREADS_OF_MULTIPROCESSOR; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 << 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 << 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = 228 << 10; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: *value = 65536; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; break;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: *value = 64 << 10; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 1755000; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = 2619000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = 5120; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *value = 3; break;
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED: *value = 1; break;
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH: *value = 0; break; // blocks run one after the other
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_INTEGRATED: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: *value = CU_COMPUTEMODE_DEFAULT; break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: *value = 0; break;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: *value = device; break;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: *value = 0; break;
    default:
        report("cuDeviceGetAttribute: attribute %d is not simulated", (int)attribute);
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    if (const CUresult error = need_device("cuDevicePrimaryCtxRetain", device)) {
        return error;
    }
    ++retained[device];
    *context = primary(device);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    if (const CUresult error = need_device("cuDevicePrimaryCtxRelease", device)) {
        return error;
    }
    if (retained[device]-- <= 0) {
        ++retained[device];
        report("cuDevicePrimaryCtxRelease: more often than it was retained");
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    if (const CUresult error = need_device("cuDevicePrimaryCtxGetState", device)) {
        return error;
    }
    *flags = 0;
    *active = retained[device] > 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = current;
    return need_driver("cuCtxGetCurrent");
}

CUresult cuCtxSetCurrent(CUcontext context) {
    if (const CUresult error = need_driver("cuCtxSetCurrent")) {
        return error;
    }
    if (context && device_of(context) < 0) {
        report("cuCtxSetCurrent: the context does not exist");
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    current = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) {
    *device = current_device();
    return need_context("cuCtxGetDevice");
}

CUresult cuCtxSetFlags(unsigned) { return need_context("cuCtxSetFlags"); }

CUresult cuCtxSynchronize() { return need_context("cuCtxSynchronize"); }

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return need_context("cuCtxGetStreamPriorityRange");
}

CUresult cuProfilerStart() { return need_context("cuProfilerStart"); }

CUresult cuProfilerStop() { return need_context("cuProfilerStop"); }

// Names and texts of the errors that this driver returns.
static const struct {
    CUresult error;
    const char *name, *text;
} ERRORS[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

CUresult cuGetErrorName(CUresult error, const char **name) {
    for (const auto &known : ERRORS) {
        if (known.error == error) {
            *name = known.name;
            return CUDA_SUCCESS;
        }
    }
    *name = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    for (const auto &known : ERRORS) {
        if (known.error == error) {
            *text = known.text;
            return CUDA_SUCCESS;
        }
    }
    *text = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}
