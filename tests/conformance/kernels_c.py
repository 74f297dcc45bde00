"""The kernels through their library for tests (c_api.cc), and PyTorch and NumPy, without which a test is skipped."""
import ctypes
import sys

try:
    import numpy as np
    import torch
except ImportError as error:
    print(f"SKIPPED: {error} (apt-get install python3-torch python3-numpy)")
    sys.exit(77)

SLOTS, CARRY = 4, 4


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


def names_of(library, rule):
    """{hyperparameter: default} and {slot: whether it starts from the weights} of a rule, in its own order."""
    library.stepback_hyper.restype = library.stepback_slot.restype = ctypes.c_char_p
    hypers, slots, value, copied = {}, {}, ctypes.c_double(), ctypes.c_int()
    while name := library.stepback_hyper(rule.encode(), ctypes.c_size_t(len(hypers)), ctypes.byref(value)):
        hypers[name.decode()] = value.value
    while name := library.stepback_slot(rule.encode(), ctypes.c_size_t(len(slots)), ctypes.byref(copied)):
        slots[name.decode()] = bool(copied.value)
    return hypers, slots


def hyper_values(library, rule, hypers):
    """The dense values that the library takes: the named ones, defaults for the rest."""
    defaults, _ = names_of(library, rule)
    assert hypers.keys() <= defaults.keys(), f"{rule} has no {hypers.keys() - defaults.keys()}"
    return np.array(list({**defaults, **hypers}.values()), np.float64)
