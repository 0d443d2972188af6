// cuRAND's stand-in: numbers of the right distributions, from another generator than the real one's.
#pragma GCC visibility push(default)
#include <curand.h>
#pragma GCC visibility pop

#include "memory.h"
#include "random.h"
#include "report.h"

#include <cmath>

struct curandGenerator_st {
    cudaStream_t stream = nullptr;
    software_gpu::Random random{0};
};

namespace software_gpu {

namespace {

template <class T, class F>
curandStatus_t generate(curandGenerator_t generator, T *out, size_t n, bool pairs, F number) {
    if (pairs && n % 2 != 0) {
        report("curand: %zu normally distributed numbers, which come in pairs", n);
        return CURAND_STATUS_LENGTH_NOT_MULTIPLE;
    }
    const Turn turn = turn_on(generator->stream);
    if (!turn || !is_device_memory(out, n * sizeof(T), "curand")) {
        return CURAND_STATUS_LAUNCH_FAILURE;
    }
    for (size_t i = 0; i < n; ++i) {
        out[i] = (T)number(generator->random);
    }
    return CURAND_STATUS_SUCCESS;
}

// Box and Muller's, of whose two numbers one is used.
double normal(Random &random) { return sqrt(-2 * log(random.uniform())) * cos(2 * M_PI * random.uniform()); }

} // namespace

} // namespace software_gpu

using namespace software_gpu;

curandStatus_t curandCreateGenerator(curandGenerator_t *generator, curandRngType_t) {
    *generator = new curandGenerator_st;
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandDestroyGenerator(curandGenerator_t generator) {
    delete generator;
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandSetStream(curandGenerator_t generator, cudaStream_t stream) {
    generator->stream = stream;
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator, unsigned long long seed) {
    generator->random = Random(seed);
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandGenerate(curandGenerator_t generator, unsigned *out, size_t n) {
    return generate(generator, out, n, false, [](Random &random) { return random.next() >> 32; });
}

curandStatus_t curandGenerateUniform(curandGenerator_t generator, float *out, size_t n) {
    return generate(generator, out, n, false, [](Random &random) { return random.uniform(); });
}

curandStatus_t curandGenerateUniformDouble(curandGenerator_t generator, double *out, size_t n) {
    return generate(generator, out, n, false, [](Random &random) { return random.uniform(); });
}

curandStatus_t curandGenerateNormal(curandGenerator_t generator, float *out, size_t n, float mean, float deviation) {
    return generate(generator, out, n, true, [=](Random &random) { return mean + deviation * normal(random); });
}

curandStatus_t curandGenerateNormalDouble(curandGenerator_t generator, double *out, size_t n, double mean,
                                          double deviation) {
    return generate(generator, out, n, true, [=](Random &random) { return mean + deviation * normal(random); });
}
