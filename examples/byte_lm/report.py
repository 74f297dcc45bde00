"""The figures of the methods: Markdown tables, which are easy to read as they are."""

from __future__ import annotations

from typing import Any, Dict, List

import link
from model import CONTEXT
from summary import Row, Spread
from sweep import TUNING_SEED, Method
from trial import WORKERS


def results(rows: List[Row]) -> str:
    head = ["", "AdamW rate", "outer rate", "validation loss", "gap to the baseline"]
    head += ["MB up", "MB down", "fewer bytes"]
    body = [
        [
            row.title,
            f"{row.rate:g}",
            f"{row.outer_rate:g}" if row.outer_rate else "",
            spread(row.loss, ".4f"),
            f"{spread(row.gap, '.2f')} %" if index else "",
            f"{row.megabytes_up:,.1f}",
            f"{row.megabytes_down:,.1f}",
            f"{row.fewer_bytes:.1f}x",
        ]
        for index, row in enumerate(rows)
    ]
    return table(head, body)


def times(rows: List[Row]) -> str:
    speeds = link.MEGABITS
    head = ["", "ms of processor per step", *(f"s at {speed:,} Mbit/s" for speed in speeds)]
    body = [
        [row.title, f"{row.compute_milliseconds:.1f}", *(f"{row.seconds[speed]:,.1f}" for speed in speeds)]
        for row in rows
    ]
    return table(head, body)


def tuning(methods: List[Method]) -> str:
    """Every tuning run, in the order in which they ran; the best in bold."""
    body = []
    for method in methods:
        best = min((run.loss for run in method.tuning), default=0.0)
        for run in method.tuning:
            loss = f"**{run.loss:.4f}**" if run.loss == best else f"{run.loss:.4f}"
            outer = f"{run.trial.outer_rate:g}" if run.trial.diloco else ""
            body.append([method.title, f"{run.trial.rate:g}", outer, loss])
    return table(["", "AdamW rate", "outer rate", "validation loss"], body)


def setting(given: Dict[str, Any], methods: List[Method]) -> str:
    """What was trained, on what, and for how long."""
    trial = methods[0].trial
    tuning = [run.trial.steps for method in methods for run in method.tuning]
    body = [
        ["sources", given["corpus"]],
        ["validated on", f"{given['validation_windows']} windows of {CONTEXT} bytes, evenly spaced"],
        ["parameters", f"{given['parameters']:,}"],
        ["a step", f"{WORKERS} workers x {trial.batch} windows x {CONTEXT} bytes"],
        ["a run", f"{trial.steps} steps, {trial.steps * trial.tokens_per_step:,} bytes of text"],
        ["a tuning run", f"{max(tuning)} steps, with seed {TUNING_SEED}" if tuning else "none"],
        ["seeds", ", ".join(str(run.trial.seed) for run in methods[0].runs)],
        *([f"rounds, {one.title}", f"{one.trial.steps // one.trial.sync_every}"] for one in methods),
    ]
    return table(["", ""], body)


def spread(found: Spread, form: str) -> str:
    return f"{found.mean:{form}} ± {found.deviation:{form}}"


def table(head: List[str], body: List[List[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
