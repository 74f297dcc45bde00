"""SlowMo (Wang et al. 2020, algorithm 1): slow momentum in units of the inner learning rate."""

KIND = "outer"
CASES = {
    "published": {"lr": 1.0, "momentum": 0.5, "inner_lr": 0.1},
    "half_rate": {"lr": 0.5, "momentum": 0.8, "inner_lr": 3.0},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"published": [0.040625]}


class Rule:
    def __init__(self, lr, momentum, inner_lr):
        self.alpha, self.beta, self.gamma, self.u = lr, momentum, inner_lr, 0.0

    def step(self, phi, delta):
        self.u = self.beta * self.u + delta / self.gamma
        return phi - self.alpha * self.gamma * self.u
