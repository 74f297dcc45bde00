"""Exact moments of SGD and Lookahead on the noisy quadratic model (Zhang et al. 2019, section 3), in float64.

Coordinate i has the loss a (theta - c)^2 / 2 with c ~ N(0, variance): the gradient is a (theta - c), so a
step at rate g multiplies the mean by r = 1 - g a and adds g^2 a^2 variance. Everything is an array over
coordinates. Loss is the part that training can change, sum of a (mean^2 + variance) / 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Tuple

import numpy as np

Array = Any  # of float64


@dataclass(frozen=True)
class Problem:
    """Curvatures a, and the variances of c; every weight starts at ``start``."""

    curvature: Array
    variance: Array
    start: float = 1.0

    @staticmethod
    def of(curvature: Iterable[float], variance: Iterable[float] = (1.0,), start: float = 1.0) -> Problem:
        a = np.asarray(list(curvature), np.float64)
        return Problem(a, np.broadcast_to(np.asarray(list(variance), np.float64), a.shape), start)


@dataclass(frozen=True)
class Setting:
    """Lookahead on SGD: inner rate, share of the outer step, steps between syncs; alpha 1 is SGD alone."""

    rate: float
    alpha: float = 1.0
    period: int = 5


@dataclass(frozen=True)
class Moments:
    """Of one set of weights: mean and variance by coordinate."""

    mean: Array
    variance: Array

    def loss(self, curvature: Array) -> float:
        return float(0.5 * np.sum(curvature * (self.mean**2 + self.variance)))

    def loss_variance(self, curvature: Array) -> float:
        """Of the loss of one replica: the coordinates are independent and normal."""
        by_coordinate = 2 * self.variance**2 + 4 * self.mean**2 * self.variance
        return float(0.25 * np.sum(curvature**2 * by_coordinate))


State = Tuple[Moments, Moments]  # fast and slow weights


def trajectory(problem: Problem, setting: Setting, steps: Iterable[int]) -> Dict[int, State]:
    """Moments after each of these inner steps. At a sync fast and slow weights are equal, and independent
    noise enters after it, so their covariance only shrinks with r until the next."""
    wanted = set(steps)
    r = 1 - setting.rate * problem.curvature
    noise = (setting.rate * problem.curvature) ** 2 * problem.variance
    mean, variance = np.full_like(r, problem.start), np.zeros_like(r)
    slow, covariance = Moments(mean, variance), variance
    found = {0: (slow, slow)} if 0 in wanted else {}
    share = setting.alpha
    for step in range(1, max(wanted) + 1):
        mean, variance, covariance = r * mean, r * r * variance + noise, r * covariance
        if step % setting.period == 0:
            blend = (1 - share) * slow.mean + share * mean
            spread = (1 - share) ** 2 * slow.variance + 2 * share * (1 - share) * covariance
            slow = Moments(blend, spread + share * share * variance)
            mean, variance, covariance = slow.mean, slow.variance, slow.variance
        if step in wanted:
            found[step] = (Moments(mean, variance), slow)
    return found


def sgd_variance(problem: Problem, rate: float) -> Array:
    """Where the variance of SGD ends, for 0 < rate < 2 / a."""
    r = 1 - rate * problem.curvature
    return (rate * problem.curvature) ** 2 * problem.variance / (1 - r * r)


def lookahead_variance(problem: Problem, setting: Setting) -> Array:
    """Proposition 2: where the variance of the slow weights ends. Written without V_SGD, so that it holds
    where SGD diverges: all it needs is |1 - alpha + alpha r^k| < 1."""
    r, k, share = 1 - setting.rate * problem.curvature, setting.period, setting.alpha
    noise = (setting.rate * problem.curvature) ** 2 * problem.variance
    cycle = noise * sum(r ** (2 * i) for i in range(k))
    return share**2 * cycle / (1 - contraction(problem, setting) ** 2)


def contraction(problem: Problem, setting: Setting) -> Array:
    """What one cycle multiplies the mean of the slow weights by; also their correlation from sync to sync."""
    r = 1 - setting.rate * problem.curvature
    return 1 - setting.alpha + setting.alpha * r**setting.period


def final_loss(problem: Problem, setting: Setting) -> float:
    return Moments(0.0, lookahead_variance(problem, setting)).loss(problem.curvature)


def matched_rate(problem: Problem, loss: float) -> float:
    """The rate at which SGD alone ends at ``loss``, by bisection: the final loss rises with the rate."""
    low, high = 0.0, 2 / float(np.max(problem.curvature))
    for _ in range(200):
        middle = (low + high) / 2
        below = Moments(0.0, sgd_variance(problem, middle)).loss(problem.curvature) < loss
        low, high = (middle, high) if below else (low, middle)
    return low


def averaged_variance(weights: Array, variance: float, correlation: float) -> float:
    """Of sum w_j x_j, where x is a stationary AR(1) sequence, as slow weights are from sync to sync."""
    w = np.asarray(weights, np.float64)
    lag = np.abs(np.subtract.outer(np.arange(len(w)), np.arange(len(w))))
    return float(variance * w @ (correlation**lag) @ w)


def mean_variance(count: int, variance: float, correlation: float) -> float:
    """``averaged_variance`` of the mean of ``count``, in closed form."""
    rho, n = correlation, count
    return variance / n * ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (n * (1 - rho) ** 2))


def ema_variance(decay: float, variance: float, correlation: float) -> float:
    """Where the variance of an exponential moving average ends."""
    return variance * (1 - decay) / (1 + decay) * (1 + decay * correlation) / (1 - decay * correlation)
