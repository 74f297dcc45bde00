"""How long a run takes over a link: processor time that was measured, plus bytes over the link's speed.

Every worker has a link of its own, as fast up as down; pushes, pulls and training do not overlap; round trips
and the server's own work take no time, which favours whoever talks to it more often.
"""

from __future__ import annotations

from trial import Point

MEGABITS = (10, 100, 1000)  # per second, in the table
DRAWN = 100  # in the figure


def seconds(point: Point, megabits: float) -> float:
    """From the start of the run to this point."""
    return point.compute_seconds + (point.bytes_sent + point.bytes_received) * 8 / (megabits * 1e6)
