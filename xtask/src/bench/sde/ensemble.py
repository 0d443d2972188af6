"""Euler–Maruyama ensembles of the equation of `bench sde`, by one program; prints a line of JSON.

    dX = (X − X³ + K ΔX) dt + σ(X) dW    ΔX_i = X_(i−1) − 2 X_i + X_(i+1) on a ring
    diagonal: σ_i = S √(1 + X_i²)        general: σ = S (I + X Xᵀ/(1 + |X|²)), [d, d]

What is compiled is compiled, and run once, before the clock starts. Only the end of the paths is kept.
"""

import argparse
import json
import math
import os
import resource
import time
import warnings

parser = argparse.ArgumentParser()
parser.add_argument("--program", required=True)
parser.add_argument("--noise", choices=["diagonal", "general"], required=True)
parser.add_argument("--bits", type=int, choices=[32, 64], required=True)
parser.add_argument("--paths", type=int, required=True)
parser.add_argument("--dim", type=int, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--dt", type=float, required=True)
parser.add_argument("--start", type=float, required=True)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

warnings.filterwarnings("ignore")
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
K, S = 0.5, 0.4
general = args.noise == "general"
end = args.steps * args.dt


def with_torch():
    """torchsde, and the same steps as a loop of torch."""
    import torch

    dtype = torch.float64 if args.bits == 64 else torch.float32
    start = torch.full((args.paths, args.dim), args.start, dtype=dtype)
    one = torch.eye(args.dim, dtype=dtype)

    def drift(x):
        return x - x * x * x + K * (torch.roll(x, 1, 1) - 2 * x + torch.roll(x, -1, 1))

    def diffusion(x):
        if general:
            return S * (one + x[:, :, None] * (x / (1 + (x * x).sum(1, keepdim=True)))[:, None, :])
        return S * torch.sqrt(1 + x * x)

    if args.program == "torch loop":

        def run(seed, steps):
            torch.manual_seed(seed)
            x, dt, root = start, args.dt, math.sqrt(args.dt)
            for _ in range(steps):
                dw = root * torch.randn_like(x)
                noise = torch.bmm(diffusion(x), dw[:, :, None])[:, :, 0] if general else diffusion(x) * dw
                x = x + drift(x) * dt + noise
            return x

        versions = f"torch {torch.__version__}"
    else:
        import torchsde

        class Equation(torch.nn.Module):
            sde_type = "ito"
            noise_type = args.noise

            def f(self, t, x):
                return drift(x)

            def g(self, t, x):
                return diffusion(x)

        def run(seed, steps):
            # In float32 many small steps add up to a little less than their sum: half a step more than needed.
            motion = torchsde.BrownianInterval(
                0.0,
                (steps + 0.5) * args.dt,
                size=(args.paths, args.dim),
                dtype=dtype,
                entropy=seed,
                dt=args.dt,
                levy_area_approximation="none",
            )
            times = torch.tensor([0.0, steps * args.dt], dtype=torch.float64)
            return torchsde.sdeint(Equation(), start, times, bm=motion, method="euler", dt=args.dt)[-1]

        versions = f"torchsde {torchsde.__version__}, torch {torch.__version__}"

    def timed(seed, steps):
        with torch.no_grad():
            return run(seed, steps).double().numpy()

    def trial(threads):
        torch.set_num_threads(threads)
        timed(0, 2)
        started = time.perf_counter()
        timed(0, 10)
        return time.perf_counter() - started

    # On a busy machine threads that wait for each other at every op can be slower than one.
    best = min({1, args.threads}, key=trial)
    torch.set_num_threads(best)
    return timed, f"{versions}, {best} threads"


def with_jax():
    """diffrax, and the same steps as a scan of jax; each on every core, as devices of the host."""
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={args.threads}"
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", args.bits == 64)
    dtype = jnp.float64 if args.bits == 64 else jnp.float32
    start = jnp.full((args.dim,), args.start, dtype=dtype)

    def drift(x):
        return x - x * x * x + K * (jnp.roll(x, 1) - 2 * x + jnp.roll(x, -1))

    def diffusion(x):
        if general:
            return S * (jnp.eye(args.dim, dtype=dtype) + jnp.outer(x, x / (1 + (x * x).sum())))
        return S * jnp.sqrt(1 + x * x)

    if args.program == "jax scan":

        def path(key, steps):
            root = math.sqrt(args.dt)

            def step(x, n):
                dw = root * jax.random.normal(jax.random.fold_in(key, n), (args.dim,), dtype)
                noise = diffusion(x) @ dw if general else diffusion(x) * dw
                return x + drift(x) * args.dt + noise, None

            return jax.lax.scan(step, start, jnp.arange(steps))[0]

        versions = f"jax {jax.__version__}"
    else:
        import diffrax
        import lineax

        def sigma(t, x, _):
            return diffusion(x) if general else lineax.DiagonalLinearOperator(diffusion(x))

        def path(key, steps):
            shape = jax.ShapeDtypeStruct((args.dim,), dtype)
            motion = diffrax.UnsafeBrownianPath(shape, key)
            terms = diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, x, _: drift(x)), diffrax.ControlTerm(sigma, motion)
            )
            solution = diffrax.diffeqsolve(
                terms,
                diffrax.Euler(),
                0.0,
                steps * args.dt,
                args.dt,
                start,
                saveat=diffrax.SaveAt(t1=True),
                stepsize_controller=diffrax.ConstantStepSize(),
                adjoint=diffrax.ForwardMode(),
                max_steps=None,
            )
            return solution.ys[0]

        versions = f"diffrax {diffrax.__version__}, jax {jax.__version__}"

    # Vectorised code of jax runs in one thread here, so each core is a device, with a share of the paths.
    devices = args.threads if args.paths % args.threads == 0 else 1
    compiled = jax.pmap(jax.vmap(path, in_axes=(0, None)), in_axes=(0, None), static_broadcasted_argnums=1)

    def timed(seed, steps):
        keys = jax.random.split(jax.random.PRNGKey(seed), args.paths)
        keys = keys.reshape(devices, args.paths // devices, *keys.shape[1:])
        return np.asarray(compiled(keys, steps), dtype=np.float64).reshape(args.paths, args.dim)

    return timed, versions


torches = args.program in ("torchsde", "torch loop")
run, versions = with_torch() if torches else with_jax()
if not torches:
    run(0, args.steps)  # compiles
seconds, busy = [], time.process_time()
for repeat in range(args.repeats):
    started = time.perf_counter()
    x = run(1 + repeat, args.steps)
    seconds.append(time.perf_counter() - started)
busy = time.process_time() - busy
# the first two moments of a component, averaged over the components of each path, with their standard errors
outputs = [x.mean(1), (x * x).mean(1)]
line = {
    "versions": versions,
    "seconds": seconds,
    "cpu_seconds": busy / args.repeats,
    "means": [float(y.mean()) for y in outputs],
    "errors": [float(y.std() / math.sqrt(args.paths)) for y in outputs],
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
print(json.dumps(line), flush=True)
