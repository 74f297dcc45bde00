"""Heavy-ball momentum on the mean delta (FedAvgM)."""

KIND = "outer"
CASES = {"diloco_rates": {"lr": 0.7, "momentum": 0.9}, "no_momentum": {"lr": 0.5, "momentum": 0.0}}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"diloco_rates": [-0.0337173], "no_momentum": [0.725]}


class Rule:
    def __init__(self, lr, momentum):
        self.lr, self.mu, self.velocity = lr, momentum, 0.0

    def step(self, phi, delta):
        self.velocity = self.mu * self.velocity + delta
        return phi - self.lr * self.velocity
