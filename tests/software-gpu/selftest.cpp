// Tests the software GPU itself: kernels of its own for the scheduler, and calls of the driver for its rules. The
// libraries are in selftest_libraries.cpp.
#include "device.cuh"
#include "selftest.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <cuda.h>
#include <random>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

// --- Kernels -------------------------------------------------------------------------------------------------------

// y = x, backwards within each block.
KERNEL(turn_around, const int *x, int *y) {
    __shared__ int all[1024];
    const int n = blockDim.x * blockDim.y * blockDim.z;
    const int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    all[i] = x[block * n + i];
    __syncthreads();
    y[block * n + i] = all[n - 1 - i];
}

// The same without the barrier: wrong.
KERNEL(turn_around_carelessly, const int *x, int *y) {
    __shared__ int all[1024];
    all[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    y[blockIdx.x * blockDim.x + threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}

// Warps that exchange something among themselves are not together for that.
KERNEL(tell_carelessly, const int *x, int *y) {
    __shared__ int told;
    if (threadIdx.x == 0) {
        told = -1;
    }
    __syncthreads();
    __syncwarp();
    if (threadIdx.x == 0) {
        told = x[0];
    }
    __syncwarp();
    __syncwarp();
    y[threadIdx.x] = told;
}

// What a block finds in shared memory.
KERNEL(look_around, float *y, int write) {
    __shared__ float left[64];
    y[threadIdx.x] = left[threadIdx.x];
    if (write) {
        left[threadIdx.x] = 1;
    }
}

// What each thread gets from the other lanes, in ten ways.
KERNEL(exchange, u64 *out) {
    const u32 i = threadIdx.x;
    u64 *mine = out + 10 * i;
    mine[0] = __shfl_xor_sync(0xffffffffu, i, 5);
    mine[1] = __shfl_down_sync(0xffffffffu, i, 3);
    mine[2] = __shfl_up_sync(0xffffffffu, i, 3);
    mine[3] = __shfl_sync(0xffffffffu, i, 7);
    mine[4] = __shfl_down_sync(0xffffffffu, i, 3, 8);
    mine[5] = __shfl_sync(0xffffffffu, i, 2, 8);
    mine[6] = __ballot_sync(0xffffffffu, i % 3 == 0);
    mine[7] = __shfl_xor_sync(0xffffffffu, (u64)i << 40, 1);
    __syncwarp();
    mine[8] = __any_sync(0xffffffffu, i == 40);
    mine[9] = __all_sync(0xffffffffu, i != 40);
}

template <class A> __device__ void sums(const A *x, A *y, A *total, u32 *count) {
    const A sum = block_sum(x[blockIdx.x * blockDim.x + threadIdx.x]);
    const A again = block_sum(A(2) * x[blockIdx.x * blockDim.x + threadIdx.x]);
    if (threadIdx.x == blockDim.x - 1) {
        y[blockIdx.x] = again - sum;
    }
    if (last_block(count, gridDim.x)) {
        A all = 0;
        for (u32 i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
            all += y[i];
        }
        all = block_sum(all);
        if (threadIdx.x == 0) {
            *total = all;
        }
    }
}
KERNEL(sums_f32, const float *x, float *y, float *total, u32 *count) { sums(x, y, total, count); }
KERNEL(sums_f64, const double *x, double *y, double *total, u32 *count) { sums(x, y, total, count); }

// When each thread of each block begins, and when it goes on after a barrier.
KERNEL(when, u32 *clock, u32 *begins, u32 *goes_on, u32 *blocks) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    begins[i] = atomicAdd(clock, 1u);
    __syncthreads();
    goes_on[i] = atomicAdd(clock, 1u);
    if (threadIdx.x == 0) {
        blocks[blockIdx.x] = goes_on[i];
    }
}

// Threads that return before others wait.
KERNEL(some_leave, int *y) {
    if (threadIdx.x >= 40) {
        return;
    }
    __shared__ int sum;
    if (threadIdx.x == 0) {
        sum = 0;
    }
    __syncthreads();
    atomicAdd(&sum, 1);
    __syncthreads();
    const u32 lanes = __popc(__ballot_sync(0xffffffffu, 1));
    const u32 absent = __shfl_sync(0xffffffffu, 1u, 31);
    y[threadIdx.x] = sum * 1000000 + (int)lanes * 1000 + (absent == 0xffffffffu);
}

// Half of the warp waits for the block, half for the warp.
KERNEL(disagree, int *y) {
    if (threadIdx.x < 16) {
        __syncthreads();
    } else {
        y[0] = (int)__shfl_xor_sync(0xffffffffu, threadIdx.x, 1);
    }
}
KERNEL(mix_shuffles, int *y) {
    y[0] = threadIdx.x < 16 ? (int)__shfl_xor_sync(0xffffffffu, threadIdx.x, 1) : (int)__ballot_sync(0xffffffffu, 1);
}

struct Mixture {
    double f64;
    char text[12];
    float f32;
};
KERNEL(take_all, const bool yes, const unsigned char u8, const int i32, const i64 n, const float f32, const double f64,
       const __grid_constant__ Mixture mixture, double *out) {
    out[0] = yes;
    out[1] = u8;
    out[2] = i32;
    out[3] = (double)n;
    out[4] = f32;
    out[5] = f64;
    out[6] = mixture.f64;
    out[7] = mixture.text[11];
    out[8] = mixture.f32;
}

KERNEL(many_barriers, u32 *out) {
    u32 sum = 0;
    for (int i = 0; i < 32; ++i) {
        __syncthreads();
        sum += i;
    }
    out[threadIdx.x] = sum;
}

KERNEL(one_each, u32 *out) { out[blockIdx.x * blockDim.x + threadIdx.x] = threadIdx.x; }

// What AddressSanitizer and its companions are for.
KERNEL(beyond_memory, const int *x, int *y, int n) {
    if ((int)threadIdx.x < n) {
        y[threadIdx.x] = x[threadIdx.x];
    }
}
KERNEL(beyond_shared, int *y, int n) {
    __shared__ int few[16];
    int *some = few;
    some[n] = 1;
    __syncthreads();
    y[threadIdx.x] = some[n];
}
KERNEL(askew, const float *x, float *y) { *(Pack<float, 4> *)y = *(const Pack<float, 4> *)x; }

namespace selftest {

static int failures = 0;

void check(bool good, const char *what, const char *file, int line) {
    if (!good) {
        ++failures;
        fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    }
}

std::string stderr_of(const std::function<void()> &work) {
    fflush(stderr);
    FILE *file = tmpfile();
    const int before = dup(2);
    dup2(fileno(file), 2);
    work();
    fflush(stderr);
    dup2(before, 2);
    close(before);
    std::string text((size_t)lseek(fileno(file), 0, SEEK_END), '\0');
    if (pread(fileno(file), text.data(), text.size(), 0) != (ssize_t)text.size()) {
        text = "?";
    }
    fclose(file);
    return text;
}

bool dies(const std::function<void()> &work, const std::vector<std::string> &names) {
    int status = 0;
    const std::string text = stderr_of([&] {
        const pid_t child = fork();
        if (child == 0) {
            work();
            _exit(0);
        }
        waitpid(child, &status, 0);
    });
    bool good = status != 0;
    for (const std::string &name : names) {
        good = good && text.find(name) != std::string::npos;
    }
    if (!good) {
        fprintf(stderr, "ended with status %x and wrote: %s\n", (unsigned)status, text.c_str());
    }
    return good;
}

Memory::Memory(size_t bytes) : bytes(bytes) {
    CUdeviceptr made = 0;
    CHECK(cuMemAlloc(&made, bytes) == CUDA_SUCCESS);
    address = (void *)made;
}

Memory::Memory(const void *from, size_t bytes) : Memory(bytes) {
    CHECK(cuMemcpyHtoD((CUdeviceptr)address, from, bytes) == CUDA_SUCCESS);
}

Memory::~Memory() { CHECK(cuMemFree((CUdeviceptr)address) == CUDA_SUCCESS); }

void Memory::copy(void *to) const { CHECK(cuMemcpyDtoH(to, (CUdeviceptr)address, bytes) == CUDA_SUCCESS); }

std::vector<double> numbers(size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<double> out(n);
    for (double &x : out) {
        x = (double)random() / 2147483648.0 - 1;
    }
    return out;
}

std::vector<char> elements(const std::vector<double> &values, bool bf16) {
    std::vector<char> out(values.size() * (bf16 ? 2 : 4));
    for (size_t i = 0; i < values.size(); ++i) {
        const float x = (float)values[i];
        const unsigned short rounded = software_gpu::to_bf16(x);
        bf16 ? memcpy(&out[2 * i], &rounded, 2) : memcpy(&out[4 * i], &x, 4);
    }
    return out;
}

std::vector<double> values(const std::vector<char> &elements, bool bf16) {
    std::vector<double> out(elements.size() / (bf16 ? 2 : 4));
    for (size_t i = 0; i < out.size(); ++i) {
        float x;
        unsigned short bits;
        if (bf16) {
            memcpy(&bits, &elements[2 * i], 2);
            x = software_gpu::from_bf16(bits);
        } else {
            memcpy(&x, &elements[4 * i], 4);
        }
        out[i] = x;
    }
    return out;
}

double difference(const std::vector<double> &a, const std::vector<double> &b) {
    double most = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
        const double x = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
        most = x <= most ? most : x > most ? x : INFINITY;
    }
    return most;
}

// --- The scheduler -------------------------------------------------------------------------------------------------

// An image that the driver takes for machine code whose names it cannot read: it then has all kernels that there are.
static const unsigned char ANY_IMAGE[32] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 16};

