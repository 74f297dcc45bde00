"""The deviations: a table for people, JSON for scripts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Dict, List

from comparison import Comparison


def worst(found: List[Comparison]) -> Comparison:
    return max(
        found, key=lambda one: math.inf if math.isnan(one.deviation) else abs(one.deviation) / one.band
    )


def spread(found: List[Comparison]) -> float:
    """Root mean square deviation: near 1 where standard errors are what they are taken for."""
    return math.sqrt(sum(one.deviation**2 for one in found) / len(found))


def table(results: Dict[str, List[Comparison]]) -> str:
    head = f"  {'experiment':<13} {'points':>6} {'rms':>5} {'worst':>7} {'band':>5}  {'where':<44}"
    head += f" {'theory':>12} {'server':>12}"
    rows = [head, "  " + "-" * (len(head) - 2)]
    for name, found in results.items():
        one = worst(found)
        where = f"{one.case}, {one.quantity} at {one.x:g}"
        rows.append(
            f"  {name:<13} {len(found):>6} {spread(found):>5.2f} {one.deviation:>+7.2f} {one.band:>5g}  "
            f"{where:<44} {one.expected:>12.6g} {one.measured:>12.6g}"
        )
    return "\n".join(rows)


def lines(found: List[Comparison]) -> str:
    return "\n".join(
        f"  {one.case:<36} {one.quantity:<14} {one.x:>8g} {one.expected:>13.7g} {one.measured:>13.7g} "
        f"{one.deviation:>+7.2f} of {one.band:g}"
        for one in found
    )


def write_json(results: Dict[str, List[Comparison]], path: Path) -> None:
    path.write_text(json.dumps({name: summary(found) for name, found in results.items()}, indent=2) + "\n")


def summary(found: List[Comparison]) -> Dict[str, object]:
    return {
        "comparisons": len(found),
        "outside": sum(not one.inside for one in found),
        "rms_deviation": round(spread(found), 4),
        "worst_deviation": round(abs(worst(found).deviation), 4),
        "band": worst(found).band,
        "points": [{**vars(one), "deviation": round(one.deviation, 4)} for one in found],
    }
