"""Delayed Nesterov (Liu et al. 2024, algorithm 3): the momentum learns of N deltas at a time."""

KIND = "outer"
CASES = {
    "three_workers": {"lr": 0.7, "momentum": 0.9, "delay": 3},
    "three_workers_spread": {"lr": 0.7, "momentum": 0.9, "delay": 3, "spread": 0.2},
    "one_worker": {"lr": 0.7, "momentum": 0.9, "delay": 1},
    "no_momentum": {"lr": 0.7, "momentum": 0.0, "delay": 2},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {
    "three_workers": [0.718366666667],
    "three_workers_spread": [0.762886666667],
    "one_worker": [-0.31534557],
}


class Rule:
    def __init__(self, lr, momentum, delay, spread=0.0):
        self.lr, self.beta, self.n, self.c = lr, momentum, delay, spread
        self.t, self.m, self.buffer = 0, 0.0, 0.0

    def step(self, phi, delta):
        self.t += 1
        self.buffer += delta
        weight = self.c
        if self.t % self.n == 0:
            self.m = self.beta * self.m + self.buffer / self.n
            self.buffer = 0.0
            weight = 1 - self.c * self.n + self.c
        return phi - self.lr * (weight * self.beta * self.m + delta / self.n)
