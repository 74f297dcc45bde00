"""Schedule-free AdamW (Defazio et al. 2024): schedule-free SGD with normalised gradients."""
import math

import schedule_free_sgd

KIND = "inner"
CASES = {
    "default": {"lr": 0.01},
    "warmup_decay": {"lr": 0.01, "beta1": 0.7, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1, "warmup_steps": 5,
                     "r": 0.5, "weight_lr_power": 1.5},
}
PUBLISHED = {}


class Rule(schedule_free_sgd.Rule):
    def __init__(self, lr=2.5e-3, beta1=0.9, beta2=0.999, eps=1e-8, **rest):
        super().__init__(lr, beta1, **rest)
        self.b2, self.eps, self.v = beta2, eps, 0.0

    def direction(self, y, g):
        self.v = self.b2 * self.v + (1 - self.b2) * g * g
        return g / (math.sqrt(self.v / (1 - self.b2**self.t)) + self.eps) + self.decay * y