static CUfunction function(const char *name) {
    static CUmodule module = [] {
        CUmodule made;
        CHECK(cuModuleLoadData(&made, ANY_IMAGE) == CUDA_SUCCESS);
        return made;
    }();
    CUfunction out = nullptr;
    CHECK(cuModuleGetFunction(&out, module, name) == CUDA_SUCCESS);
    return out;
}

static CUresult launch(const char *name, dim3 blocks, dim3 threads, std::vector<void *> arguments) {
    return cuLaunchKernel(function(name), blocks.x, blocks.y, blocks.z, threads.x, threads.y, threads.z, 0, nullptr,
                          arguments.data(), nullptr);
}

template <class... A> static CUresult run(const char *name, dim3 blocks, dim3 threads, A... arguments) {
    return launch(name, blocks, threads, {(void *)&arguments...});
}

static void in_order(const char *order) { setenv("MSHARP_SOFTWARE_GPU_ORDER", order, 1); }

static std::vector<int> turned_around(const char *kernel, dim3 blocks, dim3 threads) {
    const int n = (int)(blocks.x * blocks.y * blocks.z * threads.x * threads.y * threads.z);
    std::vector<int> x((size_t)n);
    for (int i = 0; i < n; ++i) {
        x[(size_t)i] = i;
    }
    const Memory from = on_device(x), to(x.size() * 4);
    CHECK(run(kernel, blocks, threads, from.at(), to.at()) == CUDA_SUCCESS);
    return to.read<int>();
}

