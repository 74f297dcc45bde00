"""RMSProp, plain or centered, with momentum and L2 weight decay, as torch.optim.RMSprop."""
import math

KIND = "inner"
CASES = {
    "plain": {"lr": 0.01},
    "centered_momentum": {"lr": 0.01, "momentum": 0.9, "centered": 1},
    "momentum_l2": {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-4},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {
    "plain": [0.996108754483, -1.97843116438, 0.481870317122, 3.09007214552],
    "centered_momentum": [0.656005272372, -2.08745770803, 0.227910220397, 3.40246031797],
}


class Rule:
    def __init__(self, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=0):
        self.lr, self.alpha, self.eps, self.decay, self.mu, self.centered = (
            lr, alpha, eps, weight_decay, momentum, centered)
        self.square, self.mean, self.buffer = 0.0, 0.0, 0.0

    def step(self, w, g):
        g = g + self.decay * w
        self.square = self.alpha * self.square + (1 - self.alpha) * g * g
        self.mean = self.alpha * self.mean + (1 - self.alpha) * g
        variance = self.square - self.mean**2 if self.centered else self.square
        step = g / (math.sqrt(max(variance, 0.0)) + self.eps)
        if self.mu == 0:
            return w - self.lr * step
        self.buffer = self.mu * self.buffer + step
        return w - self.lr * self.buffer
