"""Blockwise model-update filtering with classical block momentum (fairseq's BMUF without Nesterov)."""

KIND = "outer"
CASES = {
    "published": {"lr": 1.0, "momentum": 0.875},
    "half_rate": {"lr": 0.5, "momentum": 0.875},
}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"published": [-0.436813354492]}


class Rule:
    def __init__(self, lr, momentum):
        self.zeta, self.eta, self.smoothed = lr, momentum, 0.0

    def step(self, phi, delta):
        self.smoothed = self.eta * self.smoothed + self.zeta * delta
        return phi - self.smoothed