static std::vector<int> reversed(int blocks, int threads) {
    std::vector<int> out;
    for (int block = 0; block < blocks; ++block) {
        for (int i = threads - 1; i >= 0; --i) {
            out.push_back(block * threads + i);
        }
    }
    return out;
}

static void test_barrier() {
    for (const char *order : {"forward", "backward", "shuffled"}) {
        in_order(order);
        CHECK(turned_around("turn_around", 1, 1) == reversed(1, 1));
        CHECK(turned_around("turn_around", 3, 37) == reversed(3, 37));
        CHECK(turned_around("turn_around", 5, 1024) == reversed(5, 1024));
        CHECK(turned_around("turn_around", dim3(2, 3, 2), dim3(5, 4, 3)) == reversed(12, 60));
        CHECK(turned_around("turn_around_carelessly", 2, 256) != reversed(2, 256)); // that is what the orders are for
        const Memory y(64 * 4);
        CHECK(run("some_leave", 1, 64, y.at()) == CUDA_SUCCESS);
        const std::vector<int> left = y.read<int>();
        CHECK(left[0] == 40032000 && left[31] == 40032000);  // a full warp
        CHECK(left[32] == 40008001 && left[39] == 40008001); // eight lanes, and no lane 31
        CHECK(left[40] == -1);                               // not written
    }
}

static void test_shared_memory() {
    for (const int write : {0, 1, 0}) {
        const Memory y(64 * 4);
        CHECK(run("look_around", 1, 64, y.at(), write) == CUDA_SUCCESS);
        for (const float x : y.read<float>()) {
#ifdef __SANITIZE_ADDRESS__
            CHECK(x == 0 || x == 1); // it is not forgotten here
#else
            CHECK(x != x);
#endif
        }
    }
}

