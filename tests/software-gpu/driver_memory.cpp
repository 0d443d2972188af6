// The driver's memory: blocks of the host's, of exactly the size that was asked for, full of the byte 0xFF whenever
// nobody has written them. As f32, f64 or bfloat16 that is NaN, so what is read before it is written shows.
#include "driver.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

namespace software_gpu {

namespace {

constexpr size_t ALIGNMENT = 256; // what CUDA promises
constexpr int UNWRITTEN = 0xFF;

// Freed blocks are kept for a while, so that who still reads one gets NaN and not the numbers of the next owner.
// AddressSanitizer keeps its own.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t KEPT = 0;
#else
constexpr size_t KEPT = 32 << 20;
#endif

class Memory {
  public:
    CUresult allocate(const char *function, CUdeviceptr *address, size_t bytes) {
        std::lock_guard<std::mutex> lock(mutex);
        void *memory = nullptr;
        if (bytes > MEMORY - used || posix_memalign(&memory, ALIGNMENT, bytes) != 0) {
            report("%s: no %zu bytes left, %zu are in use", function, bytes, used);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
        memset(memory, UNWRITTEN, bytes);
        alive[(uintptr_t)memory] = bytes;
        used += bytes;
        *address = (CUdeviceptr)memory;
        return CUDA_SUCCESS;
    }

    CUresult release(const char *function, CUdeviceptr address) {
        std::lock_guard<std::mutex> lock(mutex);
        const auto found = alive.find((uintptr_t)address);
        if (found == alive.end()) {
            report("%s: no allocation that is alive begins at %#llx", function, address);
            return CUDA_ERROR_INVALID_VALUE;
        }
        memset((void *)found->first, UNWRITTEN, found->second);
        freed.push_back(*found);
        kept += found->second;
        used -= found->second;
        alive.erase(found);
        while (kept > KEPT) {
            kept -= freed.front().second;
            free((void *)freed.front().first);
            freed.pop_front();
        }
        return CUDA_SUCCESS;
    }

    bool has(uintptr_t address, size_t bytes, const char *what) {
        std::lock_guard<std::mutex> lock(mutex);
        auto after = alive.upper_bound(address);
        if (after != alive.begin()) {
            const auto [begin, size] = *--after;
            if (address - begin < size) {
                if (bytes <= size - (address - begin)) {
                    return true;
                }
                report("%s: %zu bytes from %#zx on, which is byte %zu of an allocation of %zu", what, bytes,
                       (size_t)address, (size_t)(address - begin), size);
                return false;
            }
        }
        for (const auto &[begin, size] : freed) {
            if (address - begin < size) {
                report("%s: %zu bytes from %#zx on, which were freed", what, bytes, (size_t)address);
                return false;
            }
        }
        report("%s: %zu bytes from %#zx on, where no allocation is", what, bytes, (size_t)address);
        return false;
    }

    size_t in_use() {
        std::lock_guard<std::mutex> lock(mutex);
        return used;
    }

  private:
    std::mutex mutex;
    std::map<uintptr_t, size_t> alive;
    std::deque<std::pair<uintptr_t, size_t>> freed;
    size_t used = 0, kept = 0;
};

// Never destroyed: memory may be freed by destructors that run later.
Memory &memory() {
    static Memory *memory = new Memory;
    return *memory;
}

// A copy or fill of `bytes` bytes on `stream`, which starts once what was begun there before is done.
template <class F> CUresult on_stream(const char *function, CUstream stream, size_t bytes, F work) {
    if (const CUresult error = need_context(function, stream)) {
        return error;
    }
    const Turn turn = turn_on(stream);
    if (!turn) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return bytes == 0 || work() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult to_device(const char *function, CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    if (const CUresult error = may_wait(function, stream)) {
        return error;
    }
    return on_stream(function, stream, bytes, [&] {
        return is_device_memory((const void *)to, bytes, function) && (memcpy((void *)to, from, bytes), true);
    });
}

CUresult to_host(const char *function, void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    if (const CUresult error = may_wait(function, stream)) {
        return error;
    }
    return on_stream(function, stream, bytes, [&] {
        return is_device_memory((const void *)from, bytes, function) && (memcpy(to, (const void *)from, bytes), true);
    });
}

CUresult on_device(const char *function, CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return on_stream(function, stream, bytes, [&] {
        if (!is_device_memory((const void *)to, bytes, function) ||
            !is_device_memory((const void *)from, bytes, function)) {
            return false;
        }
        if (to < from + bytes && from < to + bytes) {
            report("%s: from a place to another that overlaps it", function);
            return false;
        }
        memcpy((void *)to, (const void *)from, bytes);
        return true;
    });
}

template <class T> CUresult fill(const char *function, CUdeviceptr to, T value, size_t count, CUstream stream) {
    return on_stream(function, stream, count, [&] {
        if (to % sizeof(T) != 0) {
            report("%s: %#llx is no multiple of %zu", function, to, sizeof(T));
            return false;
        }
        if (!is_device_memory((const void *)to, count * sizeof(T), function)) {
            return false;
        }
        for (size_t i = 0; i < count; ++i) {
            ((T *)to)[i] = value;
        }
        return true;
    });
}

} // namespace

bool is_device_memory(const void *address, size_t bytes, const char *what) {
    return memory().has((uintptr_t)address, bytes, what);
}

size_t memory_in_use() { return memory().in_use(); }

} // namespace software_gpu

using namespace software_gpu;

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes) {
    if (const CUresult error = need_context("cuMemAlloc")) {
        return error;
    }
    if (bytes == 0) {
        report("cuMemAlloc: of no bytes");
        return CUDA_ERROR_INVALID_VALUE;
    }
    return memory().allocate("cuMemAlloc", address, bytes);
}

CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream) {
    if (const CUresult error = need_context("cuMemAllocAsync", stream)) {
        return error;
    }
    if (!turn_on(stream)) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *address = 0; // what there is for no bytes
    return bytes == 0 ? CUDA_SUCCESS : memory().allocate("cuMemAllocAsync", address, bytes);
}

