#!/usr/bin/env python3
"""Reference numbers for every sharpness-aware rule, written from the published formulas.

    python rules.py               write rules.json beside this file (reads noise.json if it is there)
    python rules.py --make-noise  write a seeded noise.json beside this file and stop

Everything is float64 on one thread, so two runs give the same bytes. Needs torch and numpy.

The file holds a tiny net (params), three batches, and for each case three directions and the final
parameters: step t takes the rule's direction d_t on batch t, then x <- x - 0.1 d_t unless the case says
otherwise. "alternatives" holds readings of a rule that a case does not follow; they are documentation.

Notation in the comments: g is the gradient of the batch's mean loss at x, |.| the Euclidean norm over
ALL parameters, u = g/|g|. No denominator has a guard term (the published codes add 1e-12 or so).
Sources: a paper is cited by title or (authors et al., venue year); "code:" is the published code.
"recalled" marks what could not be read in a source and is written from general knowledge.
Where a paper and its code differ the paper is followed, and the comment says so.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
HERE = Path(__file__).resolve().parent

SHAPES = {
    "fc1.weight": (6, 5),
    "fc1.bias": (6,),
    "norm.weight": (6,),
    "norm.bias": (6,),
    "fc2.weight": (3, 6),
    "fc2.bias": (3,),
}
STEPS, BATCH, LR = 3, 8, 0.1


# --- the problem -----------------------------------------------------------------------------------
# All parameters live in ONE flat vector x, in the order of SHAPES; formulas then read as in the papers.


def split(x):
    """The named tensors of a flat vector."""
    out, at = {}, 0
    for name, shape in SHAPES.items():
        size = math.prod(shape)
        out[name] = x[at : at + size].reshape(shape)
        at += size
    return out


def each(x, f):
    """The flat vector of f(name, tensor), a number or a tensor that broadcasts to the tensor's shape."""
    return torch.cat([torch.as_tensor(f(n, w)).expand(w.shape).reshape(-1) for n, w in split(x).items()])


def losses(x, batch):
    """Cross entropy of each sample: fc2(tanh(LayerNorm(fc1(inputs)))), LayerNorm over the 6 features."""
    inputs, targets = batch
    p = split(x)
    h = inputs @ p["fc1.weight"].T + p["fc1.bias"]
    centred = h - h.mean(1, keepdim=True)
    h = centred / torch.sqrt((centred**2).mean(1, keepdim=True) + 1e-5)  # biased variance
    a = torch.tanh(h * p["norm.weight"] + p["norm.bias"])
    logits = a @ p["fc2.weight"].T + p["fc2.bias"]
    return torch.logsumexp(logits, 1) - logits.gather(1, targets[:, None])[:, 0]


def grad(x, batch):
    """Gradient of the batch's mean loss at x."""
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(losses(x, batch).mean(), x)[0]


def take(batch, rows):
    return batch[0][rows], batch[1][rows]


def sample_grads(x, batch):
    """[b, parameters]: each sample's own gradient, one backward pass each."""
    return torch.stack([grad(x, take(batch, [i])) for i in range(len(batch[1]))])


def hessian(x, batch):
    h = torch.autograd.functional.hessian(lambda v: losses(v, batch).mean(), x.detach())
    return (h + h.T) / 2


def micro_batches(batch, m):
    """Consecutive runs of m samples; the last one may be shorter."""
    b = len(batch[1])
    return [take(batch, list(range(i, min(i + m, b)))) for i in range(0, b, m)]


def make_problem():
    rng = np.random.default_rng(20250918)
    draw = lambda shape, scale, mean=0.0: torch.from_numpy(mean + scale * rng.standard_normal(shape))
    params = {
        "fc1.weight": draw((6, 5), 0.7),
        "fc1.bias": draw((6,), 0.3),
        "norm.weight": draw((6,), 0.2, 1.0),
        "norm.bias": draw((6,), 0.3),
        "fc2.weight": draw((3, 6), 0.7),
        "fc2.bias": draw((3,), 0.3),
    }
    x0 = torch.cat([params[name].reshape(-1) for name in SHAPES])
    batches = [
        (torch.from_numpy(rng.standard_normal((BATCH, 5))), torch.from_numpy(rng.integers(0, 3, BATCH)))
        for _ in range(STEPS)
    ]
    return x0, batches


X0, BATCHES = make_problem()
WHOLE = (torch.cat([b[0] for b in BATCHES]), torch.cat([b[1] for b in BATCHES]))

