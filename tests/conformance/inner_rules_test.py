#!/usr/bin/env python3
"""Every inner rule in 200 random configurations of several tensors, 50 steps, against PyTorch or NumPy.

    inner_rules_test.py PATH_TO_libstepback_kernels_c.so

A configuration has two groups with learning rates of their own, the second without weight decay, and tensors that are
missing in some steps: then their state and their counter stay. Where torch 1.13 has the rule's formula, torch.optim is
the oracle (single-tensor paths), else inner_references.py. Our fp32 weights, and the average that evaluators read, may
be as far from the oracle in float64 as the oracle in float32 is from it, times two (plus 1e-6 of their RMS).
Exits 77 (skipped) where torch cannot be imported.
"""
import ctypes
import sys

from torch_test import Ours, np, torch
from inner_references import REFERENCES

STEPS, CONFIGURATIONS, SEED = 50, 200, 20261128
SIZES = [1, 7, 16, 33, 64, 100, 257]


# --- configurations ---


def log_uniform(rng, low, high):
    return float(10 ** rng.uniform(low, high))


def sometimes(rng, draw):
    return float(draw()) if rng.random() < 0.5 else 0.0


def betas(rng, *names):
    return {name: float(rng.uniform(0.5, 0.95) if name == "beta1" else rng.uniform(0.8, 0.9999)) for name in names}


def adaptive(rng, **more):
    return dict(lr=log_uniform(rng, -3, -1), eps=log_uniform(rng, -10, -4), **betas(rng, "beta1", "beta2"), **more)


def averaged(rng, **more):
    return dict(warmup_steps=sometimes(rng, lambda: rng.integers(1, 30)), r=sometimes(rng, lambda: rng.uniform(0, 2)),
                weight_lr_power=float(rng.choice([0.0, 2.0, rng.uniform(0, 3)])), **more)


def sgd(rng):
    momentum = sometimes(rng, lambda: rng.uniform(0.5, 0.99))
    nesterov = float(momentum > 0 and rng.random() < 0.5)
    dampening = 0.0 if nesterov else sometimes(rng, lambda: rng.uniform(0, 0.9))
    return dict(lr=log_uniform(rng, -3, -1), momentum=momentum, dampening=dampening, nesterov=nesterov)


def flag(rng):
    return float(rng.random() < 0.5)


# Hyperparameters but for the decay. The variance of centered rmsprop has to be well conditioned, so alpha is not small.
DRAWS = {
    "adadelta": lambda r: dict(lr=r.uniform(0.1, 2), rho=r.uniform(0.7, 0.99), eps=log_uniform(r, -8, -4)),
    "adagrad": lambda r: dict(lr=log_uniform(r, -3, -1), lr_decay=sometimes(r, lambda: r.uniform(0, 0.1)),
                              initial_accumulator_value=sometimes(r, r.random), eps=log_uniform(r, -10, -4)),
    "adam": lambda r: adaptive(r, amsgrad=flag(r)),
    "adamw": lambda r: adaptive(r, amsgrad=flag(r)),
    "adan": lambda r: adaptive(r, beta3=r.uniform(0.8, 0.999), no_prox=flag(r)),
    "asgd": lambda r: dict(lr=log_uniform(r, -3, -1), lambd=log_uniform(r, -4, -1), alpha=r.uniform(0.3, 1),
                           t0=float(r.choice([0, r.integers(1, 30), 1e6]))),
    "gpa": lambda r: adaptive(r, mu_x=sometimes(r, lambda: r.uniform(0.5, 0.9967)), mu_y=r.uniform(0, 1)),
    "lion": lambda r: dict(lr=log_uniform(r, -4, -2), **betas(r, "beta1", "beta2")),
    "nadam": lambda r: adaptive(r, momentum_decay=log_uniform(r, -3, -1), decoupled_weight_decay=flag(r)),
    "radam": lambda r: {**adaptive(r), "beta2": r.uniform(0.5, 0.9999)},
    "rmsprop": lambda r: dict(lr=log_uniform(r, -3, -1), alpha=r.uniform(0.8, 0.999), eps=log_uniform(r, -8, -4),
                              momentum=sometimes(r, lambda: r.uniform(0.3, 0.95)), centered=flag(r)),
    "schedule_free_adamw": lambda r: averaged(r, **adaptive(r)),
    "schedule_free_sgd": lambda r: averaged(r, lr=log_uniform(r, -2, 0), beta=r.uniform(0.5, 0.95)),
    "sgd": sgd,
}


