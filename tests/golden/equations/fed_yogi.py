"""FedYogi (Reddi et al. 2021, algorithm 2): FedAdam whose second moment moves by a share of delta^2."""
import fed_adam

KIND = "outer"
CASES = {
    "published": {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3},
    "shrinking": {"lr": 0.01, "beta1": 0.0, "beta2": 0.5, "tau": 0.2},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"published": [0.657603755047]}


class Rule(fed_adam.Rule):
    def second(self, delta):
        square = delta * delta
        if self.v > square:
            return self.v - (1 - self.b2) * square
        return self.v + (1 - self.b2) * square if self.v < square else self.v
