"""Stochastic weight averaging: wswa = (wswa n + w) / (n + 1) at the end of every cycle, from a start on."""

KIND = "average"
CASES = {"every_sync": {}, "late": {"start": 3.0}, "cycles": {"start": 2.0, "period": 3.0}, "even": {"period": 2.0}}
PUBLISHED = {}


class Rule:
    def __init__(self, start=1, period=1):
        self.start, self.period, self.sync, self.n = start, period, 0, 0

    def step(self, average, x):
        self.sync += 1
        if self.sync >= self.start and (self.sync - self.start) % self.period == 0:
            average = (average * self.n + x) / (self.n + 1)
            self.n += 1
        return average if self.n > 0 else x
