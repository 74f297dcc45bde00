"""ASGD, as the single-tensor path of torch.optim.ASGD: eta and mu are computed after a step, for the next one."""

KIND = "inner"
CASES = {
    "not_averaging_yet": {"lr": 0.1},
    "averaging": {"lr": 0.1, "lambd": 0.5, "alpha": 0.9, "t0": 2, "weight_decay": 0.1},
    "from_the_start": {"lr": 0.1, "lambd": 0, "t0": 0},
}
PUBLISHED = {}


class Rule:
    def __init__(self, lr, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0):
        self.lr, self.lambd, self.alpha, self.t0, self.decay = lr, lambd, alpha, t0, weight_decay
        self.t, self.eta, self.mu, self.average = 0, lr, 1.0, 0.0

    def step(self, w, g):
        self.t += 1
        g = g + self.decay * w
        w = w * (1 - self.lambd * self.eta)
        w = w - self.eta * g
        self.average = w if self.mu == 1 else self.average + self.mu * (w - self.average)
        self.eta = self.lr / (1 + self.lambd * self.lr * self.t) ** self.alpha
        self.mu = 1 / max(1, self.t - self.t0)
        return w

    @property
    def evaluation(self):
        return self.average
