// Losses of samples: the cross-entropy, and weighted sums.
#include "device.cuh"

// What of a row of logits its losses need, by a warp: -log p_y, in f64. Where y leads it is log1p of the others, so that
// a loss of 1e-8 keeps as many digits as a loss of 1.
__device__ __forceinline__ double negative_log_likelihood(const float *x, int k, int y) {
    const int lane = threadIdx.x % WARP;
    double top = -INFINITY;
    bool nan = false;
    for (int j = lane; j < k; j += WARP) {
        nan |= x[j] != x[j];
        top = fmax(top, (double)x[j]);
    }
    top = warp_max(top);
    const double x_y = x[y];
    const bool leads = x_y == top;
    double sum = nan ? (double)NAN : 0;
    for (int j = lane; j < k; j += WARP) {
        if (!leads || j != y) {
            sum += exp((double)x[j] - top);
        }
    }
    sum = warp_sum(sum);
    return leads ? log1p(sum) : (top - x_y) + log(sum);
}

// The loss of each sample; NaN for a target that is no class. A warp for each row of logits [b, k].
KERNEL(cross_entropy, const float *logits, const u32 *targets, float *losses, int b, int k, double smoothing) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= b) {
        return;
    }
    const float *x = logits + (i64)row * k;
    const u32 target = targets[row];
    if (target >= (u32)k) {
        if (lane == 0) {
            losses[row] = NAN;
        }
        return;
    }
    double loss = negative_log_likelihood(x, k, target);
    if (smoothing != 0) {
        double margin = 0;
        for (int j = lane; j < k; j += WARP) {
            margin += (double)x[target] - (double)x[j];
        }
        loss += smoothing * (warp_sum(margin) / k);
    }
    if (lane == 0) {
        losses[row] = (float)loss;
    }
}

// p_j less what the label has of it, from -log p_y, which is NaN for a target that is no class.
__device__ __forceinline__ double probability(const float *x, u32 target, int j, double nll, double smoothing) {
    if (nll != nll) {
        return nll;
    }
    return (u32)j == target ? expm1(-nll) + smoothing : exp((double)x[j] - (double)x[target] - nll);
}

// d(loss)/d(logits); that of the target is expm1(-loss), no difference of near-equal numbers.
KERNEL(cross_entropy_gradient, const float *logits, const u32 *targets, const float *d_losses, float *d_logits, int b,
       int k, double smoothing) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= b) {
        return;
    }
    const float *x = logits + (i64)row * k;
    const u32 target = targets[row];
    const bool known = target < (u32)k;
    const double nll = known ? negative_log_likelihood(x, k, target) : (double)NAN;
    const double share = smoothing / k;
    for (int j = lane; j < k; j += WARP) {
        const double p = probability(x, target, j, nll, smoothing);
        d_logits[(i64)row * k + j] = (float)(d_losses[row] * (p - share));
    }
}

// log Σ_j exp x_j of a row, by a warp.
__device__ __forceinline__ double log_sum(const float *x, int k) {
    const int lane = threadIdx.x % WARP;
    double top = -INFINITY, sum = 0;
    for (int j = lane; j < k; j += WARP) {
        top = fmax(top, (double)x[j]); // a NaN is in the sum
    }
    top = warp_max(top);
    for (int j = lane; j < k; j += WARP) {
        sum += exp((double)x[j] - top);
    }
    return top + log(warp_sum(sum));
}

// Σ_j t_j of a row, by a warp; NaN where it is no distribution.
__device__ __forceinline__ double whole(const float *t, int k) {
    double sum = 0;
    for (int j = threadIdx.x % WARP; j < k; j += WARP) {
        sum += t[j] >= 0 ? (double)t[j] : (double)NAN;
    }
    sum = warp_sum(sum);
    return fabs(sum - 1) < 1e-3 ? sum : (double)NAN;
}

// The loss of each sample against a distribution, a row of targets [b, k]: Σ_j (-log p_j) ((1 - s) t_j + s/k); NaN where
// it is no distribution. A warp for each row.
KERNEL(cross_entropy_of_distributions, const float *logits, const float *targets, float *losses, int b, int k,
       double smoothing) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= b) {
        return;
    }
    const float *x = logits + (i64)row * k, *t = targets + (i64)row * k;
    const double log_z = log_sum(x, k), sum = whole(t, k), share = smoothing / k;
    double loss = 0;
    for (int j = lane; j < k; j += WARP) {
        loss += ((1 - smoothing) * (double)t[j] + share) * (log_z - (double)x[j]);
    }
    loss = warp_sum(loss);
    if (lane == 0) {
        losses[row] = (float)(sum != sum ? sum : loss);
    }
}
KERNEL(cross_entropy_of_distributions_gradient, const float *logits, const float *targets, const float *d_losses,
       float *d_logits, int b, int k, double smoothing) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= b) {
        return;
    }
    const float *x = logits + (i64)row * k, *t = targets + (i64)row * k;
    const double log_z = log_sum(x, k), sum = (1 - smoothing) * whole(t, k) + smoothing, share = smoothing / k;
    for (int j = lane; j < k; j += WARP) {
        const double p = exp((double)x[j] - log_z), own = (1 - smoothing) * (double)t[j] + share;
        d_logits[(i64)row * k + j] = (float)(d_losses[row] * (p * sum - own));
    }
}

// Σ wᵢ ℓᵢ, with wᵢ = 1/b where there are no weights. One block.
KERNEL(weighted_sum, const float *losses, const double *weights, float *sum, int b) {
    double mine = 0;
    for (int i = threadIdx.x; i < b; i += blockDim.x) {
        mine += (double)losses[i] * (weights ? weights[i] : 1.0 / b);
    }
    mine = block_sum(mine);
    if (threadIdx.x == 0) {
        *sum = (float)mine;
    }
}
KERNEL(weighted_sum_gradient, const double *weights, const float *d_sum, float *d_losses, int b) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < b) {
        d_losses[i] = (float)((weights ? weights[i] : 1.0 / b) * (double)*d_sum);
    }
}

// The norm of the gradient of each sample's loss with respect to the linear map that made the logits of its features
// [b, c]: |p - y| · √(|h|² + 1), without the 1 if the map has no bias. A warp for each row.
KERNEL(last_layer_norms, const float *logits, const u32 *targets, const float *features, double *norms, int b, int k,
       int c, double smoothing, bool has_bias) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= b) {
        return;
    }
    const float *x = logits + (i64)row * k, *h = features + (i64)row * c;
    const u32 target = targets[row];
    const bool known = target < (u32)k;
    const double nll = known ? negative_log_likelihood(x, k, target) : (double)NAN;
    double square = 0, length = 0;
    for (int j = lane; j < k; j += WARP) {
        const double g = probability(x, target, j, nll, smoothing) - smoothing / k;
        square += g * g;
    }
    for (int j = lane; j < c; j += WARP) {
        length += (double)h[j] * h[j];
    }
    square = warp_sum(square);
    length = warp_sum(length);
    if (lane == 0) {
        norms[row] = sqrt(square * (length + (has_bias ? 1 : 0)));
    }
}
