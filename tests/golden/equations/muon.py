"""Muon on a 2 x 2 matrix, as torch.optim.Muon, its Newton-Schulz steps in fp64."""
import math

KIND = "inner"
CASES = {
    "default": {"lr": 1e-3},
    "plain": {"lr": 0.1, "nesterov": 0, "weight_decay": 0, "momentum": 0.5},
    "match_rms_adamw": {"lr": 0.1, "match_rms_adamw": 1},
}
PUBLISHED = {"default": [0.998281423084, -1.99662551893, 0.500291816922, 2.99940099289]}
A, B, C = 3.4445, -4.7750, 2.0315


def product(x, y):
    return [x[0] * y[0] + x[1] * y[2], x[0] * y[1] + x[1] * y[3], x[2] * y[0] + x[3] * y[2], x[2] * y[1] + x[3] * y[3]]


class TensorRule:
    def __init__(self, count, lr, momentum=0.95, weight_decay=0.1, nesterov=1, eps=1e-7, ns_steps=5, match_rms_adamw=0):
        assert count == 4
        self.lr, self.momentum, self.decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.eps, self.steps, self.matches = eps, ns_steps, match_rms_adamw
        self.buffer = [0.0] * count

    def orthogonal(self, u):
        norm = max(math.sqrt(sum(x * x for x in u)), self.eps)
        x = [v / norm for v in u]
        for _ in range(self.steps):
            gram = product(x, [x[0], x[2], x[1], x[3]])
            mixed = [B * p + C * q for p, q in zip(gram, product(gram, gram))]
            x = [A * p + q for p, q in zip(x, product(mixed, x))]
        return x

    def step(self, weights, gradient):
        mu = self.momentum
        self.buffer = [mu * b + (1 - mu) * g for b, g in zip(self.buffer, gradient)]
        u = [(1 - mu) * g + mu * b for g, b in zip(gradient, self.buffer)] if self.nesterov else self.buffer
        factor = 0.2 * math.sqrt(2) if self.matches else 1.0
        return [w * (1 - self.lr * self.decay) - self.lr * factor * x for w, x in zip(weights, self.orthogonal(u))]
