"""FedAsync (Xie et al. 2019): the slow weights move a share alpha towards the pushed weights phi - delta."""

KIND = "outer"
CASES = {"published": {"alpha": 0.6}, "all": {"alpha": 1.0}, "stale": {"alpha": 0.6 * 4**-0.5}}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"all": [0.45]}


class Rule:
    def __init__(self, alpha):
        self.alpha = alpha

    def step(self, phi, delta):
        pushed = phi - delta
        return (1 - self.alpha) * phi + self.alpha * pushed
