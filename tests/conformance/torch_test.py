#!/usr/bin/env python3
"""1,000 random steps of the inner rules that PyTorch 1.13 has too, in 24 random configurations.

    torch_test.py PATH_TO_libstepback_kernels_c.so

Our fp32 trajectory may be as far from torch in float64 as torch in float32 is from it, times two (plus 1e-6 of the
weights' RMS), on the same gradients; and one step from equal state ends within 4 ulp of torch in float32, moments
included. The reference loops are tried on the first configurations too; bits are equal anyway (commit_test.cc).
Exits 77 (skipped) where torch cannot be imported.
"""
import ctypes
import sys

from inner_draws import DRAWS, TORCH, log_uniform, sometimes, torch_arguments
from kernels_c import Ours, hyper_values, names_of, np, torch

STEPS, COUNT, CONFIGURATIONS, SEED = 1000, 257, 24, 20261123
LINEAR = ("momentum_buffer", "exp_avg", "grad_avg")  # a gradient enters these as it is
SQUARED = ("acc_delta",)  # a computed step enters these squared, which doubles its distance


class Torch:
    """The rule in torch, whose names for the state arrays are ours."""

    def __init__(self, rule, hypers, start, dtype):
        torch.set_default_dtype(dtype)  # of ASGD's rates
        self.dtype, self.parameter = dtype, torch.nn.Parameter(torch.tensor(start, dtype=dtype))
        self.optimizer = TORCH[rule]([self.parameter], foreach=False, **torch_arguments(hypers))

    def step(self, gradient):
        torch.set_default_dtype(self.dtype)
        self.parameter.grad = torch.tensor(gradient, dtype=self.dtype)
        self.optimizer.step()

    @property
    def weights(self):
        return self.parameter.detach().numpy().copy()

    def moments(self, slots):
        """{index: array} of those of our slots that torch has now."""
        state = self.optimizer.state[self.parameter]
        return {i: state[name].numpy().copy() for i, name in enumerate(slots) if state.get(name) is not None}


def ulps_apart(a, b, unit_of):
    """Distance in units of the last place of `unit_of`."""
    return (np.abs(a.astype(np.float64) - b) / np.spacing(np.abs(unit_of).astype(np.float32))).max()


def check_trajectory(library, target, rule, hypers, start, gradients):
    ours = Ours(library, target, rule, hyper_values(library, rule, hypers), start)
    ours.step(gradients)
    wide, narrow = (Torch(rule, hypers, start, dtype) for dtype in (torch.float64, torch.float32))
    for gradient in gradients:
        wide.step(gradient)
        narrow.step(gradient)
    off = np.abs(ours.weights - wide.weights).max()
    torch_off = np.abs(narrow.weights - wide.weights).max()
    bound = 2 * torch_off + 1e-6 * np.sqrt(np.mean(wide.weights**2))
    return off, torch_off, bound


def check_one_step(library, rule, hypers, rng, gradients):
    """The farthest of several steps that start from the same state: torch's own moments, and weights in +-[1, 2), which
    no step brings so close to zero that a result would have lost its last places to cancellation. Moments are compared
    too, in the last place of the largest number that entered them."""
    start = rng.choice([-1, 1], COUNT) * rng.uniform(1, 2, COUNT)
    ours = Ours(library, "", rule, hyper_values(library, rule, hypers), start)
    theirs, farthest = Torch(rule, hypers, start.astype(np.float32), torch.float32), 0.0
    slots = list(names_of(library, rule)[1])
    for step, gradient in enumerate(gradients[:200]):
        fresh = (rng.choice([-1, 1], COUNT) * rng.uniform(1, 2, COUNT)).astype(np.float32)
        with torch.no_grad():
            theirs.parameter.copy_(torch.tensor(fresh))
        for slot, moment in theirs.moments(slots).items() if step > 0 else ():
            ours.slots[slot] = moment
        ours.weights, before = fresh.copy(), ours.slots.copy()
        ours.step(gradient[None])
        theirs.step(gradient)
        farthest = max(farthest, ulps_apart(ours.weights, theirs.weights, theirs.weights))
        for slot, moment in theirs.moments(slots).items():
            entered = np.maximum(np.abs(before[slot]), np.abs(moment))
            if slots[slot] in LINEAR:
                entered = np.maximum(entered, np.abs(gradient))
            ulps = ulps_apart(ours.slots[slot], moment, entered)
            farthest = max(farthest, ulps / 2 if slots[slot] in SQUARED else ulps)
    return farthest


def main():
    library = ctypes.CDLL(sys.argv[1])
    rng = np.random.default_rng(SEED)
    print(f"torch {torch.__version__}, seed {SEED}, {STEPS} steps of {COUNT} parameters")
    failed = 0
    for number in range(CONFIGURATIONS):
        rule = sorted(TORCH)[number % len(TORCH)]
        hypers = dict(DRAWS[rule](rng), weight_decay=sometimes(rng, lambda: log_uniform(rng, -4, -1)))
        start = rng.standard_normal(COUNT).astype(np.float32)
        gradients = rng.standard_normal((STEPS, COUNT)).astype(np.float32)
        targets = ["", "generic"] if number < len(TORCH) else [""]
        for target in targets:
            off, torch_off, bound = check_trajectory(library, target, rule, hypers, start, gradients)
            ulps = check_one_step(library, rule, hypers, rng, gradients)
            good = off <= bound and ulps <= 4
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {rule:8} {target or 'best':7} off {off:.2e} (torch fp32 "
                  f"{torch_off:.2e}, bound {bound:.2e}), one step {ulps:.1f} ulp  {hypers}", flush=True)
    if failed:
        sys.exit(f"{failed} configurations out of bounds")


if __name__ == "__main__":
    main()
