"""Exact moments of a linear scheme with Gaussian noise on one coordinate: momentum, outer momentum. float64.

The state is a vector x. A step is x <- step x + kick n with n ~ N(0, noise), and after every ``period``-th
step x <- sync x; mean and covariance follow. Curvature and the variance of c are numbers here, not arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Optional, Tuple

import numpy as np

Array = Any
POLICIES = ("keep", "reset", "pullback")  # what a sync does to the inner momentum
SLOW, FAST = 0, 1  # the first two entries of the state of ``lookahead``


@dataclass(frozen=True)
class Scheme:
    step: Array
    kick: Array
    noise: float
    start: Array
    sync: Optional[Array] = None
    period: int = 1

    def moments(self, steps: Iterable[int]) -> Dict[int, Tuple[Array, Array]]:
        """Mean vector and covariance matrix after each of these steps."""
        wanted, found = set(steps), {}
        mean, covariance = self.start, np.zeros_like(self.step)
        for count in range(max(wanted) + 1):
            if count in wanted:
                found[count] = (mean, covariance)
            mean, covariance = self._advance(mean, covariance, count + 1)
        return found

    def stationary(self) -> Array:
        """The covariance that a whole cycle leaves as it is: P = A P A' + Q, solved as linear equations."""
        size = len(self.start)
        cycle, added = np.eye(size), np.zeros((size, size))
        for count in range(1, self.period + 1):
            cycle, added = self._cycle(cycle, count), self._advance(self.start, added, count)[1]
        equations = np.eye(size * size) - np.kron(cycle, cycle)
        return np.linalg.solve(equations, added.ravel()).reshape(size, size)

    def _cycle(self, matrix: Array, count: int) -> Array:
        matrix = self.step @ matrix
        return self.sync @ matrix if self.sync is not None and count % self.period == 0 else matrix

    def _advance(self, mean: Array, covariance: Array, count: int) -> Tuple[Array, Array]:
        mean, covariance = self.step @ mean, self.step @ covariance @ self.step.T
        covariance = covariance + self.noise * np.outer(self.kick, self.kick)
        if self.sync is not None and count % self.period == 0:
            mean, covariance = self.sync @ mean, self.sync @ covariance @ self.sync.T
        return mean, covariance


def lookahead(
    curvature: float, rate: float, momentum: float, alpha: float, period: int, policy: str = "keep"
) -> Scheme:
    """Heavy ball inside, m <- momentum m + gradient, theta <- theta - rate m; x = (slow, fast, m, m of the
    last sync). alpha 1 with ``keep`` is heavy ball alone."""
    step = np.array(
        [
            [1, 0, 0, 0],
            [0, 1 - rate * curvature, -rate * momentum, 0],
            [0, curvature, momentum, 0],
            [0, 0, 0, 1],
        ],
        np.float64,
    )
    blend = [1 - alpha, alpha, 0, 0]
    moment = {"keep": [0, 0, 1, 0], "reset": [0] * 4, "pullback": [0, 0, alpha, 1 - alpha]}[policy]
    sync = np.array([blend, blend, moment, moment], np.float64)
    return Scheme(step, np.array([0, -rate, 1.0, 0]), curvature**2, np.array([1.0, 1, 0, 0]), sync, period)


def outer_momentum(
    curvature: float,
    rate: float,
    period: int,
    workers: int,
    lr: float,
    momentum: float,
    nesterov: bool = True,
) -> Scheme:
    """One step is one round: ``workers`` take ``period`` SGD steps each from phi, and the server's momentum b
    takes the mean delta = phi - mean theta = (1 - r^k) phi + noise; x = (phi, b)."""
    r = 1 - rate * curvature
    share = 1 - r**period
    noise = (rate * curvature) ** 2 * sum(r ** (2 * i) for i in range(period)) / workers
    of_delta, of_moment = (1 + momentum, momentum**2) if nesterov else (1.0, momentum)
    step = np.array([[1 - lr * of_delta * share, -lr * of_moment], [share, momentum]])
    return Scheme(step, np.array([-lr * of_delta, 1.0]), noise, np.array([1.0, 0.0]))


def rate_per_step(curvature: Array, rate: Array, momentum: float, alpha: float, period: int) -> Array:
    """Contraction per inner step of Lookahead on heavy ball without noise, momentum kept: the spectral radius
    of one cycle L = diag(alpha, 1) M^k + diag(1 - alpha, 0) to the power 1 / k, with
    M = [[1 - rate a, -rate beta], [a, beta]].

    M has the determinant beta, so M^k = s_k M - beta s_{k-1} 1 with s_{k+1} = (trace M) s_k - beta s_{k-1},
    and det L = alpha beta^k + (1 - alpha) (M^k)_22. Any shapes that broadcast.
    """
    product = np.multiply(curvature, rate)
    before, now = np.zeros_like(product), np.ones_like(product)
    for _ in range(period - 1):
        before, now = now, (1 - product + momentum) * now - momentum * before
    first = now * (1 - product) - momentum * before
    second = now * momentum - momentum * before
    trace = alpha * first + 1 - alpha + second
    determinant = alpha * momentum**period + (1 - alpha) * second
    return spectral_radius(trace, determinant) ** (1 / period)


def spectral_radius(trace: Array, determinant: Array) -> Array:
    """Of 2 x 2 matrices."""
    discriminant = trace**2 / 4 - determinant
    real = np.abs(trace / 2) + np.sqrt(np.maximum(discriminant, 0))
    return np.where(discriminant < 0, np.sqrt(np.abs(determinant)), real)


def tuned_rate(
    eigenvalues: Array, rates: Array, momentum: float, alpha: float, period: int
) -> Tuple[float, float]:
    """The rate of the grid that makes the slowest eigenvalue fastest, and that contraction."""
    worst = rate_per_step(eigenvalues[:, None], rates[None, :], momentum, alpha, period).max(0)
    best = int(np.argmin(worst))
    return float(rates[best]), float(worst[best])
