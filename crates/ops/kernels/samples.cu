// What is computed for the samples of a batch, whose number is small: estimates of the norms of their gradients, and the
// weights that follow from them. One block each.
#include "device.cuh"

// sum[i] += ((ahead[i] - behind[i]) / width)², where width = *delta · sides; from 0 if `first`.
KERNEL(add_squared_slope, const float *ahead, const float *behind, const double *delta, double sides, double *sum, int b,
       bool first) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < b) {
        const double slope = ((double)ahead[i] - (double)behind[i]) / (*delta * sides);
        sum[i] = (first ? 0 : sum[i]) + slope * slope;
    }
}

// norms[i] = √(sum[i] / n)
KERNEL(root_mean, const double *sum, double *norms, int b, double n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < b) {
        norms[i] = sqrt(sum[i] / n);
    }
}

__device__ __forceinline__ double block_max(double value) {
    __shared__ double parts[WARP];
    value = warp_max(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        parts[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    value = parts[0];
    for (int warp = 1; warp < (int)(blockDim.x + WARP - 1) / WARP; ++warp) {
        value = fmax(value, parts[warp]);
    }
    return value;
}

// Sums of exp(λ (s - largest)) and of its square over the samples.
struct Sums {
    double first, second;
};
__device__ __forceinline__ Sums sums_at(const double *s, int b, double scale, double largest, double lambda) {
    Sums sums = {0, 0};
    for (int i = threadIdx.x; i < b; i += blockDim.x) {
        const double u = exp(lambda * (s[i] * scale - largest));
        sums.first += u;
        sums.second += u * u;
    }
    sums.first = block_sum(sums.first);
    sums.second = block_sum(sums.second);
    return sums;
}

// The Gibbs weights of norms s, and measures: their effective size, and the 0.1-, 0.5- and 0.9-quantiles of the norms.
// `kind` 0: λ = value; 1: λ = value relative to the mean norm; 2: the λ whose effective size is `value`.
KERNEL(gibbs, const double *s, double *weights, double *measures, int b, int kind, double value) {
    double scale = 1, lambda = value, largest = -INFINITY, bad = 0;
    for (int i = threadIdx.x; i < b; i += blockDim.x) {
        largest = fmax(largest, s[i]);
        bad += isfinite(s[i]) ? 0 : 1;
    }
    largest = block_max(largest);
    bad = block_sum(bad);
    if (kind == 1) {
        double mean = 0;
        for (int i = threadIdx.x; i < b; i += blockDim.x) {
            mean += s[i] / b;
        }
        mean = block_sum(mean);
        scale = mean == 0 ? 0 : 1 / mean;
        largest *= scale;
    }
    if (kind == 2) {
        // Bisection: the size falls from b at 0 to the number of samples that share the largest norm.
        double gap = INFINITY;
        for (int i = threadIdx.x; i < b; i += blockDim.x) {
            if (largest - s[i] > 0) {
                gap = fmin(gap, largest - s[i]);
            }
        }
        gap = -block_max(-gap);
        lambda = 0;
        if (value < b && isfinite(gap)) {
            const double most = 750 / gap; // beyond it every weight but the largest is 0
            double low = 0, high = isfinite(most) ? most : 1.7976931348623157e308;
            const Sums end = sums_at(s, b, 1, largest, high);
            if (isfinite(most) && end.first * end.first / end.second < value) {
                for (int step = 0; step < 200; ++step) {
                    const double middle = low + (high - low) / 2;
                    if (middle == low || middle == high) {
                        break;
                    }
                    const Sums at = sums_at(s, b, 1, largest, middle);
                    if (at.first * at.first / at.second > value) {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
            }
            lambda = high;
        }
    }
    const Sums sums = sums_at(s, b, scale, largest, lambda);
    double squares = 0;
    for (int i = threadIdx.x; i < b; i += blockDim.x) {
        const double p = bad > 0 ? (double)NAN : exp(lambda * (s[i] * scale - largest)) / sums.first;
        weights[i] = p;
        squares += p * p;
    }
    squares = block_sum(squares);
    if (threadIdx.x == 0) {
        measures[0] = 1 / squares;
    }
    // The samples of the three ranks; of equal norms the earlier sample comes first.
    for (int i = threadIdx.x; i < b; i += blockDim.x) {
        int rank = 0;
        for (int j = 0; j < b; ++j) {
            rank += s[j] < s[i] || (s[j] == s[i] && j < i);
        }
        for (int q = 0; q < 3; ++q) {
            if (rank == (int)round((q == 0 ? 0.1 : q == 1 ? 0.5 : 0.9) * (b - 1))) {
                measures[1 + q] = s[i];
            }
        }
    }
    if (bad > 0 && threadIdx.x < 3) {
        measures[1 + threadIdx.x] = NAN;
    }
}
