"""NAdam, as torch.optim.NAdam of 2.x: every mu_t enters the product once."""
import math

KIND = "inner"
CASES = {
    "default": {"lr": 2e-3},
    "l2": {"lr": 2e-3, "weight_decay": 0.1, "beta1": 0.8, "momentum_decay": 0.5},
    "decoupled": {"lr": 2e-3, "weight_decay": 0.1, "decoupled_weight_decay": 1},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"default": [1.00059119074, -1.9991564143, 0.500092529593, 3.00257157327]}


class Rule:
    def __init__(self, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
                 decoupled_weight_decay=0):
        self.lr, self.b1, self.b2, self.eps, self.decay = lr, beta1, beta2, eps, weight_decay
        self.psi, self.decoupled = momentum_decay, decoupled_weight_decay
        self.t, self.m, self.v, self.product = 0, 0.0, 0.0, 1.0

    def mu(self, t):
        return self.b1 * (1 - 0.5 * 0.96 ** (t * self.psi))

    def step(self, w, g):
        self.t += 1
        if self.decoupled:
            w = w * (1 - self.lr * self.decay)
        else:
            g = g + self.decay * w
        now, following = self.mu(self.t), self.mu(self.t + 1)
        self.product *= now
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g * g
        ahead = (1 - now) / (1 - self.product) * g + following / (1 - self.product * following) * self.m
        return w - self.lr * ahead / (math.sqrt(self.v / (1 - self.b2**self.t)) + self.eps)
