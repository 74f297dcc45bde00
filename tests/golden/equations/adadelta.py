"""Adadelta with L2 weight decay, as torch.optim.Adadelta."""
import math

KIND = "inner"
CASES = {
    "default": {},
    "l2": {"lr": 0.5, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"default": [1.00355826876, -1.99625708317, 0.501197845536, 3.00404673132]}


class Rule:
    def __init__(self, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
        self.lr, self.rho, self.eps, self.decay, self.square, self.delta = lr, rho, eps, weight_decay, 0.0, 0.0

    def step(self, w, g):
        g = g + self.decay * w
        self.square = self.rho * self.square + (1 - self.rho) * g * g
        d = math.sqrt(self.delta + self.eps) / math.sqrt(self.square + self.eps) * g
        self.delta = self.rho * self.delta + (1 - self.rho) * d * d
        return w - self.lr * d