CUresult cuMemFree(CUdeviceptr address) {
    if (const CUresult error = need_context("cuMemFree")) {
        return error;
    }
    return address == 0 ? CUDA_SUCCESS : memory().release("cuMemFree", address);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    if (const CUresult error = need_driver("cuMemFreeAsync")) {
        return error;
    }
    const Turn turn = turn_on(stream);
    if (!turn) {
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return address == 0 ? CUDA_SUCCESS : memory().release("cuMemFreeAsync", address);
}

CUresult cuMemGetInfo(size_t *left, size_t *total) {
    *left = MEMORY - memory_in_use();
    *total = MEMORY;
    return need_context("cuMemGetInfo");
}

CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned) {
    *address = malloc(bytes);
    return *address ? need_context("cuMemHostAlloc") : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFreeHost(void *address) {
    free(address);
    return need_context("cuMemFreeHost");
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) {
    return to_device("cuMemcpyHtoD", to, from, bytes, nullptr);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    return to_device("cuMemcpyHtoDAsync", to, from, bytes, stream);
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) {
    return to_host("cuMemcpyDtoH", to, from, bytes, nullptr);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return to_host("cuMemcpyDtoHAsync", to, from, bytes, stream);
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return on_device("cuMemcpyDtoD", to, from, bytes, nullptr);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return on_device("cuMemcpyDtoDAsync", to, from, bytes, stream);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t bytes, CUstream stream) {
    return on_device("cuMemcpyPeerAsync", to, from, bytes, stream); // the memory of all devices is the host's
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
    return fill("cuMemsetD8", to, value, count, nullptr);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
    return fill("cuMemsetD8Async", to, value, count, stream);
}

CUresult cuMemsetD16(CUdeviceptr to, unsigned short value, size_t count) {
    return fill("cuMemsetD16", to, value, count, nullptr);
}

CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
    return fill("cuMemsetD16Async", to, value, count, stream);
}

CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t count) {
    return fill("cuMemsetD32", to, value, count, nullptr);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
    return fill("cuMemsetD32Async", to, value, count, stream);
}

// The pool of all devices, from which cuMemAllocAsync allocates: only its attributes exist.
static struct {
    std::mutex mutex;
    cuuint64_t release_threshold = 0;
    int reuse[3] = {1, 1, 1};
} pool;

static CUresult need_pool(const char *function, CUmemoryPool handle) {
    if (const CUresult error = need_driver(function)) {
        return error;
    }
    if (handle != (CUmemoryPool)&pool) {
        report("%s: there is no such pool", function);
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *handle, CUdevice device) {
    *handle = (CUmemoryPool)&pool;
    return has_device(device) ? need_driver("cuDeviceGetDefaultMemPool") : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetMemPool(CUmemoryPool *handle, CUdevice device) { return cuDeviceGetDefaultMemPool(handle, device); }

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value) {
    if (const CUresult error = need_pool("cuMemPoolSetAttribute", handle)) {
        return error;
    }
    const std::lock_guard<std::mutex> lock(pool.mutex);
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        pool.reuse[attribute - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES] = *(int *)value;
        return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: pool.release_threshold = *(cuuint64_t *)value; return CUDA_SUCCESS;
    default:
        report("cuMemPoolSetAttribute: attribute %d cannot be set", (int)attribute);
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value) {
    if (const CUresult error = need_pool("cuMemPoolGetAttribute", handle)) {
        return error;
    }
    const std::lock_guard<std::mutex> lock(pool.mutex);
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        *(int *)value = pool.reuse[attribute - CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES];
        return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *(cuuint64_t *)value = pool.release_threshold; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *(cuuint64_t *)value = memory_in_use(); return CUDA_SUCCESS;
    default:
        report("cuMemPoolGetAttribute: attribute %d is not simulated", (int)attribute);
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t) { return need_pool("cuMemPoolTrimTo", handle); }