try:
    NOISE = {
        kind: [torch.cat([torch.tensor(step[n], dtype=torch.float64) for n in SHAPES]) for step in steps]
        for kind, steps in json.loads((HERE / "noise.json").read_text()).items()
        if kind in ("gaussian", "uniform")
    }
except FileNotFoundError:
    NOISE = None


# --- offsets: what is added to x before the descent gradient ------------------------------------------


def sphere(v, rho):
    """SAM (Foret et al., ICLR 2021): rho v/|v|."""
    return rho * v / v.norm()


def ellipsoid(v, rho, T):
    """ASAM (Kwon et al., ICML 2021): rho T^2 v/|T v|, T a positive diagonal."""
    return rho * T**2 * v / (T * v).norm()


def T_elements(x):
    """|w| for every parameter, no eta. code: davda54/sam adaptive=True."""
    return x.abs()


def T_weights(x, eta):
    """|w| + eta where the name contains "weight" (norm.weight too), 1 elsewhere. code: SamsungLabs/ASAM."""
    return each(x, lambda n, w: w.abs() + eta if "weight" in n else 1.0)


def row_norms(w):
    """The norm of each row along the first dimension, shaped to broadcast against w."""
    return w.reshape(len(w), -1).norm(dim=1).reshape(-1, *[1] * (w.ndim - 1))


def T_filters(x, eta):
    """ASAM's filter-wise operator (recalled): an entry that belongs to a filter gets the filter's norm, any
    other entry its own |w|; the stabilised T + eta I on top. A filter here is a row of a tensor with two
    or more dimensions, so biases and norm.* get |w| + eta. (The paper's filters are those of convolutions.)"""
    return each(x, lambda n, w: (row_norms(w) if w.ndim >= 2 else w.abs()) + eta)


def T_layers(x):
    """|W| of the whole tensor, for every tensor, no eta. code: mueller-mp/SAM-ON --layerwise, but its eta
    multiplies by an operator slip (|W|(1+eta)) and its biases are left alone unless asked."""
    return each(x, lambda n, w: w.norm())


def filter_noise(x, sigma, z):
    """Filter-wise noise of RWP (Li et al., arXiv 2211.11489): sigma |filter| z. A filter is a row of a
    tensor with two or more dimensions; a 1-d tensor is one filter, so its whole norm counts.
    code: nblt/RWP and nblt/mARWP."""
    return sigma * z * each(x, lambda n, w: row_norms(w) if w.ndim >= 2 else w.norm())


# --- rules: step functions (x, t) -> direction --------------------------------------------------------


def plain():
    return lambda x, t: grad(x, BATCHES[t])


def ascend(offset, ascent=grad):
    """The common shape: eps = offset(ascent gradient at x), d = grad at x + eps on the same batch."""

    def step(x, t):
        batch = BATCHES[t]
        return grad(x + offset(ascent(x, batch), x, t), batch)

    return step


def sam(rho):
    """eps = rho g/|g| (Foret et al., ICLR 2021)."""
    return ascend(lambda g, x, t: sphere(g, rho))


def usam(rho):
    """eps = rho g (Andriushchenko & Flammarion, ICML 2022). code: tml-epfl clips it to the rho-ball, not here."""
    return ascend(lambda g, x, t: rho * g)


def n_sam(rho, normalise=True):
    """Ascent gradient over the whole data set at the current x, descent on the batch
    (Luo et al., NeurIPS 2025)."""
    return ascend(lambda g, x, t: sphere(g, rho) if normalise else rho * g, lambda x, batch: grad(x, WHOLE))


def micro(m, offset, ascent=grad):
    """m-SAM: each micro-batch has its own eps and its own descent gradient; the gradients are averaged
    with the micro-batch lengths as weights (Luo et al., NeurIPS 2025; Foret et al., section 4.1)."""

    def step(x, t):
        parts = micro_batches(BATCHES[t], m)
        gs = [grad(x + offset(ascent(x, part), x, t), part) for part in parts]
        return sum(len(part[1]) / BATCH * g for part, g in zip(parts, gs))

    return step


def reweighted(lam, relative=False):
    """RW-SAM's ascent gradient (Luo et al., NeurIPS 2025): p = softmax(lambda |g_i|), sum_i p_i g_i, with
    exact per-sample norms. relative: the norms are first divided by their mean over the batch. Over a
    micro-batch the softmax and the mean are the micro-batch's."""

    def ascent(x, batch):
        gs = sample_grads(x, batch)
        norms = gs.norm(dim=1)
        if relative:
            norms = norms / norms.mean()
        return torch.softmax(lam * norms, 0) @ gs

    return ascent


