"""RAdam, as torch.optim.RAdam; the default switches to the rectified step at t = 6."""
import math

KIND = "inner"
CASES = {
    "default": {"lr": 1e-3},
    "l2": {"lr": 1e-3, "weight_decay": 0.1, "beta2": 0.9},
    "decoupled": {"lr": 1e-3, "weight_decay": 0.1, "eps": 1e-4, "decoupled_weight_decay": 1},
    "never_rectified": {"lr": 1e-3, "beta2": 0.5},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"default": [0.997561591849, -2.00050047041, 0.501066811537, 3.00230950169]}


class Rule:
    def __init__(self, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled_weight_decay=0):
        self.lr, self.b1, self.b2, self.eps, self.decay = lr, beta1, beta2, eps, weight_decay
        self.decoupled, self.t, self.m, self.v = decoupled_weight_decay, 0, 0.0, 0.0

    def step(self, w, g):
        self.t += 1
        if self.decoupled:
            w = w * (1 - self.lr * self.decay)
        else:
            g = g + self.decay * w
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g * g
        unbiased, power = self.m / (1 - self.b1**self.t), self.b2**self.t
        longest = 2 / (1 - self.b2) - 1
        length = longest - 2 * self.t * power / (1 - power)
        if length <= 5:
            return w - self.lr * unbiased
        r = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        return w - self.lr * unbiased * r * math.sqrt(1 - power) / (math.sqrt(self.v) + self.eps)
