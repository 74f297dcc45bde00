"""Norm thresholding (Sun et al. 2019) at the median norm of the round: mean of x min(1, M / ||x||)."""
import math
import statistics

CASES = {"clip": {}}


def least():
    return 1


def aggregate(contributions):
    norms = [math.sqrt(sum(x * x for x in c)) for c in contributions]
    bound = statistics.median(norms)
    factors = [min(1.0, bound / norm) if norm else 1.0 for norm in norms]
    return [sum(f * x for f, x in zip(factors, column)) / len(column) for column in zip(*contributions)]
