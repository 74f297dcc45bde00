"""Blanchard et al. 2017, section 4: s(i) = sum over the n - f - 2 vectors closest to V_i of ||V_i - V_j||^2."""


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b))


def scores(vectors, f):
    closest = max(len(vectors) - f - 2, 1)
    return [sum(sorted(distance(v, w) for j, w in enumerate(vectors) if j != i)[:closest])
            for i, v in enumerate(vectors)]