static void test_running_ahead() {
    int wrong = 0;
    for (int i = 0; i < 21; ++i) {
        in_order(i == 0 ? "backward" : "shuffled");
        const Memory x = on_device(std::vector<int>{7}), y(128 * 4);
        CHECK(run("tell_carelessly", 1, 128, x.at(), y.at()) == CUDA_SUCCESS);
        wrong += y.read<int>() != std::vector<int>(128, 7);
        CHECK(i > 0 || wrong == 1);
    }
    CHECK(wrong > 3);
}

static void test_exchange() {
    for (const char *order : {"forward", "backward", "shuffled"}) {
        in_order(order);
        const u32 n = 96;
        const Memory out(n * 10 * 8);
        CHECK(run("exchange", 1, n, out.at()) == CUDA_SUCCESS);
        const std::vector<u64> got = out.read<u64>();
        for (u32 i = 0; i < n; ++i) {
            const u32 lane = i % 32, warp = i - lane;
            u32 ballot = 0;
            for (u32 j = 0; j < 32; ++j) {
                ballot |= (u32)((warp + j) % 3 == 0) << j;
            }
            const u64 expected[10] = {i ^ 5,     lane + 3 < 32 ? i + 3 : i,    lane >= 3 ? i - 3 : i,
                                      warp + 7,  lane % 8 + 3 < 8 ? i + 3 : i, i - lane % 8 + 2,
                                      ballot,    (u64)(i ^ 1) << 40,           warp == 32,
                                      warp != 32};
            CHECK(std::equal(expected, expected + 10, &got[10 * i]));
        }
    }
}

template <class A> static void test_sums(const char *kernel, double tolerance) {
    for (const u32 threads : {32u, 256u, 1024u}) {
        const u32 blocks = 7;
        const std::vector<double> wide = numbers(blocks * threads, threads);
        const std::vector<A> x(wide.begin(), wide.end());
        const Memory from = on_device(x), sums(blocks * sizeof(A)), total(sizeof(A)),
                     count = on_device(std::vector<u32>{0});
        std::vector<A> first;
        for (const char *order : {"forward", "backward", "shuffled"}) {
            in_order(order);
            CHECK(run(kernel, blocks, threads, from.at(), sums.at(), total.at(), count.at()) == CUDA_SUCCESS);
            double expected = 0;
            for (u32 block = 0; block < blocks; ++block) {
                double sum = 0;
                for (u32 i = 0; i < threads; ++i) {
                    sum += (double)x[block * threads + i];
                }
                CHECK(std::abs((double)sums.read<A>()[block] - sum) < tolerance);
                expected += sum;
            }
            CHECK(std::abs((double)total.read<A>()[0] - expected) < tolerance);
            CHECK(count.read<u32>()[0] == 0);
            first = first.empty() ? total.read<A>() : first;
            CHECK(total.read<A>() == first); // to the bit
        }
    }
}

static std::vector<u32> begins, goes_on, block_times;
static void record(const char *order, u32 blocks, u32 threads) {
    in_order(order);
    const Memory clock = on_device(std::vector<u32>{0}), a(blocks * threads * 4), b(blocks * threads * 4),
                 c(blocks * 4);
    CHECK(run("when", blocks, threads, clock.at(), a.at(), b.at(), c.at()) == CUDA_SUCCESS);
    begins = a.read<u32>();
    goes_on = b.read<u32>();
    block_times = c.read<u32>();
}