def linf(rho):
    """The L-infinity ball: eps = rho sign(g) (Foret et al., the dual norm with p = infinity)."""
    return ascend(lambda g, x, t: rho * g.sign())


def unified(lam, rho):
    """eps = rho (1 - l + l/|g|) g: l = 0 USAM, l = 1 SAM (Oikonomou & Loizou, ICLR 2025; code agrees)."""
    return ascend(lambda g, x, t: rho * (1 - lam + lam / g.norm()) * g)


def sam_pair(x, t, rho):
    """The clean gradient and SAM's."""
    g = grad(x, BATCHES[t])
    return g, grad(x + sphere(g, rho), BATCHES[t])


def surrogate_gap(g, gp, alpha):
    """GSAM (Zhuang et al., ICLR 2022): the CLEAN gradient is split along and across gp, and the unscaled
    part across is subtracted, gp - alpha (g - <g,gp>/|gp|^2 gp). One global decomposition. code agrees."""
    return gp - alpha * (g - (g @ gp) / (gp @ gp) * gp)


def gsam(alpha, rho):
    return lambda x, t: surrogate_gap(*sam_pair(x, t, rho), alpha)


class Friendly:
    """F-SAM (Li et al., CVPR 2024), the paper's order: m <- lambda m + (1 - lambda) g with m = 0 at the
    start (the zero is recalled), then eps = rho v/|v|, v = g - sigma m.
    code: nblt/F-SAM starts with m = g and no subtraction, later subtracts m BEFORE updating it. At
    sigma = 1 the order does not matter (g - m_new = lambda (g - m_old)), the starting value does."""

    def __init__(self, sigma, lam, rho):
        self.sigma, self.lam, self.rho, self.m = sigma, lam, rho, 0.0

    def __call__(self, x, t):
        g = grad(x, BATCHES[t])
        self.m = self.lam * self.m + (1 - self.lam) * g
        return grad(x + sphere(g - self.sigma * self.m, self.rho), BATCHES[t])


class FriendlyCode(Friendly):
    """nblt/F-SAM's order and start, see above."""

    def __call__(self, x, t):
        g = grad(x, BATCHES[t])
        if t == 0:
            v, self.m = g, g
        else:
            v, self.m = g - self.sigma * self.m, self.lam * self.m + (1 - self.lam) * g
        return grad(x + sphere(v, self.rho), BATCHES[t])


class Vasso:
    """VaSSO (Li & Giannakis, NeurIPS 2023): D <- (1 - theta) D + theta g, then eps = rho D/|D|.
    The first D is the first g, as the code has it; the paper's start could not be read."""

    def __init__(self, theta, rho, start_at_zero=False):
        self.theta, self.rho, self.D = theta, rho, 0.0 if start_at_zero else None

    def __call__(self, x, t):
        g = grad(x, BATCHES[t])
        self.D = g if self.D is None else (1 - self.theta) * self.D + self.theta * g
        return grad(x + sphere(self.D, self.rho), BATCHES[t])


class LookSam:
    """LookSAM (Liu et al., CVPR 2022). Steps 0, k, 2k, ...: d = gs = SAM's gradient, and the part of it
    across g is kept, gv = gs - <gs,u>u. Other steps: d = g + alpha |g|/|gv| gv with the kept gv.
    Global norms and products; two of the published codes work per tensor."""

    def __init__(self, k, alpha, rho):
        self.k, self.alpha, self.rho, self.gv = k, alpha, rho, None

    def __call__(self, x, t):
        if t % self.k == 0:
            g, gs = sam_pair(x, t, self.rho)
            u = g / g.norm()
            self.gv = gs - (gs @ u) * u
            assert abs(self.gv @ u) < 1e-14, "LookSAM's kept part is not across g"
            return gs
        g = grad(x, BATCHES[t])
        return g + self.alpha * g.norm() / self.gv.norm() * self.gv


def stable_sam(rho):
    """StableSAM (Tan et al., arXiv 2401.07250): SAM's gradient rescaled to the clean gradient's norm."""

    def step(x, t):
        g, gp = sam_pair(x, t, rho)
        d = g.norm() / gp.norm() * gp
        assert abs(d.norm() - g.norm()) < 1e-14, "StableSAM's direction has another norm"
        return d

    return step


