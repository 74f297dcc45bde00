"""When a worker whose pushes are not finite is thrown out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Quarantine:
    """Use ``quarantine()``."""

    after: Optional[int] = None
    seconds: float = 0.0


def quarantine(after: Optional[int] = None, *, seconds: float = 0.0) -> Quarantine:
    """A worker that sends pushes with a NaN or an infinity loses its session, and rounds do not wait for it.

    Args:
        after: so many in a row at loss scale 1 (20 overflows in a row under loss scaling do as well); 0: never;
            default 3. At most 1000.
        seconds: how long it may not join again (``QuarantinedError``); 0: 60. At most 86400.

    Restoring a snapshot or importing weights forgives everybody.

    >>> quarantine(5, seconds=600)
    Quarantine(after=5, seconds=600.0)
    """
    return Quarantine(after, float(seconds))
