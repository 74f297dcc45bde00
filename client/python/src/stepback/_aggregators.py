"""Aggregators: how the contributions of a round become one, for ``sync()`` and ``buffered()``.

The mean follows any single worker anywhere. These bound what a minority of faulty or hostile workers can do,
and need that minority's size, or a bound of it. ``server.list_rules()`` has their bounds;
docs/robust_aggregation.md says which one to take.
"""

from __future__ import annotations

from stepback._rules import RuleSpec, rule


def coordinate_median() -> RuleSpec:
    """Per element the middle value (Yin et al. 2018)."""
    return rule("coordinate_median")


def trimmed_mean(beta: float = 0.2) -> RuleSpec:
    """Per element the mean without the floor(beta n) lowest and highest values (Yin et al. 2018).

    >>> trimmed_mean(0.25).values
    {'beta': 0.25}
    """
    return rule("trimmed_mean", beta=beta)


def krum(f: int = 1) -> RuleSpec:
    """The contribution closest to its n - f - 2 nearest neighbours (Blanchard et al. 2017); n >= 2 f + 3."""
    return rule("krum", f=f)


def multi_krum(f: int = 1, m: int = 0) -> RuleSpec:
    """The mean of the m contributions with the lowest Krum scores; m = 0: n - f (Blanchard et al. 2017)."""
    return rule("multi_krum", f=f, m=m)


def bulyan(f: int = 1) -> RuleSpec:
    """Krum selects n - 2 f, then the mean around their median (El Mhamdi et al. 2018); n >= 4 f + 3."""
    return rule("bulyan", f=f)


def median_norm_clip() -> RuleSpec:
    """The mean of the contributions, those above the median norm scaled down to it (Sun et al. 2019)."""
    return rule("median_norm_clip")