def wsam(gamma, rho):
    """WSAM (Yue et al., KDD 2023), the coupled form: d = g + c (gp - g), c = gamma/(1 - gamma).
    code: dlrover WeightedSAM decouple=False agrees."""

    def step(x, t):
        g, gp = sam_pair(x, t, rho)
        return g + gamma / (1 - gamma) * (gp - g)

    return step


def pgn(alpha, rho):
    """Gradient-norm penalty (Zhao et al., ICML 2022): d = (1 - alpha) g + alpha grad(x + r u), r = rho,
    alpha = penalty/r. code: zhaoyang-0204/gnp agrees."""

    def step(x, t):
        g, gp = sam_pair(x, t, rho)
        return (1 - alpha) * g + alpha * gp

    return step


class MomentumSam:
    """MSAM (Becker et al., arXiv 2401.12033): eps = -rho v/|v|, the MINUS is the paper's and the code's: v
    accumulates gradients, so the point looked at lies ahead along the descent. v <- mu v + d, d being the
    gradient at x + eps, after it was taken; v = 0 at the start gives eps = 0. In the paper v is SGD's own
    buffer and the step is x - lr v; here the rule keeps v and the step is x - lr d."""

    def __init__(self, mu, rho):
        self.mu, self.rho, self.v = mu, rho, torch.zeros_like(X0)

    def __call__(self, x, t):
        eps = -sphere(self.v, self.rho) if t > 0 else torch.zeros_like(x)
        d = grad(x + eps, BATCHES[t])
        self.v = self.mu * self.v + d
        return d


class AeSam:
    """AE-SAM (Jiang et al., ICLR 2023): every step updates mu <- delta mu + (1 - delta)|g|^2, then
    s2 <- delta s2 + (1 - delta)(|g|^2 - mu)^2 with the NEW mu; SAM iff |g|^2 >= mu + c sqrt(s2),
    c = (t/T) lambda1 + (1 - t/T) lambda2; otherwise d = g. Starts mu = 0, s2 = e^-10 (recalled)."""

    def __init__(self, delta, lambda1, lambda2, T, rho):
        self.delta, self.lambda1, self.lambda2, self.T, self.rho = delta, lambda1, lambda2, T, rho
        self.mu, self.s2, self.taken = 0.0, math.exp(-10.0), []

    def __call__(self, x, t):
        g = grad(x, BATCHES[t])
        q = float(g @ g)
        self.mu = self.delta * self.mu + (1 - self.delta) * q
        self.s2 = self.delta * self.s2 + (1 - self.delta) * (q - self.mu) ** 2
        c = t / self.T * self.lambda1 + (1 - t / self.T) * self.lambda2
        margin = q - self.mu - c * math.sqrt(self.s2)
        assert abs(margin) > 0.02 * q, "AE-SAM's decision is too close to call"
        self.taken.append(margin >= 0)
        return grad(x + sphere(g, self.rho), BATCHES[t]) if margin >= 0 else g


def esam(beta, gamma, rho):
    """ESAM (Du et al., ICLR 2022). eps = (rho/beta) mask * g/|g|, the norm over ALL entries; an entry is in
    the mask iff its uniform number < beta. d = mean gradient at x + eps over the floor(gamma b) samples
    whose loss grew most. code: dydjw9/Efficient_SAM masks whole tensors, by not asking for their
    gradient at all, and keeps only the samples strictly above the last one selected."""

    def step(x, t):
        batch = BATCHES[t]
        mask = (NOISE["uniform"][t] < beta).double()
        xp = x + mask / beta * sphere(grad(x, batch), rho)
        growth = losses(xp, batch) - losses(x, batch)
        order = torch.argsort(growth, descending=True)
        k = int(gamma * BATCH)
        assert growth[order[k - 1]] - growth[order[k]] > 1e-6, "ESAM's selection is too close to call"
        return grad(xp, take(batch, sorted(order[:k].tolist())))

    return step


def eigen_sam(alpha, rho):
    """Eigen-SAM (Luo et al., NeurIPS 2024): eps = rho (u + alpha sign(<g,v>)(v - <v,u>u)), not renormalised
    (code: first_step(normalization=False)). v is the eigenvector of the largest |eigenvalue| of the batch's
    Hessian at x, its sign does not matter. code: five power iterations every 100 steps, and the raw g
    as eps/rho before the first of them."""

    def offset(g, x, t):
        values, vectors = torch.linalg.eigh(hessian(x, BATCHES[t]))
        order = torch.argsort(values.abs(), descending=True)
        assert values[order[0]].abs() > 1.1 * values[order[1]].abs(), "two top eigenvalues too close"
        v, u = vectors[:, order[0]], g / g.norm()
        return rho * (u + alpha * (g @ v).sign() * (v - (v @ u) * u))

    return ascend(offset)


