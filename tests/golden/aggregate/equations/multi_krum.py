"""Blanchard et al. 2017, m-Krum: the mean of the m vectors with the lowest scores; m = 0 stands for n - f."""
from _krum_scores import scores

CASES = {"all_honest": {"f": 3, "m": 0}, "three_of_them": {"f": 1, "m": 3}, "krum": {"f": 2, "m": 1}}


def least(f, m):
    return max(2 * f + 3, m + f)


def aggregate(contributions, f, m):
    score = scores(contributions, f)
    best = sorted(range(len(score)), key=lambda i: (score[i], i))[:m or len(score) - f]
    return [sum(contributions[i][j] for i in best) / len(best) for j in range(len(contributions[0]))]
