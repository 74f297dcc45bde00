"""Lion with decoupled weight decay (Chen et al. 2023)."""
import math

KIND = "inner"
CASES = {
    "decay": {"lr": 0.01, "weight_decay": 0.1},
    "quick_moment": {"lr": 0.01, "beta1": 0.5, "beta2": 0.8},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"decay": [0.992107584669, -1.98401594804, 0.476113772315, 2.99600403193]}


class Rule:
    def __init__(self, lr, beta1=0.9, beta2=0.99, weight_decay=0.0):
        self.lr, self.b1, self.b2, self.decay, self.m = lr, beta1, beta2, weight_decay, 0.0

    def step(self, w, g):
        direction = self.b1 * self.m + (1 - self.b1) * g
        self.m = self.b2 * self.m + (1 - self.b2) * g
        sign = 0.0 if direction == 0 else math.copysign(1.0, direction)
        return w * (1 - self.lr * self.decay) - self.lr * sign
