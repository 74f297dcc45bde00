"""How a model's rounds close: the set of pushes that one outer step uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Optional

from stepback._rules import RuleSpec


@dataclass(frozen=True)
class Staleness:
    """How much a push counts by its age; ``staleness()`` makes it. No name: by ``staleness_exponent``."""

    name: str = ""
    values: Mapping[str, float] = field(default_factory=dict)


def staleness(name: str, **values: float) -> Staleness:
    """A staleness weight of the server by name: 1 at staleness 0, falling from there.

    ``constant``; ``polynomial``: (1 + staleness)^-exponent; ``hinge``: 1 up to b versions, then
    1 / (a (staleness - b) + 1); ``exponential``: gamma^staleness. ``delay_compensated`` corrects stale
    gradients instead: g + lambda g g (theta - theta_base), for ``asynchronous`` gradient models.

    >>> staleness("hinge", a=10, b=4)
    Staleness(name='hinge', values={'a': 10.0, 'b': 4.0})
    """
    return Staleness(name, {key: float(value) for key, value in values.items()})


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
    staleness: Staleness = field(default_factory=Staleness)
    grace_seconds: float = 0.0
    grace_factor: float = 0.0
    dynamic_local_steps: bool = False
    aggregator: Optional[RuleSpec] = None
    history_versions: int = 0


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
    grace_seconds: float = 0.0,
    grace_factor: float = 0.0,
    aggregator: Optional[RuleSpec] = None,
) -> Rounds:
    """A round closes when every live worker has contributed, or with a quorum: ``deadline_seconds`` after the
    first contribution, or a grace window after the one that made the quorum.

    Args:
        quorum: least contributions that may close a round.
        deadline_seconds: 0 waits for all live workers.
        max_staleness: versions that a push's base may be behind; None is the server's default.
        reduction: ``"running"`` (default) adds up on arrival; ``"ordered"`` (default with an aggregator)
            gives the same bits whatever the arrival order.
        accumulate: precision of the running sum, ``"f32"`` or ``"f64"``.
        weighting: ``"equal"``, or ``"samples"`` by the samples behind each push.
        max_workers: ``"ordered"``: most contributions held at once.
        grace_seconds: longest wait for the others once the quorum is there; 0: not bounded so.
        grace_factor: the same as a multiple of the time that the quorums of recent rounds took (median), at
            most ``grace_seconds`` where that is set; needs a quorum of at least 2; 0: not adaptive.
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
        grace_seconds=grace_seconds,
        grace_factor=grace_factor,
        aggregator=aggregator,
    )


def asynchronous(
    max_staleness: Optional[int] = None,
    staleness_exponent: float = 0.0,
    *,
    staleness: Optional[Staleness] = None,
    dynamic_local_steps: bool = False,
    history_versions: int = 0,
) -> Rounds:
    """Every push applies at once, weighted by (1 + staleness) to the power of -staleness_exponent.

    Args:
        max_staleness: versions that a push's base may be behind; None: 4 x live workers.
        staleness: another weight than that (``stepback.staleness("hinge")``).
        dynamic_local_steps: the server tells slow workers to run fewer steps (``worker.local_steps``), so
            that all push about as often; needs the model's ``sync_period``.
        history_versions: ``delay_compensated``: how many past versions' weights the server keeps (4 bytes per
            parameter each); pushes from older ones are refused as stale; 0: 8.

    >>> asynchronous(staleness=staleness("exponential", gamma=0.5)).staleness.name
    'exponential'
    """
    return Rounds(
        policy="async",
        max_staleness=max_staleness,
        staleness_exponent=staleness_exponent,
        staleness=staleness or Staleness(),
        dynamic_local_steps=dynamic_local_steps,
        history_versions=history_versions,
    )


def buffered(
    pushes: int = 10,
    *,
    max_staleness: Optional[int] = None,
    staleness_exponent: float = 0.0,
    reduction: Optional[str] = None,
    weighting: str = "equal",
    staleness: Optional[Staleness] = None,
    dynamic_local_steps: bool = False,
    aggregator: Optional[RuleSpec] = None,
) -> Rounds:
    """Every ``pushes`` pushes make a round, whoever sent them; the rest as in ``asynchronous``.

    An aggregator's f then counts pushes, not workers: one worker may send several of a round.
    """
    return Rounds(
        policy="buffered",
        buffer_pushes=pushes,
        max_staleness=max_staleness,
        staleness_exponent=staleness_exponent,
        reduction=_reduction(reduction, aggregator),
        weighting=weighting,
        staleness=staleness or Staleness(),
        dynamic_local_steps=dynamic_local_steps,
        aggregator=aggregator,
    )
