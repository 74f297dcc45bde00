"""Layer-wise adaptive moments, as NVIDIA apex (mode 1) and timm: the trust ratio is 1 without weight decay."""
import math

KIND = "inner"
CASES = {
    "decayed": {"lr": 0.01, "weight_decay": 0.01},
    "plain": {"lr": 0.01, "weight_decay": 0},
    "always_adapt": {"lr": 0.01, "weight_decay": 0, "always_adapt": 1},
}
PUBLISHED = {"decayed": [0.992006282137, -1.97675306192, 0.533959868375, 3.06725898798]}


def norm(values):
    return math.sqrt(sum(x * x for x in values))


class TensorRule:
    def __init__(self, count, lr, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.01, always_adapt=0):
        self.lr, self.b1, self.b2, self.eps = lr, beta1, beta2, eps
        self.decay, self.adapts = weight_decay, weight_decay != 0 or always_adapt != 0
        self.t, self.m, self.v = 0, [0.0] * count, [0.0] * count

    def step(self, weights, gradient):
        self.t += 1
        self.m = [self.b1 * m + (1 - self.b1) * g for m, g in zip(self.m, gradient)]
        self.v = [self.b2 * v + (1 - self.b2) * g * g for v, g in zip(self.v, gradient)]
        c1, c2 = 1 - self.b1**self.t, 1 - self.b2**self.t
        u = [m / c1 / (math.sqrt(v / c2) + self.eps) + self.decay * w for m, v, w in zip(self.m, self.v, weights)]
        trust = 1.0
        if self.adapts and norm(weights) > 0 and norm(u) > 0:
            trust = norm(weights) / norm(u)
        return [w - self.lr * trust * x for w, x in zip(weights, u)]
