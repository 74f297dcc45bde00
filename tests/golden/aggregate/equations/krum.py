"""Blanchard et al. 2017, section 4: the vector with the lowest score; of several, the first."""
from _krum_scores import scores

CASES = {"one_attacker": {"f": 1}, "two_attackers": {"f": 2}, "none": {"f": 0}, "six_attackers": {"f": 6}}


def least(f):
    return 2 * f + 3


def aggregate(contributions, f):
    score = scores(contributions, f)
    return contributions[score.index(min(score))]