class Tensor:
    """One tensor of a configuration: its hyperparameters, start, gradients, and the steps in which it is present."""

    def __init__(self, rng, configuration, hypers, scale):
        size = int(rng.choice(SIZES))
        self.configuration, self.hypers = configuration, hypers
        self.start = rng.standard_normal(size).astype(np.float32)
        self.gradients = (scale * rng.standard_normal((STEPS, size))).astype(np.float32)
        self.present = rng.random(STEPS) < 0.8


def draw_tensors(rng, rule):
    tensors = []
    for configuration in range(CONFIGURATIONS):
        hypers, scale = DRAWS[rule](rng), log_uniform(rng, -2, 1)
        decay = sometimes(rng, lambda: log_uniform(rng, -4, -1))
        other = dict(hypers, lr=hypers["lr"] * rng.uniform(0.1, 2), weight_decay=0.0)
        for group in (dict(hypers, weight_decay=decay), other):
            tensors += [Tensor(rng, configuration, group, scale) for _ in range(rng.integers(1, 3))]
    return tensors


# --- the three runs ---


def names_of(library, rule):
    """{hyperparameter: default} and [slot starts from the weights] of a rule, in its own order."""
    library.stepback_hyper.restype = library.stepback_slot.restype = ctypes.c_char_p
    hypers, slots, value, copied = {}, [], ctypes.c_double(), ctypes.c_int()
    while name := library.stepback_hyper(rule.encode(), ctypes.c_size_t(len(hypers)), ctypes.byref(value)):
        hypers[name.decode()] = value.value
    while library.stepback_slot(rule.encode(), ctypes.c_size_t(len(slots)), ctypes.byref(copied)):
        slots.append(bool(copied.value))
    return hypers, slots


def run_ours(library, rule, tensors):
    """Weights and evaluations of every tensor; a missing gradient is a step that is not taken."""
    defaults, slots = names_of(library, rule)
    eval_slot, weights, evaluations = library.stepback_eval_slot(rule.encode()), [], []
    for tensor in tensors:
        assert tensor.hypers.keys() <= defaults.keys(), f"{rule}: {tensor.hypers.keys() - defaults.keys()}"
        ours = Ours(library, "", rule, np.array(list({**defaults, **tensor.hypers}.values())), tensor.start)
        for slot, copied in enumerate(slots):
            ours.slots[slot] = tensor.start if copied else 0
        ours.step(tensor.gradients[tensor.present])
        weights.append(ours.weights)
        evaluations.append(ours.weights if eval_slot < 0 else ours.slots[eval_slot])
    return weights, evaluations


