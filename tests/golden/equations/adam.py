"""Adam with L2 weight decay and the amsgrad flag, as torch.optim.Adam."""
import math

KIND = "inner"
CASES = {
    "default": {"lr": 1e-3},
    "l2": {"lr": 1e-3, "weight_decay": 0.1},
    "amsgrad": {"lr": 1e-3, "beta2": 0.9, "amsgrad": 1},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {
    "default": [0.998039500205, -2.00033809639, 0.499995932536, 3.00208830411],
    "l2": [0.99733454552, -1.99908676821, 0.499754680083, 3.00040195682],
    "amsgrad": [0.998017814979, -2.00034116008, 0.499977748801, 3.00208769968],
}


class Rule:
    decoupled = False

    def __init__(self, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, amsgrad=0):
        self.lr, self.b1, self.b2, self.eps, self.decay, self.amsgrad = lr, beta1, beta2, eps, weight_decay, amsgrad
        self.t, self.m, self.v, self.v_max = 0, 0.0, 0.0, 0.0

    def step(self, w, g):
        self.t += 1
        if self.decoupled:
            w = w * (1 - self.lr * self.decay)
        else:
            g = g + self.decay * w
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g * g
        self.v_max = max(self.v_max, self.v)
        second = self.v_max if self.amsgrad else self.v
        root = math.sqrt(second) / math.sqrt(1 - self.b2**self.t) + self.eps
        return w - self.lr / (1 - self.b1**self.t) * self.m / root
