"""Polyak-Ruppert averaging: the arithmetic mean of all samples from a start on; the sample itself before."""

KIND = "average"
CASES = {"all": {}, "late": {"start": 4.0}}
PUBLISHED = {}


class Rule:
    def __init__(self, start=1):
        self.start, self.sync, self.samples = start, 0, []

    def step(self, _, x):
        self.sync += 1
        if self.sync < self.start:
            return x
        self.samples.append(x)
        return sum(self.samples) / len(self.samples)