def multi_step(K, rho):
    """K ascent steps of radius rho/K, each along the gradient at the point reached; no projection."""

    def step(x, t):
        xp = x
        for _ in range(K):
            xp = xp + sphere(grad(xp, BATCHES[t]), rho / K)
        return grad(xp, BATCHES[t])

    return step


def when(active, rule):
    """The rule on the steps where active(t), the clean gradient on the others."""
    return lambda x, t: rule(x, t) if active(t) else grad(x, BATCHES[t])


def scheduled(rho_at):
    """SAM with rho_t."""
    return ascend(lambda g, x, t: sphere(g, rho_at(t)))


def only(selected, rho):
    """SAM on a part of the parameters: the norm is over that part, eps is zero elsewhere, the descent
    gradient is whole. SAM-ON (Mueller et al., NeurIPS 2023; code agrees)."""
    return ascend(lambda g, x, t: sphere(g * each(x, lambda n, w: float(selected(n))), rho))


def group_factor(name):
    """2 for fc2.*, else 0.5 for *.bias, else 1."""
    return 2.0 if name.startswith("fc2.") else 0.5 if name.endswith(".bias") else 1.0


def is_norm(name):
    return name.startswith("norm.")


def clip(v, c):
    """v min(1, c/|v|), with no 1e-6 in the denominator (torch's clip_grad_norm_ has one)."""
    assert v.norm() > c, "nothing to clip"
    return v * min(1.0, float(c / v.norm()))


def sam_on_gsam(alpha, rho):
    """SAM-ON's eps, then GSAM's split of the whole gradients."""
    selected = each(X0, lambda n, w: float(is_norm(n)))

    def step(x, t):
        g = grad(x, BATCHES[t])
        return surrogate_gap(g, grad(x + sphere(g * selected, rho), BATCHES[t]), alpha)

    return step


def r_sam(sigma, rho, lam):
    """R-SAM (Liu et al., NeurIPS 2022), RECALLED: n = filter-wise noise, gn = grad(x + n),
    eps = rho (n + lam gn)/|n + lam gn|. The final point is x + eps, so the noise is inside the ball."""

    def step(x, t):
        n = filter_noise(x, sigma, NOISE["gaussian"][t])
        return grad(x + sphere(n + lam * grad(x + n, BATCHES[t]), rho), BATCHES[t])

    return step


def r_sam_other(sigma, rho, keep_noise):
    """Two other readings: eps = rho gn/|gn|, added to x or to x + n."""

    def step(x, t):
        n = filter_noise(x, sigma, NOISE["gaussian"][t])
        eps = sphere(grad(x + n, BATCHES[t]), rho)
        return grad(x + eps + (n if keep_noise else 0.0), BATCHES[t])

    return step


# --- running a case --------------------------------------------------------------------------------------


def sgd(lr_at=lambda t: LR):
    """x <- x - lr_t d_t."""
    return lambda x, d, t: x - lr_at(t) * d


def torch_optimizer(make):
    """One of torch's own optimizers on the flat vector (all three in use work entry by entry)."""
    p = torch.nn.Parameter(X0.clone())
    optimizer = make([p])

    def update(x, d, t):
        assert torch.equal(p.data, x)
        p.grad = d.clone()
        optimizer.step()
        return p.data.clone()

    return update


def run(rule, update=None):
    update = update or sgd()
    x, directions = X0.clone(), []
    for t in range(STEPS):
        d = rule(x, t).detach()
        directions.append(d)
        x = update(x, d, t)
    return directions, x