static void test_order() {
    const u32 blocks = 6, threads = 100;
    record("forward", blocks, threads);
    CHECK(std::is_sorted(begins.begin(), begins.end()));
    CHECK(std::is_sorted(goes_on.begin(), goes_on.end()));
    for (u32 i = 0; i < blocks * threads; ++i) {
        CHECK(begins[i] == i / threads * 2 * threads + i % threads && goes_on[i] == begins[i] + threads);
    }
    record("backward", blocks, threads);
    CHECK(std::is_sorted(begins.rbegin(), begins.rend()) && std::is_sorted(goes_on.rbegin(), goes_on.rend()));
    record("shuffled", blocks, threads);
    const std::vector<u32> once = begins, blocks_once = block_times;
    CHECK(!std::is_sorted(begins.begin(), begins.begin() + threads) &&
          !std::is_sorted(begins.rend() - threads, begins.rend()));
    std::vector<u32> sorted = begins;
    sorted.insert(sorted.end(), goes_on.begin(), goes_on.end());
    std::sort(sorted.begin(), sorted.end());
    for (u32 i = 0; i < sorted.size(); ++i) {
        CHECK(sorted[i] == i); // every thread once, before and after the barrier
    }
    bool differs = false;
    for (int i = 0; i < 5; ++i) {
        record("shuffled", blocks, threads);
        CHECK(begins != once);
        differs = differs || block_times != blocks_once;
    }
    CHECK(differs);
    CHECK(dies([] { in_order("sideways"), run("one_each", 1, 1, (void *)nullptr); },
               {"MSHARP_SOFTWARE_GPU_ORDER is sideways"}));
    in_order("shuffled");
}

static void test_deadlock() {
    const Memory y(4);
    CHECK(dies([&] { run("disagree", 1, 32, y.at()); },
               {"kernel disagree", "__syncthreads", "__shfl_xor_sync for lanes 0000ffff", "(16, 0, 0)"}));
    CHECK(
        dies([&] { run("mix_shuffles", 1, 32, y.at()); }, {"kernel mix_shuffles", "__shfl_xor_sync", "__ballot_sync"}));
}

static void test_arguments() {
    const Memory out(9 * 8);
    void *address = out.at();
    // As the caller of the driver may have them: each in the first bytes of a word that is otherwise full.
    u64 yes = 0xffffffffffffff01, u8 = 0xffffffffffffff07, i32 = 0xfffffffffffffffe, n = (u64)-5, f32 = ~(u64)0, f64;
    const float half = 0.5f;
    const double third = 1.0 / 3;
    memcpy(&f32, &half, 4);
    memcpy(&f64, &third, 8);
    const Mixture mixture{2.5, "hello world", 4.5f};
    Mixture with_end = mixture;
    with_end.text[11] = 'x';
    CHECK(launch("take_all", 1, 1, {&yes, &u8, &i32, &n, &f32, &f64, &with_end, &address}) == CUDA_SUCCESS);
    CHECK(out.read<double>() == (std::vector<double>{1, 7, -2, -5, 0.5, third, 2.5, 'x', 4.5}));
}

static void test_sanitizers() {
    const Memory x = on_device(std::vector<int>(16)), y(32 * 4);
    const auto with = [&](const char *kernel, int n) { return [&, kernel, n] { run(kernel, 1, 32, y.at(), n); }; };
    const auto copy = [&](int n) {
        return [&, n] { CHECK(run("beyond_memory", 1, 32, x.at(), y.at(), n) == CUDA_SUCCESS); };
    };
    const auto move = [&](size_t at) {
        return [&, at] { CHECK(run("askew", 1, 1, x.at(at), y.at()) == CUDA_SUCCESS); };
    };
    copy(16)();
    with("beyond_shared", 15)();
    move(16)();
#ifdef __SANITIZE_ADDRESS__
    CHECK(dies(copy(17), {"heap-buffer-overflow", "beyond_memory"}));
    CHECK(dies(with("beyond_shared", 16), {"global-buffer-overflow", "beyond_shared"}));
    CHECK(dies(move(4), {"misaligned address", "selftest.cpp"}));
#endif
}

static void test_time() {
    const Memory out(1 << 22);
    const auto milliseconds = [&](const char *kernel, u32 blocks, u32 threads) {
        double least = 1e9;
        for (int i = 0; i < 5; ++i) {
            const auto start = std::chrono::steady_clock::now();
            CHECK(run(kernel, blocks, threads, out.at()) == CUDA_SUCCESS);
            const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
            least = std::min(least, time.count());
        }
        return least;
    };
    const double barriers = milliseconds("many_barriers", 1, 1024), plain = milliseconds("one_each", 4096, 256);
    CHECK(out.read<u32>()[5] == 5);
    printf("32 barriers of 1024 threads: %.2f ms; 4096 blocks of 256 threads without: %.1f ms\n", barriers, plain);
}

