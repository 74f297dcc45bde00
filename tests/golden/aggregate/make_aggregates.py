#!/usr/bin/env python3
"""Writes the golden vectors of the aggregators: one <name>.json per equations/<name>.py, computed in float64.

    make_aggregates.py            write the files beside this script
    make_aggregates.py --check    exit 1 when a file differs from what the equations give (run by ctest)

A module of equations/ writes the aggregator a second time, from its paper and not from the C++: CASES ({case: hypers}),
least(**hypers) -> contributions that it needs, and aggregate(contributions, **hypers) -> one list. A golden holds the
contributions (`inputs`) and per case one row for every n: the aggregate of the first n, empty below `least`.
Two of the honest contributions are equal; others are attacks (sign flip, zeros, x1000). Standard library only.
"""
import importlib
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from make_goldens import write_or_check  # noqa: E402

CONTRIBUTIONS, ELEMENTS = 15, 6
TRUTH = [math.sin(1 + j) * (1 + 0.5 * j) for j in range(ELEMENTS)]


def contribution(i):
    honest = [t + 0.2 * math.sin(0.7 * (i + 1) * (j + 2)) for j, t in enumerate(TRUTH)]
    attacks = {3: lambda: [-t for t in honest], 5: lambda: [0.0] * ELEMENTS, 7: lambda: [1000 * t for t in honest],
               8: lambda: contribution(1)}
    return attacks[i]() if i in attacks else honest


def golden(name):
    module = importlib.import_module(name)
    inputs = [contribution(i) for i in range(CONTRIBUTIONS)]
    cases = []
    for case, hypers in module.CASES.items():
        rows = [module.aggregate(inputs[:n], **hypers) if n >= module.least(**hypers) else []
                for n in range(1, CONTRIBUTIONS + 1)]
        cases.append({"case": case, "hypers": hypers, "trajectory": rows})
    return {"rule": name, "kind": "aggregator", "start": [], "inputs": inputs, "cases": cases}


if __name__ == "__main__":
    write_or_check(HERE, golden)
