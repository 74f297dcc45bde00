"""How a model's rounds close: the set of pushes that one outer step uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from stepback._rules import RuleSpec


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
    aggregator: Optional[RuleSpec] = None


def _reduction(given: Optional[str], aggregator: Optional[RuleSpec]) -> str:
    """Aggregators need the contributions of a round apart."""
    return given or ("running" if aggregator is None else "ordered")


def sync(
    quorum: int = 1,
    deadline_seconds: float = 0.0,
    *,
    max_staleness: Optional[int] = None,
    reduction: Optional[str] = None,
    accumulate: str = "f32",
    weighting: str = "equal",
    max_workers: int = 64,
    aggregator: Optional[RuleSpec] = None,
) -> Rounds:
    """A round closes when every live worker has contributed, or a quorum ``deadline_seconds`` after the first
    one.

    Args:
        quorum: least contributions that may close a round.
        deadline_seconds: 0 waits for all live workers.
        max_staleness: versions that a push's base may be behind; None is the server's default.
        reduction: ``"running"`` (default) adds up on arrival; ``"ordered"`` (default with an aggregator)
            gives the same bits whatever the arrival order.
        accumulate: precision of the running sum, ``"f32"`` or ``"f64"``.
        weighting: ``"equal"``, or ``"samples"`` by the samples behind each push.
        max_workers: ``"ordered"``: most contributions held at once.
        aggregator: how contributions become one: ``krum()``, ``trimmed_mean()`` and the like bound what a few
            faulty or hostile workers can do; None is the mean. The quorum must suit it (krum: 2 f + 3).

    >>> sync(quorum=2).policy
    'sync'
    >>> from stepback import krum
    >>> sync(quorum=5, aggregator=krum(f=1)).reduction
    'ordered'
    """
    return Rounds(
        policy="sync",
        quorum=quorum,
        deadline_seconds=deadline_seconds,
        max_staleness=max_staleness,
        reduction=_reduction(reduction, aggregator),
        accumulate=accumulate,
        weighting=weighting,
        max_workers=max_workers,
        aggregator=aggregator,
    )


def asynchronous(max_staleness: Optional[int] = None, staleness_exponent: float = 0.0) -> Rounds:
    """Every push applies at once, weighted by (1 + staleness) to the power of -staleness_exponent."""
    return Rounds(policy="async", max_staleness=max_staleness, staleness_exponent=staleness_exponent)


def buffered(
    pushes: int = 10,
    *,
    max_staleness: Optional[int] = None,
    staleness_exponent: float = 0.0,
    reduction: Optional[str] = None,
    weighting: str = "equal",
    aggregator: Optional[RuleSpec] = None,
) -> Rounds:
    """Every ``pushes`` pushes make a round, whoever sent them.

    An aggregator's f then counts pushes, not workers: one worker may send several of a round.
    """
    return Rounds(
        policy="buffered",
        buffer_pushes=pushes,
        max_staleness=max_staleness,
        staleness_exponent=staleness_exponent,
        reduction=_reduction(reduction, aggregator),
        weighting=weighting,
        aggregator=aggregator,
    )