static void test_threads() {
    // Launches from several threads of the process, on streams of their own and on the same one.
    std::vector<std::thread> threads;
    std::vector<int> good(8);
    CUcontext context;
    cuCtxGetCurrent(&context);
    for (size_t i = 0; i < good.size(); ++i) {
        threads.emplace_back([&good, i, context] {
            cuCtxSetCurrent(context);
            for (int round = 0; round < 20; ++round) {
                good[i] += turned_around("turn_around", 9, 200) == reversed(9, 200);
            }
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    CHECK(good == std::vector<int>(8, 20));
}

// --- The driver ----------------------------------------------------------------------------------------------------

static bool is(CUresult error, const std::function<CUresult()> &work) { return refuses<CUresult>(error, work); }

static void test_memory() {
    CUdeviceptr a = 0, b = 0;
    CHECK(cuMemAlloc(&a, 10 * 4) == CUDA_SUCCESS && a % 256 == 0);
    std::vector<float> host(11);
    CHECK(cuMemcpyDtoH(host.data(), a, 40) == CUDA_SUCCESS &&
          std::all_of(host.begin(), host.begin() + 10, [](float x) { return x != x; }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemcpyDtoH(host.data(), a, 41); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemcpyHtoDAsync(a + 4, host.data(), 40, nullptr); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemcpyHtoD(a - 4, host.data(), 4); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemcpyDtoDAsync(a, a + 4, 8, nullptr); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemsetD8Async(a, 0, 41, nullptr); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemsetD32(a + 2, 0, 1); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemAlloc(&b, 0); }));
    CHECK(is(CUDA_ERROR_OUT_OF_MEMORY, [&] { return cuMemAlloc(&b, (size_t)1 << 40); }));
    CHECK(cuMemsetD32Async(a, 0x40000000, 10, nullptr) == CUDA_SUCCESS);
    CHECK(cuMemAllocAsync(&b, 40, nullptr) == CUDA_SUCCESS && cuMemcpyDtoD(b, a, 40) == CUDA_SUCCESS);
    CHECK(cuMemcpyDtoHAsync(host.data(), b + 8, 32, nullptr) == CUDA_SUCCESS && host[0] == 2 && host[7] == 2);
    size_t before, after, total;
    CHECK(cuMemGetInfo(&before, &total) == CUDA_SUCCESS);
    CHECK(cuMemFreeAsync(b, nullptr) == CUDA_SUCCESS);
    CHECK(cuMemGetInfo(&after, &total) == CUDA_SUCCESS && after == before + 40);
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemFreeAsync(b, nullptr); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemFree(a + 4); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemcpyDtoH(host.data(), b, 4); }));
#ifndef __SANITIZE_ADDRESS__ // which would catch this
    CHECK(*(volatile float *)b != *(volatile float *)b);
#endif
    CHECK(cuMemFree(a) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemFree(a); }));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, [&] { return cuMemFree((CUdeviceptr)host.data()); }));
}

static void test_launches() {
    const Memory out(4096 * 4);
    const auto sized = [&](dim3 blocks, dim3 threads) {
        return [=, &out] { return run("one_each", blocks, threads, out.at()); };
    };
    CHECK(run("one_each", 4, 1024, out.at()) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_VALUE, sized(1, 1025)));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, sized(1, dim3(32, 33))));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, sized(1, dim3(1, 1, 65))));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, sized(0, 32)));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, sized(1, dim3(32, 0))));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, sized(dim3(1, 65536), 1)));
    CHECK(is(CUDA_ERROR_INVALID_VALUE, sized(dim3(1, 1, 65536), 1)));
    CHECK(is(CUDA_ERROR_INVALID_HANDLE,
             [] { return cuLaunchKernel((CUfunction) "x", 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr); }));

    CUfunction found = nullptr;
    CUmodule module, ptx;
    CHECK(cuModuleLoadData(&module, ANY_IMAGE) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_NOT_FOUND, [&] { return cuModuleGetFunction(&found, module, "no_such_kernel"); }));
    CHECK(is(CUDA_ERROR_INVALID_IMAGE, [&] { return cuModuleLoadData(&ptx, "neither"); }));
    CHECK(cuModuleLoadData(&ptx, ".version 9.0\n.visible .entry badd_f32(\n.visible .entry unknown_f32(") ==
          CUDA_SUCCESS);
    CHECK(cuModuleGetFunction(&found, ptx, "badd_f32") == CUDA_SUCCESS);
    CHECK(cuModuleGetFunction(&found, ptx, "badd_f64") == CUDA_ERROR_NOT_FOUND); // not in the image
    CHECK(is(CUDA_ERROR_NOT_FOUND, [&] { return cuModuleGetFunction(&found, ptx, "unknown_f32"); })); // not simulated
    CHECK(cuModuleGetFunction(&found, ptx, "one_each") == CUDA_ERROR_NOT_FOUND);
    CHECK(cuModuleUnload(ptx) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_HANDLE, [&] { return cuModuleUnload(ptx); }));
    // With readable names, only what is named is there.
    std::string image((const char *)ANY_IMAGE, 16);
    image += std::string("\0.text.one_each\0", 16);
    image[8] = 16;
    CHECK(cuModuleLoadData(&ptx, image.data()) == CUDA_SUCCESS);
    CHECK(cuModuleGetFunction(&found, ptx, "one_each") == CUDA_SUCCESS);
    CHECK(cuModuleGetFunction(&found, ptx, "when") == CUDA_ERROR_NOT_FOUND);
    CHECK(cuModuleUnload(ptx) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_HANDLE,
             [&] { return cuLaunchKernel(found, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr); }));
}

