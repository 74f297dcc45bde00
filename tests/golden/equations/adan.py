"""Adan, as the authors' code: betas are one minus the paper's; proximal or decoupled decay."""
import math

KIND = "inner"
CASES = {
    "prox": {"lr": 0.01, "weight_decay": 0.02},
    "no_prox": {"lr": 0.01, "weight_decay": 0.02, "no_prox": 1},
    "other_betas": {"lr": 0.01, "beta1": 0.9, "beta2": 0.5, "beta3": 0.8, "eps": 1e-3},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"prox": [0.991130302852, -1.99298336377, 0.497273187256, 3.00102188]}


class Rule:
    def __init__(self, lr, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8, weight_decay=0.0, no_prox=0):
        self.lr, self.b1, self.b2, self.b3, self.eps = lr, beta1, beta2, beta3, eps
        self.decay, self.no_prox = weight_decay, no_prox
        self.t, self.m, self.v, self.n, self.previous = 0, 0.0, 0.0, 0.0, None

    def step(self, w, g):
        self.t += 1
        d = 0.0 if self.previous is None else g - self.previous
        self.previous = g
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * d
        self.n = self.b3 * self.n + (1 - self.b3) * (g + self.b2 * d) ** 2
        root = math.sqrt(self.n) / math.sqrt(1 - self.b3**self.t) + self.eps
        step = self.m / (1 - self.b1**self.t) + self.b2 * self.v / (1 - self.b2**self.t)
        if self.no_prox:
            return w * (1 - self.lr * self.decay) - self.lr * step / root
        return (w - self.lr * step / root) / (1 + self.lr * self.decay)
