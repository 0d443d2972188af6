// The driver's modules and launches. The machine code of an image is not used; but which kernels there are is up to it.
#include "driver.h"

#include "kernels.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>

namespace software_gpu {

namespace {

constexpr unsigned FATBIN = 0xba55ed50;

struct Module {
    Origin origin;
    std::string image;
    std::string before_name, after_name; // how the image tells of a kernel; empty if it is compressed
};

struct Function {
    const Kernel *kernel;
    CUmodule module;
};

// Never destroyed, as the memory.
struct Modules {
    std::mutex mutex;
    std::map<CUmodule, std::unique_ptr<Module>> alive;
    std::map<std::pair<CUmodule, const Kernel *>, std::unique_ptr<Function>> functions; // kept, so a stale one is known
};

Modules &modules() {
    static Modules *modules = new Modules;
    return *modules;
}

// A function whose module is loaded; null, with a report, if it is none.
const Function *live(const char *what, CUfunction handle) {
    const std::lock_guard<std::mutex> lock(modules().mutex);
    for (const auto &[key, function] : modules().functions) {
        if (function.get() == (Function *)handle && modules().alive.count(function->module)) {
            return function.get();
        }
    }
    report("%s: no function of a module that is loaded", what);
    return nullptr;
}

CUresult refuse(const char *kernel, const char *why, const unsigned (&sizes)[6]) {
    report("cuLaunchKernel: %s with blocks (%u, %u, %u) of threads (%u, %u, %u): %s", kernel, sizes[0], sizes[1],
           sizes[2], sizes[3], sizes[4], sizes[5], why);
    return CUDA_ERROR_INVALID_VALUE;
}

} // namespace

} // namespace software_gpu

using namespace software_gpu;

CUresult cuModuleLoadData(CUmodule *handle, const void *image) {
    if (const CUresult error = need_context("cuModuleLoadData")) {
        return error;
    }
    auto module = std::make_unique<Module>();
    unsigned magic;
    memcpy(&magic, image, sizeof magic);
    if (magic == FATBIN) {
        // The header: magic, version and its own size (2 bytes each), size of what follows (8 bytes).
        unsigned short header;
        unsigned long long size;
        memcpy(&header, (const char *)image + 6, sizeof header);
        memcpy(&size, (const char *)image + 8, sizeof size);
        module->origin = Origin::Compiled;
        module->image.assign((const char *)image, header + size);
        if (module->image.find(std::string("\0.text.", 7)) != std::string::npos) {
            module->before_name = std::string("\0.text.", 7); // the name of a kernel's section in the ELF file
            module->after_name = std::string("\0", 1);
        }
    } else if (strstr((const char *)image, ".version")) {
        module->origin = Origin::Candle;
        module->image = (const char *)image;
        module->before_name = ".entry ";
        module->after_name = "(";
    } else {
        report("cuModuleLoadData: neither PTX nor a fatbin");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    const std::lock_guard<std::mutex> lock(modules().mutex);
    *handle = (CUmodule)module.get();
    modules().alive[*handle] = std::move(module);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned, CUjit_option *, void **) {
    return cuModuleLoadData(module, image);
}

CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) { return cuModuleLoadData(module, image); }

CUresult cuModuleUnload(CUmodule handle) {
    const std::lock_guard<std::mutex> lock(modules().mutex);
    if (!modules().alive.erase(handle)) {
        report("cuModuleUnload: no module that is loaded");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    auto &functions = modules().functions; // a module at the same address may come
    for (auto function = functions.begin(); function != functions.end();) {
        function = function->first.first == handle ? functions.erase(function) : std::next(function);
    }
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *handle, CUmodule module, const char *name) {
    if (const CUresult error = need_context("cuModuleGetFunction")) {
        return error;
    }
    const std::lock_guard<std::mutex> lock(modules().mutex);
    const auto found = modules().alive.find(module);
    if (found == modules().alive.end()) {
        report("cuModuleGetFunction: no module that is loaded");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    const Module &from = *found->second;
    if (!from.before_name.empty() && from.image.find(from.before_name + name + from.after_name) == std::string::npos) {
        return CUDA_ERROR_NOT_FOUND; // no report: who has several modules asks one after the other
    }
    const Kernel *kernel = find_kernel(from.origin, name);
    if (!kernel) {
        report("cuModuleGetFunction: %s is not simulated", name);
        return CUDA_ERROR_NOT_FOUND;
    }
    auto &function = modules().functions[{module, kernel}];
    if (!function) {
        function = std::make_unique<Function>(Function{kernel, module});
    }
    *handle = (CUfunction)function.get();
    return CUDA_SUCCESS;
}

CUresult cuModuleGetGlobal(CUdeviceptr *, size_t *, CUmodule, const char *name) {
    report("cuModuleGetGlobal: %s; variables of modules are not simulated", name);
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuLaunchKernel(CUfunction handle, unsigned bx, unsigned by, unsigned bz, unsigned tx, unsigned ty, unsigned tz,
                        unsigned shared, CUstream stream, void **arguments, void **extra) {
    if (const CUresult error = need_context("cuLaunchKernel")) {
        return error;
    }
    const Function *function = live("cuLaunchKernel", handle);
    if (!function) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    const char *name = function->kernel->name;
    const unsigned sizes[6] = {bx, by, bz, tx, ty, tz};
    if (std::find(sizes, sizes + 6, 0u) != sizes + 6) {
        return refuse(name, "a size is 0", sizes);
    }
    if (bx > 0x7fffffff || by > 65535 || bz > 65535) {
        return refuse(name, "the grid is larger than (2147483647, 65535, 65535)", sizes);
    }
    if (tx > 1024 || ty > 1024 || tz > 64 || tx * ty * tz > (unsigned)THREADS_OF_BLOCK) {
        return refuse(name, "a block is larger than (1024, 1024, 64), or 1024 threads", sizes);
    }
    if (shared > 0 || extra) {
        return refuse(name, "shared memory from the launch, and packed arguments, are not simulated", sizes);
    }
    const Turn turn = turn_on(stream);
    if (!turn) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
#ifdef __SANITIZE_ADDRESS__
    static std::mutex one; // shared memory is common here: see __shared__
    const std::lock_guard<std::mutex> lock(one);
#endif
    function->kernel->launch(arguments, Grid{{bx, by, bz}, {tx, ty, tz}});
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction handle) {
    if (!live("cuFuncGetAttribute", handle)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = THREADS_OF_BLOCK; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 32; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = 90; break;
    default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value) {
    if (!live("cuFuncSetAttribute", handle)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
        return CUDA_SUCCESS;
    }
    report("cuFuncSetAttribute: attribute %d (to %d) is not simulated", (int)attribute, value);
    return CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache) {
    return live("cuFuncSetCacheConfig", handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuFuncGetName(const char **name, CUfunction handle) {
    const Function *function = live("cuFuncGetName", handle);
    *name = function ? function->kernel->name : nullptr;
    return function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction handle, int threads, size_t,
                                                              unsigned) {
    if (threads < 1) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *blocks = std::min(32, THREADS_OF_MULTIPROCESSOR / threads);
    return live("cuOccupancyMaxActiveBlocksPerMultiprocessor", handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction handle, int threads, size_t shared) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, handle, threads, shared, 0);
}