static void test_streams() {
    CUstream stream;
    CUevent start, end;
    float time = -1;
    CHECK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    CHECK(cuEventCreate(&start, 0) == CUDA_SUCCESS && cuEventCreate(&end, 0) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_HANDLE, [&] { return cuEventElapsedTime(&time, start, end); }));
    CHECK(cuEventRecord(start, stream) == CUDA_SUCCESS);
    usleep(2000);
    CHECK(cuEventRecord(end, stream) == CUDA_SUCCESS && cuStreamWaitEvent(nullptr, end, 0) == CUDA_SUCCESS);
    CHECK(cuEventElapsedTime(&time, start, end) == CUDA_SUCCESS && time >= 2 && time < 1000);
    CHECK(cuEventDestroy(end) == CUDA_SUCCESS && cuEventDestroy(start) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_HANDLE, [&] { return cuEventDestroy(end); }));
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    CHECK(cuStreamIsCapturing(stream, &status) == CUDA_SUCCESS && status == CU_STREAM_CAPTURE_STATUS_NONE);
    CHECK(cuStreamSynchronize(stream) == CUDA_SUCCESS && cuStreamDestroy(stream) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_HANDLE, [&] { return cuStreamSynchronize(stream); }));
    CHECK(is(CUDA_ERROR_INVALID_HANDLE, [&] { return cuStreamDestroy(stream); }));
    std::thread([] {
        CUdeviceptr address;
        CHECK(is(CUDA_ERROR_INVALID_CONTEXT, [&] { return cuMemAlloc(&address, 4); }));
    }).join();
}

static void set_up() {
    CUdevice device;
    CUcontext context;
    CHECK(is(CUDA_ERROR_NOT_INITIALIZED, [&] { return cuDeviceGet(&device, 0); }));
    CHECK(cuInit(0) == CUDA_SUCCESS && cuDeviceGet(&device, 0) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_DEVICE, [&] { return cuDeviceGet(&device, 3); }));
    CHECK(cuDeviceGet(&device, 0) == CUDA_SUCCESS);
    CHECK(is(CUDA_ERROR_INVALID_CONTEXT, [&] { return cuCtxSynchronize(); }));
    CHECK(cuDevicePrimaryCtxRetain(&context, device) == CUDA_SUCCESS && cuCtxSetCurrent(context) == CUDA_SUCCESS);
    CHECK(dies([] { cuGraphLaunch(nullptr, nullptr); }, {"cuGraphLaunch was called"}));
}

} // namespace selftest

using namespace selftest;

int main() {
    setenv("MSHARP_SOFTWARE_GPUS", "3", 1);
    set_up();
    test_memory();
    test_launches();
    test_streams();
    test_barrier();
    test_shared_memory();
    test_running_ahead();
    test_exchange();
    test_sums<float>("sums_f32", 1e-3);
    test_sums<double>("sums_f64", 1e-11);
    test_order();
    test_deadlock();
    test_arguments();
    test_threads();
    test_sanitizers();
    test_time();
    test_libraries();
    test_nccl();
    if (failures > 0) {
        fprintf(stderr, "%d checks of the software GPU failed\n", failures);
    }
    return failures > 0;
}
