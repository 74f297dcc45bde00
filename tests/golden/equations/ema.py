"""Exponential moving average, with Adam's bias correction or started at the initial weights."""

KIND = "average"
CASES = {
    "debiased": {"decay": 0.9},
    "plain": {"decay": 0.9, "debias": 0},
    "slow": {"decay": 0.999},
    "newest": {"decay": 0.0},
    "quick_plain": {"decay": 0.25, "debias": 0},
}
PUBLISHED = {}


class Rule:
    def __init__(self, decay, debias=1):
        self.decay, self.debias, self.sum, self.count = decay, debias, 0.0, 0

    def step(self, average, x):
        if not self.debias:
            return self.decay * average + (1 - self.decay) * x
        self.count += 1
        self.sum = self.decay * self.sum + (1 - self.decay) * x
        return self.sum / (1 - self.decay**self.count)
