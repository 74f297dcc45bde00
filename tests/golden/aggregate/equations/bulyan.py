"""El Mhamdi et al. 2018, section 4, over Krum: theta = n - 2f vectors, chosen one by one and taken out; then of every
coordinate the mean of the beta = theta - 2f values closest to their median."""
import statistics

from _krum_scores import scores

CASES = {"one_attacker": {"f": 1}, "three_attackers": {"f": 3}, "none": {"f": 0}}


def least(f):
    return 4 * f + 3


def closest_mean(values, count):
    median = statistics.median(values)
    closest = sorted(values, key=lambda value: abs(value - median))[:count]
    return sum(closest) / count


def aggregate(contributions, f):
    received, selected = list(contributions), []
    theta = len(contributions) - 2 * f
    while len(selected) < theta:
        score = scores(received, f) if len(received) > 1 else [0.0]
        selected.append(received.pop(score.index(min(score))))
    return [closest_mean(column, theta - 2 * f) for column in zip(*selected)]
