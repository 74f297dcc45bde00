"""Nesterov momentum on the mean delta (DiLoCo, SNOO)."""

KIND = "outer"
CASES = {
    "diloco": {"lr": 0.7, "momentum": 0.9},
    "snoo": {"lr": 0.68, "momentum": 0.37},
    "block_momentum": {"lr": 1.0, "momentum": 0.875},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"diloco": [-0.31534557], "snoo": [0.416247400552], "block_momentum": [-0.807211685181]}


class Rule:
    def __init__(self, lr, momentum):
        self.lr, self.mu, self.velocity = lr, momentum, 0.0

    def step(self, phi, delta):
        self.velocity = self.mu * self.velocity + delta
        return phi - self.lr * (delta + self.mu * self.velocity)