def cases():
    """(name, settings, rule, update or None); random ones only if there is noise. The order is the file's."""
    rho = 0.1
    yield "plain", {}, plain(), None
    yield "sam", {"rho": rho}, sam(rho), None
    yield "usam", {"rho": rho}, usam(rho), None
    yield "n_sam", {"rho": rho}, n_sam(rho), None
    yield "n_usam", {"rho": rho}, n_sam(rho, normalise=False), None
    on_sphere = lambda g, x, t: sphere(g, rho)
    unnormalised = lambda g, x, t: rho * g
    yield "m_sam", {"rho": rho, "m": 2}, micro(2, on_sphere), None
    yield "m_sam_3", {"rho": rho, "m": 3}, micro(3, on_sphere), None
    yield "m_usam", {"rho": rho, "m": 2}, micro(2, unnormalised), None

    yield "rw_sam", {"rho": rho, "lambda": 2.0}, ascend(on_sphere, reweighted(2.0)), None
    yield "rw_usam", {"rho": rho, "lambda": 2.0}, ascend(unnormalised, reweighted(2.0)), None
    relative = {"rho": rho, "lambda": 1.5, "relative": True}
    yield "rw_sam_relative", relative, ascend(on_sphere, reweighted(1.5, relative=True)), None
    yield "m_rw_sam", {"rho": rho, "lambda": 2.0, "m": 4}, micro(4, on_sphere, reweighted(2.0)), None
    adaptive = lambda g, x, t: ellipsoid(g, 0.5, T_elements(x))
    yield "adaptive_rw_sam", {"rho": 0.5, "lambda": 2.0}, ascend(adaptive, reweighted(2.0)), None

    yield "asam_all", {"rho": 0.5}, ascend(adaptive), None
    weights = lambda g, x, t: ellipsoid(g, 0.5, T_weights(x, 0.01))
    yield "asam_weights", {"rho": 0.5, "eta": 0.01}, ascend(weights), None
    filters = lambda g, x, t: ellipsoid(g, 0.5, T_filters(x, 0.01))
    yield "asam_filter", {"rho": 0.5, "eta": 0.01}, ascend(filters), None
    layers = lambda g, x, t: ellipsoid(g, 0.5, T_layers(x))
    yield "asam_layer", {"rho": 0.5}, ascend(layers), None
    yield "linf", {"rho": 0.01}, linf(0.01), None
    yield "unified", {"rho": rho, "l": 0.5}, unified(0.5, rho), None

    yield "gsam", {"rho": rho, "alpha": 0.3}, gsam(0.3, rho), None
    yield "friendly", {"rho": rho, "sigma": 1.0, "lambda": 0.6}, Friendly(1.0, 0.6, rho), None
    yield "vasso", {"rho": rho, "theta": 0.4}, Vasso(0.4, rho), None
    yield "looksam", {"rho": rho, "k": 2, "alpha": 0.7}, LookSam(2, 0.7, rho), None
    yield "stable_sam", {"rho": rho}, stable_sam(rho), None
    yield "wsam", {"rho": rho, "gamma": 0.6}, wsam(0.6, rho), None
    yield "pgn", {"rho": rho, "alpha": 0.3}, pgn(0.3, rho), None
    yield "msam", {"rho": rho, "mu": 0.9}, MomentumSam(0.9, rho), None
    ae = {"delta": 0.9, "lambda1": -1.0, "lambda2": 1.0, "T": 3, "rho": rho}
    yield "ae_sam", ae, AeSam(**ae), None
    if NOISE:
        yield "esam", {"rho": rho, "beta": 0.6, "gamma": 0.5}, esam(0.6, 0.5, rho), None
    yield "eigen_sam", {"rho": rho, "alpha": 0.2}, eigen_sam(0.2, rho), None

    yield "multi_step", {"rho": 0.3, "K": 3}, multi_step(3, 0.3), None
    yield "every_2", {"rho": rho, "every": 2}, when(lambda t: t % 2 == 0, sam(rho)), None
    during = {"rho": rho, "from": 1 / 3, "to": 1.0}  # t/3 in [1/3, 1): steps 1 and 2
    yield "during", during, when(lambda t: 1 / 3 <= t / STEPS < 1.0, sam(rho)), None
    # 0.2, 0.15, 0.05
    cosine = lambda t: 0.2 * 0.5 * (1 + math.cos(math.pi * t / STEPS))
    yield "rho_cosine", {"rho": 0.2}, scheduled(cosine), None
    # linear in the progress t/3 over the first two thirds: none, a half, all of it
    warm_up = lambda t: rho * min(1.0, (t / STEPS) / (2 / 3))
    yield "rho_warm_up", {"rho": rho, "share": 2 / 3}, scheduled(warm_up), None
    factors = [1.0, 0.5, 0.25]
    by_lr = {"rho": 0.2, "lr": LR, "lr_factors": factors}
    yield "rho_by_lr", by_lr, scheduled(lambda t: 0.2 * factors[t]), sgd(lambda t: LR * factors[t])

    yield "sam_on", {"rho": rho}, only(is_norm, rho), None
    yield "without_norm", {"rho": rho}, only(lambda n: not is_norm(n), rho), None
    grouped = lambda g, x, t: sphere(g, rho) * each(x, lambda n, w: group_factor(n))
    factors_by_name = {n: group_factor(n) for n in SHAPES}
    yield "group_rho", {"rho": rho, "factors": factors_by_name}, ascend(grouped), None
    yield "sam_on_gsam", {"rho": rho, "alpha": 0.3}, sam_on_gsam(0.3, rho), None

    decayed = lambda g, x, t: sphere(g + 0.05 * x, rho)
    yield "decay_in_ascent", {"rho": rho, "weight_decay": 0.05}, ascend(decayed), None
    clipped = lambda g, x, t: rho * clip(g, 0.2)
    yield "clipped_ascent", {"rho": rho, "max_norm": 0.2}, ascend(clipped), None
    clipped_descent = lambda x, t: clip(sam(rho)(x, t), 0.2)
    yield "clipped_descent", {"rho": rho, "max_norm": 0.2}, clipped_descent, None

    # The direction is SAM's gradient alone; weight decay and momentum come after it, in the optimizer.
    momentum = {"lr": LR, "momentum": 0.9, "weight_decay": 0.05}
    update = torch_optimizer(lambda p: torch.optim.SGD(p, foreach=False, **momentum))
    yield "sam_sgd_momentum", {"rho": rho, **momentum}, sam(rho), update
    adamw = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1}
    update = torch_optimizer(lambda p: torch.optim.AdamW(p, foreach=False, **adamw))
    yield "sam_adamw", {"rho": rho, **adamw}, sam(rho), update

    if NOISE:
        z = NOISE["gaussian"]
        yield "rwp", {"sigma": 0.01}, lambda x, t: grad(x + 0.01 * z[t], BATCHES[t]), None
        filter_wise = lambda x, t: grad(x + filter_noise(x, 0.05, z[t]), BATCHES[t])
        yield "rwp_filter", {"sigma": 0.05}, filter_wise, None
        yield "r_sam", {"sigma": 0.01, "rho": rho, "lambda": 1.0}, r_sam(0.01, rho, 1.0), None


