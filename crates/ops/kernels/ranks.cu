// What a GPU adds up of the vectors of several ranks.
#include "device.cuh"

// out[i] = Σᵣ wᵣ cᵣ[i] / divisor, where cᵣ are `ranks` chunks of `len` numbers, one after the other: each entry is summed
// in f64, in the order of the ranks, and rounded once. The bits are those of a processor, which does not contract.
KERNEL(sum_of_ranks, const float *chunks, const double *weights, double divisor, float *out, int ranks, i64 len) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < len; i += (i64)gridDim.x * blockDim.x) {
        double sum = 0;
        for (int rank = 0; rank < ranks; ++rank) {
            sum = __dadd_rn(sum, __dmul_rn(weights[rank], (double)chunks[rank * len + i]));
        }
        out[i] = (float)(sum / divisor);
    }
}
