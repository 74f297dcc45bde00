"""Adafactor on a 2 x 2 matrix, as torch.optim.Adafactor; eps1 is fp32's machine epsilon."""
import math

KIND = "inner"
CASES = {
    "default": {"lr": 0.01},
    "decayed": {"lr": 0.1, "weight_decay": 0.05, "decay_exponent": 0.5},
    "scaled_down": {"lr": 0.1, "d": 0.25},
}
PUBLISHED = {"default": [1.00529798844, -1.96401052493, 0.521141441145, 3.02965672402]}


def rms(values):
    return math.sqrt(sum(x * x for x in values) / len(values))


class TensorRule:
    side = 2

    def __init__(self, count, lr, decay_exponent=0.8, eps1=2.0**-23, eps2=1e-3, d=1.0, weight_decay=0.0):
        assert count == self.side**2
        self.lr, self.exponent, self.eps1, self.eps2, self.d, self.decay = lr, decay_exponent, eps1, eps2, d, weight_decay
        self.t, self.rows, self.columns = 0, [0.0] * self.side, [0.0] * self.side

    def step(self, weights, gradient):
        n = self.side
        self.t += 1
        share = self.t**-self.exponent
        alpha = max(self.eps2, rms(weights)) * min(self.lr, self.t**-0.5)
        for i in range(n):
            row = sum(gradient[n * i + j] ** 2 for j in range(n)) / n
            column = sum(gradient[n * j + i] ** 2 for j in range(n)) / n
            self.rows[i] += share * (row - self.rows[i])
            self.columns[i] += share * (column - self.columns[i])
        mean = max(sum(self.rows) / n, self.eps1)
        second = [self.rows[i // n] * self.columns[i % n] / mean for i in range(n * n)]
        u = [g / math.sqrt(max(v, self.eps1**2)) for g, v in zip(gradient, second)]
        scale = alpha / max(1.0, rms(u) / self.d)
        return [w * (1 - self.lr * self.decay) - scale * x for w, x in zip(weights, u)]
