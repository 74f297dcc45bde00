"""FedAdagrad (Reddi et al. 2021, algorithm 2): the second moment sums delta^2 from v_0 = tau^2."""
import fed_adam

KIND = "outer"
CASES = {
    "published": {"lr": 0.1, "beta1": 0.9, "tau": 1e-3},
    "no_first_moment": {"lr": 0.1, "beta1": 0.0, "tau": 0.1},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"published": [0.964525355368]}


class Rule(fed_adam.Rule):
    def second(self, delta):
        return self.v + delta * delta
