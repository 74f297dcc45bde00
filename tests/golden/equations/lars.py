"""Layer-wise adaptive rate scaling, as timm.optim.Lars; trust_clip is LARC."""
import math

KIND = "inner"
CASES = {
    "decayed": {"lr": 1.0, "momentum": 0.9, "weight_decay": 1e-4},
    "larc": {"lr": 0.002, "momentum": 0.9, "weight_decay": 0.01, "trust_clip": 1},
    "nesterov": {"lr": 0.5, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": 1},
    "always_adapt": {"lr": 1.0, "momentum": 0.5, "dampening": 0.2, "always_adapt": 1},
    "plain": {"lr": 0.1, "momentum": 0.9},
}
PUBLISHED = {"decayed": [0.999439752734, -1.9998853982, 0.503738639748, 3.01756639731]}


def norm(values):
    return math.sqrt(sum(x * x for x in values))


class TensorRule:
    def __init__(self, count, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=0, trust_coeff=1e-3,
                 eps=1e-8, trust_clip=0, always_adapt=0):
        self.lr, self.momentum, self.dampening, self.decay, self.nesterov = lr, momentum, dampening, weight_decay, nesterov
        self.coeff, self.eps, self.clips, self.always = trust_coeff, eps, trust_clip, always_adapt
        self.buffer = None

    def scaled(self, weights, g):
        if self.decay == 0 and not self.always:
            return g
        trust = 1.0
        if norm(weights) > 0 and norm(g) > 0:
            trust = self.coeff * norm(weights) / (norm(g) + self.decay * norm(weights) + self.eps)
        if self.clips:
            trust = min(trust / self.lr, 1.0)
        return [trust * (x + self.decay * w) for x, w in zip(g, weights)]

    def step(self, weights, gradient):
        g = self.scaled(weights, gradient)
        if self.momentum != 0:
            fresh = self.buffer is None
            self.buffer = g if fresh else [self.momentum * b + (1 - self.dampening) * x for b, x in zip(self.buffer, g)]
            g = [x + self.momentum * b for x, b in zip(g, self.buffer)] if self.nesterov else self.buffer
        return [w - self.lr * x for w, x in zip(weights, g)]
