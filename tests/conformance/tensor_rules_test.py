#!/usr/bin/env python3
"""Random configurations of the rules that look at whole tensors against their equations in NumPy.

    tensor_rules_test.py PATH_TO_libstepback_kernels_c.so

lamb and lars: 200 configurations of 50 steps. adafactor: 60 of 20 steps over vectors, matrices, stacks of matrices,
single rows and columns. Our fp32 trajectory may be as far from the equations in float64 as the same equations in
float32 are, times two, plus 1e-6 of the weights' RMS. muon: 40 matrices, 8 steps each from equal state; the direction
of every step has a cosine of at least 0.99 with the one of float64 (0.9999 is seen) and its length is within 1 %.
Every configuration runs on the best target and on the reference loops, which must agree bit for bit.
Exits 77 (skipped) where NumPy cannot be imported.
"""
import ctypes
import sys

try:
    import numpy as np
except ImportError as error:
    print(f"SKIPPED: {error} (apt-get install python3-numpy)")
    sys.exit(77)

SEED, SLOTS, CARRY = 20261128, 4, 4
HYPERS = {
    "lamb": ["lr", "beta1", "beta2", "eps", "weight_decay", "always_adapt"],
    "lars": ["lr", "momentum", "dampening", "weight_decay", "nesterov", "trust_coeff", "eps", "trust_clip",
             "always_adapt"],
    "adafactor": ["lr", "decay_exponent", "eps1", "eps2", "d", "weight_decay"],
    "muon": ["lr", "momentum", "weight_decay", "nesterov", "eps", "ns_steps", "match_rms_adamw"],
}


class Ours:
    def __init__(self, library, target, rule, configuration, start):
        self.run, self.target, self.rule = library.stepback_run_shaped, target, rule
        self.hypers = np.array([configuration[name] for name in HYPERS[rule]], np.float64)
        self.weights, self.t = np.ascontiguousarray(start, np.float32).copy(), 0
        self.dims = np.array(start.shape, np.uint64)
        self.slots, self.carry = np.zeros((SLOTS, start.size), np.float32), np.ones(CARRY, np.float64)

    def step(self, gradients):
        gradients = np.ascontiguousarray(gradients, np.float32)
        pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
        refused = self.run(
            self.target.encode(), self.rule.encode(), pointer(self.hypers), ctypes.c_size_t(self.hypers.size),
            ctypes.c_int64(self.t + 1), ctypes.c_int64(len(gradients)), pointer(self.dims),
            ctypes.c_size_t(self.dims.size), pointer(gradients), pointer(self.weights), pointer(self.slots),
            pointer(self.carry))
        assert refused == 0, f"{self.rule} refused {self.hypers} for shape {self.dims}"
        self.t += len(gradients)


# --- the equations, in the precision of their arrays ---


class Lamb:
    def __init__(self, weights, c):
        self.w, self.c, self.t = weights, c, 0
        self.m, self.v = np.zeros_like(weights), np.zeros_like(weights)

    def step(self, g):
        c, real = self.c, self.w.dtype.type
        self.t += 1
        self.m = real(c["beta1"]) * self.m + real(1 - c["beta1"]) * g
        self.v = real(c["beta2"]) * self.v + real(1 - c["beta2"]) * g * g
        mean = self.m / real(1 - c["beta1"] ** self.t)
        u = mean / (np.sqrt(self.v / real(1 - c["beta2"] ** self.t)) + real(c["eps"])) + real(c["weight_decay"]) * self.w
        trust = real(1)
        if c["weight_decay"] != 0 or c["always_adapt"]:
            of_weights, of_update = np.linalg.norm(self.w), np.linalg.norm(u)
            trust = of_weights / of_update if of_weights > 0 and of_update > 0 else real(1)
        self.w = self.w - real(c["lr"]) * trust * u


