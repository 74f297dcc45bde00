"""Lookahead: the slow weights move a share alpha towards the fast weights phi - delta."""

KIND = "outer"
CASES = {"half": {"alpha": 0.5}, "four_fifths": {"alpha": 0.8}}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"half": [0.725]}


class Rule:
    def __init__(self, alpha):
        self.alpha = alpha

    def step(self, phi, delta):
        return self.alpha * (phi - delta) + (1 - self.alpha) * phi