def alternatives():
    """Other readings and settings that tell orders apart; same shape as a case."""
    rho = 0.1
    friendly = {"rho": rho, "sigma": 1.0, "lambda": 0.6}
    yield "friendly_code", friendly, FriendlyCode(1.0, 0.6, rho), None
    yield "friendly_sigma", {**friendly, "sigma": 0.5}, Friendly(0.5, 0.6, rho), None
    yield "vasso_from_zero", {"rho": rho, "theta": 0.4}, Vasso(0.4, rho, start_at_zero=True), None
    # Thresholds under which some steps are SAM's and some are not.
    ae = {"delta": 0.9, "lambda1": -1.0, "lambda2": 4.0, "T": 3, "rho": rho}
    yield "ae_sam_mixed", ae, AeSam(**ae), None
    if NOISE:
        r = {"sigma": 0.01, "rho": rho}
        yield "r_sam_ascent_only", r, r_sam_other(0.01, rho, keep_noise=False), None
        yield "r_sam_noise_kept", r, r_sam_other(0.01, rho, keep_noise=True), None


# --- checks ------------------------------------------------------------------------------------------------


def close(a, b, tolerance=1e-13):
    return float((a - b).abs().max()) < tolerance


def same(rule_a, rule_b):
    """Two fresh rules give the same three directions and end at the same point."""
    (da, xa), (db, xb) = run(rule_a), run(rule_b)
    return all(close(a, b) for a, b in zip(da, db)) and close(xa, xb)


