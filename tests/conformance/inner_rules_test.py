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

from kernels_c import Ours, hyper_values, names_of, np, torch
from inner_draws import DRAWS, TORCH, log_uniform, sometimes, torch_arguments
from inner_references import REFERENCES

STEPS, CONFIGURATIONS, SEED = 50, 200, 20261128
SIZES = [1, 7, 16, 33, 64, 100, 257]


# --- configurations ---


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


def run_ours(library, rule, tensors):
    """Weights and evaluations of every tensor; a missing gradient is a step that is not taken."""
    _, slots = names_of(library, rule)
    eval_slot, weights, evaluations = library.stepback_eval_slot(rule.encode()), [], []
    for tensor in tensors:
        ours = Ours(library, "", rule, hyper_values(library, rule, tensor.hypers), tensor.start)
        for slot, copied in enumerate(slots.values()):
            ours.slots[slot] = tensor.start if copied else 0
        ours.step(tensor.gradients[tensor.present])
        weights.append(ours.weights)
        evaluations.append(ours.weights if eval_slot < 0 else ours.slots[eval_slot])
    return weights, evaluations


def run_torch(rule, tensors, dtype):
    """All tensors in one optimizer, each a parameter group. torch keeps ASGD's rates in the default dtype."""
    torch.set_default_dtype(dtype)
    parameters = [torch.nn.Parameter(torch.tensor(tensor.start, dtype=dtype)) for tensor in tensors]
    groups = [{"params": [p], **torch_arguments(t.hypers)} for t, p in zip(tensors, parameters)]
    optimizer = TORCH[rule](groups, lr=0.1, foreach=False)
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