class Lars:
    def __init__(self, weights, c):
        self.w, self.c, self.b = weights, c, None

    def step(self, g):
        c, real = self.c, self.w.dtype.type
        if c["weight_decay"] != 0 or c["always_adapt"]:
            of_weights, of_gradient = np.linalg.norm(self.w), np.linalg.norm(g)
            trust = real(1)
            if of_weights > 0 and of_gradient > 0:
                divisor = of_gradient + real(c["weight_decay"]) * of_weights + real(c["eps"])
                trust = real(c["trust_coeff"]) * of_weights / divisor
            if c["trust_clip"]:
                trust = min(trust / real(c["lr"]), real(1))
            g = trust * (g + real(c["weight_decay"]) * self.w)
        if c["momentum"] != 0:
            first = self.b is None
            self.b = g if first else real(c["momentum"]) * self.b + real(1 - c["dampening"]) * g
            g = g + real(c["momentum"]) * self.b if c["nesterov"] else self.b
        self.w = self.w - real(c["lr"]) * g


class Adafactor:
    def __init__(self, weights, c):
        self.w, self.c, self.t = weights, c, 0
        self.row = np.zeros(weights.shape[:-1] + (1,), weights.dtype)
        self.column = np.zeros(weights.shape[:-2] + (1,) + weights.shape[-1:], weights.dtype)
        self.v = np.zeros_like(weights)

    def second_moments(self, g, share):
        if g.ndim < 2:
            self.v = self.v + share * (g * g - self.v)
            return self.v
        self.row = self.row + share * ((g * g).mean(axis=-1, keepdims=True) - self.row)
        self.column = self.column + share * ((g * g).mean(axis=-2, keepdims=True) - self.column)
        return self.row * self.column / np.maximum(self.row.mean(axis=-2, keepdims=True), g.dtype.type(self.c["eps1"]))

    def step(self, g):
        c, real = self.c, self.w.dtype.type
        self.t += 1
        rms = lambda x: np.sqrt(np.mean(x * x))
        alpha = max(real(c["eps2"]), rms(self.w)) * real(min(c["lr"], self.t**-0.5))
        v = self.second_moments(g, real(self.t ** -c["decay_exponent"]))
        u = g / np.sqrt(np.maximum(v, real(c["eps1"] ** 2)))
        scale = alpha / max(real(1), rms(u) / real(c["d"]))
        self.w = self.w * real(1 - c["lr"] * c["weight_decay"]) - scale * u


def muon_direction(u, c):
    """The orthogonalised matrix in float64, times the factor of its shape."""
    rows, cols = u.shape
    x = u.T if rows > cols else u
    x = x / max(np.linalg.norm(x), c["eps"])
    for _ in range(int(c["ns_steps"])):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    factor = 0.2 * max(rows, cols) ** 0.5 if c["match_rms_adamw"] else max(1, rows / cols) ** 0.5
    return factor * (x.T if rows > cols else x)


# --- configurations ---


def decay_of(rng):
    return float(rng.choice([0.0, 10 ** rng.uniform(-4, -1)]))


def flag(rng):
    return float(rng.random() < 0.5)


def lamb_configuration(rng):
    return dict(lr=10 ** rng.uniform(-3, -1.5), beta1=rng.uniform(0.5, 0.95), beta2=rng.uniform(0.9, 0.9999),
                eps=10 ** rng.uniform(-8, -4), weight_decay=decay_of(rng), always_adapt=flag(rng))


def lars_configuration(rng):
    momentum = float(rng.choice([0.0, rng.uniform(0.5, 0.95)]))
    nesterov = flag(rng)
    dampening = 0.0 if nesterov else float(rng.choice([0.0, rng.uniform(0, 0.9)]))
    return dict(lr=10 ** rng.uniform(-2, 0), momentum=momentum, dampening=dampening, weight_decay=decay_of(rng),
                nesterov=nesterov, trust_coeff=10 ** rng.uniform(-3, -2), eps=10 ** rng.uniform(-10, -4),
                trust_clip=flag(rng), always_adapt=flag(rng))


def adafactor_configuration(rng):
    return dict(lr=10 ** rng.uniform(-3, -1), decay_exponent=rng.uniform(0.5, 0.9), eps1=2.0**-23,
                eps2=10 ** rng.uniform(-4, -2), d=rng.uniform(0.3, 2), weight_decay=decay_of(rng))


def muon_configuration(rng):
    return dict(lr=10 ** rng.uniform(-2, -1), momentum=rng.uniform(0.5, 0.98), weight_decay=decay_of(rng),
                nesterov=flag(rng), eps=1e-7, ns_steps=5.0, match_rms_adamw=flag(rng))


