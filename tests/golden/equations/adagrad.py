"""Adagrad with a decaying rate and L2 weight decay, as torch.optim.Adagrad."""
import math

KIND = "inner"
CASES = {
    "rate_decay": {"lr": 0.1, "lr_decay": 0.01},
    "initial_value_l2": {"lr": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"rate_decay": [0.989456380067, -1.98224559331, 0.479018509598, 3.08839679784]}


class Rule:
    def __init__(self, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
        self.lr, self.lr_decay, self.decay, self.eps = lr, lr_decay, weight_decay, eps
        self.past, self.sum = 0, initial_accumulator_value

    def step(self, w, g):
        g = g + self.decay * w
        self.sum += g * g
        rate = self.lr / (1 + self.past * self.lr_decay)
        self.past += 1
        return w - rate * g / (math.sqrt(self.sum) + self.eps)