TORCH = {"adadelta": torch.optim.Adadelta, "adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam,
         "adamw": torch.optim.AdamW, "asgd": torch.optim.ASGD, "radam": torch.optim.RAdam,
         "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}


def torch_group(tensor, parameter):
    group = {name: bool(value) if name in ("nesterov", "amsgrad", "centered") else value
             for name, value in tensor.hypers.items()}
    if "beta1" in group:
        group["betas"] = (group.pop("beta1"), group.pop("beta2"))
    return {"params": [parameter], **group}


def run_torch(rule, tensors, dtype):
    """All tensors in one optimizer, each a parameter group. torch keeps ASGD's rates in the default dtype."""
    torch.set_default_dtype(dtype)
    parameters = [torch.nn.Parameter(torch.tensor(tensor.start, dtype=dtype)) for tensor in tensors]
    optimizer = TORCH[rule](map(torch_group, tensors, parameters), lr=0.1, foreach=False)
    for tensor, parameter in zip(tensors, parameters):
        if rule == "adagrad":  # whose state takes the constructor's value, not the group's
            optimizer.state[parameter]["sum"].fill_(tensor.hypers["initial_accumulator_value"])
    for step in range(STEPS):
        for tensor, parameter in zip(tensors, parameters):
            gradient = torch.tensor(tensor.gradients[step], dtype=dtype)
            parameter.grad = gradient if tensor.present[step] else None
        optimizer.step()
    torch.set_default_dtype(torch.float32)
    average = lambda p: optimizer.state[p]["ax"] if rule == "asgd" else p.detach()
    return [p.detach().numpy() for p in parameters], [average(p).numpy() for p in parameters]


def run_numpy(rule, tensors, dtype):
    sizes = [tensor.start.size for tensor in tensors]
    h = {name: np.repeat([t.hypers[name] for t in tensors], sizes) for name in tensors[0].hypers}
    gradients = np.concatenate([tensor.gradients for tensor in tensors], axis=1)
    present = np.repeat([tensor.present for tensor in tensors], sizes, axis=0).T
    reference = REFERENCES[rule](h, np.concatenate([t.start for t in tensors]).astype(np.float64), dtype)
    for step in range(STEPS):
        counter = present[:step + 1].sum(axis=0).astype(np.float64)
        reference.advance(gradients[step], np.maximum(counter, 1), present[step])
    split = lambda array: np.split(array, np.cumsum(sizes)[:-1])
    return split(reference.weights), split(reference.state.get("x", reference.weights))


def keep_signs_clear(tensors):
    """Doubles gradients of lion where rounding would decide the sign of its direction."""
    for tensor in tensors:
        b1, b2, moment = tensor.hypers["beta1"], tensor.hypers["beta2"], np.zeros(tensor.start.size)
        for step in np.flatnonzero(tensor.present):
            gradient = tensor.gradients[step]
            old, new = b1 * moment, (1 - b1) * gradient.astype(np.float64)
            gradient[np.abs(old + new) < 1e-5 * (np.abs(old) + np.abs(new))] *= 2
            moment = b2 * moment + (1 - b2) * gradient.astype(np.float64)


# --- comparison ---


def worst_of(tensors, ours, wide, narrow):
    """The largest ratio of a configuration's error to its bound, and that configuration's first hyperparameters."""
    worst = (0.0, None)
    for configuration in range(CONFIGURATIONS):
        here = [i for i, tensor in enumerate(tensors) if tensor.configuration == configuration]
        x, exact, rounded = (np.concatenate([run[i].astype(np.float64) for i in here]) for run in (ours, wide, narrow))
        bound = 2 * np.abs(rounded - exact).max() + 1e-6 * np.sqrt(np.mean(exact**2))
        ratio = np.abs(x - exact).max() / bound
        worst = max(worst, (ratio if ratio == ratio else np.inf, tensors[here[0]].hypers), key=lambda pair: pair[0])
    return worst


def check(library, rule):
    rng = np.random.default_rng([SEED, *rule.encode()])
    tensors = draw_tensors(rng, rule)
    if rule == "lion":
        keep_signs_clear(tensors)
    run, types = (run_torch, (torch.float64, torch.float32)) if rule in TORCH else (run_numpy, (np.float64, np.float32))
    ours, (wide, narrow) = run_ours(library, rule, tensors), (run(rule, tensors, dtype) for dtype in types)
    good, views = True, ("weights", "evaluations") if library.stepback_eval_slot(rule.encode()) >= 0 else ("weights",)
    for what, *arrays in zip(views, ours, wide, narrow):
        ratio, hypers = worst_of(tensors, *arrays)
        good &= ratio <= 1
        print(f"{'ok  ' if ratio <= 1 else 'FAIL'} {rule:19} {what:11} at most {ratio:.2f} of the bound"
              f"{'' if ratio <= 1 else f', {hypers}'}", flush=True)
    return good


def main():
    library = ctypes.CDLL(sys.argv[1])
    print(f"torch {torch.__version__}, seed {SEED}, {CONFIGURATIONS} configurations a rule, {STEPS} steps")
    failed = [rule for rule in sorted(DRAWS) if not check(library, rule)]
    if failed:
        sys.exit("out of bounds: " + ", ".join(failed))


if __name__ == "__main__":
    main()