def check():
    inputs, targets = BATCHES[0]
    p = split(X0)
    h = F.layer_norm(F.linear(inputs, p["fc1.weight"], p["fc1.bias"]), (6,), p["norm.weight"], p["norm.bias"])
    logits = F.linear(torch.tanh(h), p["fc2.weight"], p["fc2.bias"])
    torchs = F.cross_entropy(logits, targets, reduction="none")
    assert close(torchs, losses(X0, BATCHES[0])), "the net is not torch's"

    g, eye = grad(X0, BATCHES[0]), torch.eye(len(X0))
    mean = lambda x: losses(x, BATCHES[0]).mean()
    slope = torch.stack([(mean(X0 + 1e-5 * e) - mean(X0 - 1e-5 * e)) / 2e-5 for e in eye])
    assert close(g, slope, 1e-8), "autograd and differences disagree"
    assert close(sample_grads(X0, BATCHES[0]).mean(0), g), "sample gradients do not average to the gradient"
    assert float(g.abs().min()) > 1e-7, "a sign in linf is too close to call"

    rho = 0.1
    on_sphere = lambda g, x, t: sphere(g, rho)
    by_norm = ascend(lambda g, x, t: sphere(g, rho * g.norm()))
    assert same(usam(rho), by_norm), "USAM is SAM with rho |g|"
    assert same(micro(8, on_sphere), sam(rho)), "m = b is SAM"
    assert same(ascend(on_sphere, reweighted(0.0)), sam(rho)), "RW-SAM at lambda 0 is SAM"
    assert same(gsam(0.0, rho), sam(rho)), "GSAM at alpha 0 is SAM"
    assert same(wsam(0.5, rho), sam(rho)), "WSAM at gamma 1/2 is SAM"
    assert same(pgn(1.0, rho), sam(rho)), "PGN at alpha 1 is SAM"
    assert same(unified(1.0, rho), sam(rho)) and same(unified(0.0, rho), usam(rho)), "unified's ends"
    assert same(Vasso(1.0, rho), sam(rho)), "VaSSO at theta 1 is SAM"
    assert same(Friendly(0.0, 0.6, rho), sam(rho)), "F-SAM at sigma 0 is SAM"
    assert same(LookSam(1, 0.7, rho), sam(rho)), "LookSAM at k 1 is SAM"
    assert same(multi_step(1, rho), sam(rho)), "one ascent step is SAM"
    assert same(eigen_sam(0.0, rho), sam(rho)), "Eigen-SAM at alpha 0 is SAM"
    assert same(only(lambda n: True, rho), sam(rho)), "SAM on all is SAM"
    ones = X0.sign()  # a point where every |w| is 1
    for t in range(STEPS):
        g = grad(ones, BATCHES[t])
        assert close(ellipsoid(g, rho, T_elements(ones)), sphere(g, rho)), "ASAM with |w| = 1 is SAM"
    if NOISE:
        z = NOISE["gaussian"]
        assert all(len(v) == len(X0) for steps in NOISE.values() for v in steps)
        no_noise = r_sam(0.0, rho, 1.0)
        assert same(no_noise, sam(rho)), "R-SAM without noise is SAM"
        assert not close(filter_noise(X0, 0.05, z[0]), 0.05 * z[0], 1e-3)


# --- the file ---------------------------------------------------------------------------------------------------


def named(x):
    return {name: w.reshape(-1).tolist() for name, w in split(x).items()}


def record(rows):
    out = {}
    for name, settings, rule, update in rows:
        directions, final = run(rule, update)
        assert all(torch.isfinite(v).all() for v in [*directions, final]), name
        assert name not in out
        out[name] = {
            "settings": settings,
            "directions": [named(d) for d in directions],
            "final": named(final),
        }
        if isinstance(rule, AeSam):
            print(f"{name}: SAM on the steps {[t for t, taken in enumerate(rule.taken) if taken]}")
    return out


def make_noise():
    """A seeded noise.json: three gaussian and three uniform draws for every parameter."""
    rng = np.random.default_rng(7)
    draws = {"gaussian": lambda shape: rng.standard_normal(shape), "uniform": lambda shape: rng.random(shape)}
    noise = {
        kind: [{n: draw(shape).reshape(-1).tolist() for n, shape in SHAPES.items()} for _ in range(STEPS)]
        for kind, draw in draws.items()
    }
    (HERE / "noise.json").write_text(json.dumps(noise) + "\n")


def main():
    if sys.argv[1:] == ["--make-noise"]:
        return make_noise()
    if sys.argv[1:]:
        sys.exit(__doc__)
    check()
    document = {
        "params": {n: {"shape": list(w.shape), "values": w.reshape(-1).tolist()} for n, w in split(X0).items()},
        "batches": [{"inputs": b[0].tolist(), "targets": b[1].tolist()} for b in BATCHES],
        "cases": record(cases()),
        "alternatives": record(alternatives()),
    }
    if not NOISE:
        print("no noise.json: esam, rwp, rwp_filter and r_sam are left out", file=sys.stderr)
    (HERE / "rules.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
