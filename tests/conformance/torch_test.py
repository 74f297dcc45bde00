#!/usr/bin/env python3
"""1,000 random steps of sgd, adam and adamw in 20 random configurations against PyTorch.

    torch_test.py PATH_TO_libstepback_kernels_c.so

Our fp32 trajectory may be as far from torch in float64 as torch in float32 is from it, times two (plus 1e-6 of the
weights' RMS), on the same gradients; and one step from equal state ends within 4 ulp of torch in float32, moments
included. The reference loops are tried on the first configurations too; bits are equal anyway (commit_test.cc).
Exits 77 (skipped) where torch cannot be imported.
"""
import ctypes
import sys

try:
    import numpy as np
    import torch
except ImportError as error:
    print(f"SKIPPED: {error} (apt-get install python3-torch python3-numpy)")
    sys.exit(77)

STEPS, COUNT, CONFIGURATIONS, SEED = 1000, 257, 20, 20261123
SLOTS, CARRY = 4, 4
HYPERS = {
    "sgd": ["lr", "momentum", "dampening", "weight_decay", "nesterov"],
    "adam": ["lr", "beta1", "beta2", "eps", "weight_decay", "amsgrad"],
    "adamw": ["lr", "beta1", "beta2", "eps", "weight_decay", "amsgrad"],
}


def random_configuration(rng, rule):
    decay = float(rng.choice([0.0, 10 ** rng.uniform(-4, -1)]))
    lr = float(10 ** rng.uniform(-3, -1))
    if rule == "sgd":
        momentum = float(rng.choice([0.0, rng.uniform(0.5, 0.99)]))
        nesterov = bool(momentum > 0 and rng.random() < 0.5)
        dampening = 0.0 if nesterov else float(rng.choice([0.0, rng.uniform(0, 0.9)]))
        return dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=decay, nesterov=nesterov)
    return dict(lr=lr, betas=(float(rng.uniform(0.5, 0.95)), float(rng.uniform(0.9, 0.9999))),
                eps=float(10 ** rng.uniform(-10, -4)), weight_decay=decay, amsgrad=bool(rng.random() < 0.5))


def hyper_values(rule, configuration):
    named = dict(configuration)
    if "betas" in named:
        named["beta1"], named["beta2"] = named.pop("betas")
    return np.array([float(named[name]) for name in HYPERS[rule]], np.float64)


class Ours:
    """The rule on plain arrays through the library; keeps the state between calls."""

    def __init__(self, library, target, rule, hypers, start):
        self.run_rule, self.target, self.rule, self.hypers = library.stepback_run_rule, target, rule, hypers
        self.weights, self.step_count = start.astype(np.float32).copy(), 0
        self.slots, self.carry = np.zeros((SLOTS, start.size), np.float32), np.ones(CARRY, np.float64)

    def step(self, gradients):
        gradients = np.ascontiguousarray(gradients, np.float32)
        pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
        refused = self.run_rule(
            self.target.encode(), self.rule.encode(), pointer(self.hypers), ctypes.c_size_t(self.hypers.size),
            ctypes.c_int64(self.step_count + 1), ctypes.c_int64(len(gradients)), ctypes.c_size_t(self.weights.size),
            pointer(gradients), pointer(self.weights), pointer(self.slots), pointer(self.carry))
        assert refused == 0, f"{self.rule} on {self.target!r} refused {self.hypers}"
        self.step_count += len(gradients)


class Torch:
    CLASSES = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

    def __init__(self, rule, configuration, start, dtype):
        self.parameter = torch.nn.Parameter(torch.tensor(start, dtype=dtype))
        self.optimizer = self.CLASSES[rule]([self.parameter], **configuration)

    def step(self, gradient):
        self.parameter.grad = torch.tensor(gradient, dtype=self.parameter.dtype)
        self.optimizer.step()

    @property
    def weights(self):
        return self.parameter.detach().numpy().copy()

    def moments(self):
        """The optimizer's state arrays, in the order of our slots."""
        state = self.optimizer.state[self.parameter]
        names = ["momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
        return [state[name].numpy().copy() for name in names if state.get(name) is not None]

    def give_state(self, ours):
        """Puts our slots to what torch holds, so that both take the next step from the same state."""
        for slot, moment in enumerate(self.moments()):
            ours.slots[slot] = moment


def ulps_apart(a, b, unit_of):
    """Distance in units of the last place of `unit_of`."""
    return (np.abs(a.astype(np.float64) - b) / np.spacing(np.abs(unit_of).astype(np.float32))).max()


def check_trajectory(library, target, rule, configuration, start, gradients):
    ours = Ours(library, target, rule, hyper_values(rule, configuration), start)
    ours.step(gradients)
    wide, narrow = (Torch(rule, configuration, start, dtype) for dtype in (torch.float64, torch.float32))
    for gradient in gradients:
        wide.step(gradient)
        narrow.step(gradient)
    off = np.abs(ours.weights - wide.weights).max()
    torch_off = np.abs(narrow.weights - wide.weights).max()
    bound = 2 * torch_off + 1e-6 * np.sqrt(np.mean(wide.weights**2))
    return off, torch_off, bound


def check_one_step(library, rule, configuration, rng, gradients):
    """The farthest of several steps that start from the same state: torch's own moments, and weights in +-[1, 2), which
    no step brings so close to zero that a result would have lost its last places to cancellation. Moments are compared
    too, in the last place of the largest number that entered them."""
    start = rng.choice([-1, 1], COUNT) * rng.uniform(1, 2, COUNT)
    ours = Ours(library, "", rule, hyper_values(rule, configuration), start)
    theirs, farthest = Torch(rule, configuration, start.astype(np.float32), torch.float32), 0.0
    for step, gradient in enumerate(gradients[:200]):
        fresh = (rng.choice([-1, 1], COUNT) * rng.uniform(1, 2, COUNT)).astype(np.float32)
        with torch.no_grad():
            theirs.parameter.copy_(torch.tensor(fresh))
        if step > 0:
            theirs.give_state(ours)
        ours.weights, before = fresh.copy(), ours.slots.copy()
        ours.step(gradient[None])
        theirs.step(gradient)
        farthest = max(farthest, ulps_apart(ours.weights, theirs.weights, theirs.weights))
        for slot, moment in enumerate(theirs.moments()):
            entered = np.maximum(np.maximum(np.abs(before[slot]), np.abs(moment)), np.abs(gradient) if slot == 0 else 0)
            farthest = max(farthest, ulps_apart(ours.slots[slot], moment, entered))
    return farthest


def main():
    library = ctypes.CDLL(sys.argv[1])
    rng = np.random.default_rng(SEED)
    print(f"torch {torch.__version__}, seed {SEED}, {STEPS} steps of {COUNT} parameters")
    failed = 0
    for number in range(CONFIGURATIONS):
        rule = ["sgd", "adam", "adamw"][number % 3]
        configuration = random_configuration(rng, rule)
        start = rng.standard_normal(COUNT).astype(np.float32)
        gradients = rng.standard_normal((STEPS, COUNT)).astype(np.float32)
        targets = ["", "generic"] if number < 3 else [""]
        for target in targets:
            off, torch_off, bound = check_trajectory(library, target, rule, configuration, start, gradients)
            ulps = check_one_step(library, rule, configuration, rng, gradients)
            good = off <= bound and ulps <= 4
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {rule:5} {target or 'best':7} off {off:.2e} (torch fp32 {torch_off:.2e}, "
                  f"bound {bound:.2e}), one step {ulps:.1f} ulp  {configuration}")
    if failed:
        sys.exit(f"{failed} configurations out of bounds")


if __name__ == "__main__":
    main()