def check_trajectory(library, rule, equations, configuration, shape, steps, rng):
    start = rng.standard_normal(shape).astype(np.float32)
    size = np.float32(10 ** rng.uniform(-3, 2))
    gradients = size * rng.standard_normal((steps,) + shape).astype(np.float32)
    ours, plain = (Ours(library, target, rule, configuration, start) for target in ("", "generic"))
    ours.step(gradients)
    plain.step(gradients)
    wide, narrow = equations(start.astype(np.float64), configuration), equations(start, configuration)
    for gradient in gradients:
        wide.step(gradient.astype(np.float64))
        narrow.step(gradient)
    off, narrow_off = np.abs(ours.weights - wide.w).max(), np.abs(narrow.w - wide.w).max()
    bound = 2 * narrow_off + 1e-6 * np.sqrt(np.mean(wide.w**2))
    same = np.array_equal(ours.weights, plain.weights)
    moved = np.abs(wide.w - start).max() > 10 * bound
    return off <= bound and same and moved, f"off {off:.2e}, bound {bound:.2e}, targets agree: {same}, moved: {moved}"


def check_muon(library, configuration, shape, rng):
    start = rng.standard_normal(shape).astype(np.float32)
    ours, plain = (Ours(library, target, "muon", configuration, start) for target in ("", "generic"))
    worst, length_off, same = 1.0, 0.0, True
    for _ in range(8):
        # Low rank plus noise: singular values over three orders of magnitude.
        low = rng.standard_normal((shape[0], 2)) @ rng.standard_normal((2, shape[1]))
        gradient = (low + 1e-2 * rng.standard_normal(shape)).astype(np.float32)
        buffer = ours.slots[0].reshape(shape).astype(np.float64)
        before = ours.weights.astype(np.float64)
        ours.step(gradient[None])
        plain.step(gradient[None])
        mu = configuration["momentum"]
        buffer = mu * buffer + (1 - mu) * gradient
        u = (1 - mu) * gradient + mu * buffer if configuration["nesterov"] else buffer
        expected = muon_direction(u, configuration)
        lr = configuration["lr"]
        got = (before * (1 - lr * configuration["weight_decay"]) - ours.weights) / lr
        worst = min(worst, (got * expected).sum() / np.linalg.norm(got) / np.linalg.norm(expected))
        length_off = max(length_off, abs(np.linalg.norm(got) / np.linalg.norm(expected) - 1))
        same = same and np.array_equal(ours.weights, plain.weights)
    return worst >= 0.99 and length_off < 0.01 and same, f"cosine {worst:.7f}, length off {length_off:.1e}, targets agree: {same}"


SHAPES = [(257,), (64, 33), (5, 7, 9), (1, 40), (40, 1), (3, 1, 20), (1030, 4), (2, 2)]
MATRICES = [(16, 48), (48, 16), (33, 33), (1, 20), (130, 70), (5, 300)]


def main():
    library = ctypes.CDLL(sys.argv[1])
    rng = np.random.default_rng(SEED)
    print(f"numpy {np.__version__}, seed {SEED}")
    failed = 0

    def report(good, rule, what, configuration):
        nonlocal failed
        failed += not good
        if not good:
            print(f"FAIL {rule} {what}  {configuration}")

    for number in range(200):
        rule, equations, make = [("lamb", Lamb, lamb_configuration), ("lars", Lars, lars_configuration)][number % 2]
        configuration = make(rng)
        good, what = check_trajectory(library, rule, equations, configuration, (1357,), 50, rng)
        report(good, rule, what, configuration)
    for number in range(60):
        configuration, shape = adafactor_configuration(rng), SHAPES[number % len(SHAPES)]
        good, what = check_trajectory(library, "adafactor", Adafactor, configuration, shape, 20, rng)
        report(good, f"adafactor {shape}", what, configuration)
    for number in range(40):
        configuration, shape = muon_configuration(rng), MATRICES[number % len(MATRICES)]
        good, what = check_muon(library, configuration, shape, rng)
        report(good, f"muon {shape}", what, configuration)
        if number < len(MATRICES):
            print(f"muon {shape}: {what}")
    if failed:
        sys.exit(f"{failed} configurations out of bounds")
    print("300 configurations within bounds")


if __name__ == "__main__":
    main()
