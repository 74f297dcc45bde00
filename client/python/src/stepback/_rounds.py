"""How a model's rounds close: the set of pushes that one outer step uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Rounds:
    """Use ``sync()``, ``asynchronous()`` or ``buffered()``."""

    policy: str = "sync"
    quorum: int = 1
    deadline_seconds: float = 0.0
    buffer_pushes: int = 10
    max_staleness: Optional[int] = None
    reduction: str = "running"
    accumulate: str = "f32"
    weighting: str = "equal"
    max_workers: int = 64
    staleness_exponent: float = 0.0


def sync(
    quorum: int = 1,
    deadline_seconds: float = 0.0,
    *,
    max_staleness: Optional[int] = None,
    reduction: str = "running",
    accumulate: str = "f32",
    weighting: str = "equal",
    max_workers: int = 64,
) -> Rounds:
    """A round closes when every live worker has contributed, or a quorum ``deadline_seconds`` after the first
    one.

    Args:
        quorum: least contributions that may close a round.
        deadline_seconds: 0 waits for all live workers.
        max_staleness: versions that a push's base may be behind; None is the server's default.
        reduction: ``"running"`` adds up on arrival; ``"ordered"`` gives the same bits whatever the arrival
            order.
        accumulate: precision of the running sum, ``"f32"`` or ``"f64"``.
        weighting: ``"equal"``, or ``"samples"`` by the samples behind each push.
        max_workers: ``"ordered"``: most contributions held at once.

    >>> sync(quorum=2).policy
    'sync'
    """
    return Rounds(
        policy="sync",
        quorum=quorum,
        deadline_seconds=deadline_seconds,
        max_staleness=max_staleness,
        reduction=reduction,
        accumulate=accumulate,
        weighting=weighting,
        max_workers=max_workers,
    )


def asynchronous(max_staleness: Optional[int] = None, staleness_exponent: float = 0.0) -> Rounds:
    """Every push applies at once, weighted by (1 + staleness) to the power of -staleness_exponent."""
    return Rounds(policy="async", max_staleness=max_staleness, staleness_exponent=staleness_exponent)


def buffered(
    pushes: int = 10,
    *,
    max_staleness: Optional[int] = None,
    staleness_exponent: float = 0.0,
    reduction: str = "running",
    weighting: str = "equal",
) -> Rounds:
    """Every ``pushes`` pushes make a round, whoever sent them."""
    return Rounds(
        policy="buffered",
        buffer_pushes=pushes,
        max_staleness=max_staleness,
        staleness_exponent=staleness_exponent,
        reduction=reduction,
        weighting=weighting,
    )
