"""Lookahead with an adaptive step size, where there is no curvature to adapt to: the fixed alpha."""

KIND = "outer"
CASES = {"half": {"alpha": 0.5}, "four_fifths": {"alpha": 0.8, "alpha_low": 0.9}}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"half": [0.725]}


class Rule:
    def __init__(self, alpha, alpha_low=0.2):
        self.alpha = alpha

    def step(self, phi, delta):
        return self.alpha * (phi - delta) + (1 - self.alpha) * phi
