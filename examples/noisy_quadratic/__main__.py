"""The noisy quadratic model through a server: figures and deviations from the exact theory.

    export PYTHONPATH=build/release/python
    /usr/bin/python3 examples/noisy_quadratic

Ends with status 1 when any point is outside its band (5 standard errors).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import averaging
import condition
import fixed_points
import matched
import momentum
import odd_k
import outer
import report
import spectrum
import transients
from comparison import Comparison
from progress import Progress
from runs import Laboratory

import stepback

EXPERIMENTS = {
    module.__name__: module
    for module in (
        fixed_points,
        transients,
        spectrum,
        matched,
        momentum,
        outer,
        condition,
        averaging,
        odd_k,
    )
}


def main(arguments: Optional[List[str]] = None) -> int:
    options = parse(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    with connect(options.server) as server:
        print(f"The laboratory's server is {server.address}\n")
        results = measure(server, options)
    print(f"\n{report.table(results)}\n")
    for name, found in results.items():
        EXPERIMENTS[name].draw(found, out / f"{name}.png")
        (out / f"{name}.txt").write_text(report.lines(found) + "\n")
        print(f"  {out / name}.png   {(EXPERIMENTS[name].__doc__ or '').strip()}")
    if options.json:
        report.write_json(results, Path(options.json))
    return verdict(results)


@contextlib.contextmanager
def connect(address: Optional[str]) -> Iterator[stepback.Server]:
    """To a server that is there, or to one in this process for as long as it is needed."""
    with contextlib.ExitStack() as stack:
        if address is None:
            address = stack.enter_context(stepback.serve_local()).address
        yield stack.enter_context(stepback.connect(address))


def measure(server: stepback.Server, options: argparse.Namespace) -> Dict[str, List[Comparison]]:
    chosen = options.only or list(EXPERIMENTS)
    progress, results = Progress(len(chosen)), {}
    lab = Laboratory(
        server, "quick" if options.quick else "full" if options.full else "default", progress.tick
    )
    for name in chosen:
        progress.begin(name)
        found = results[name] = EXPERIMENTS[name].measure(lab)
        progress.end(f"{len(found)} points, {sum(not one.inside for one in found)} outside")
    return results


def verdict(results: Dict[str, List[Comparison]]) -> int:
    points = [one for found in results.values() for one in found]
    outside = [one for one in points if not one.inside]
    for one in outside:
        where = f"{one.experiment}: {one.case}, {one.quantity} at {one.x:g}"
        gap = f"{one.deviation:+.2f} (expected within {one.band:g})"
        print(f"error: {where} is {one.measured:.6g}, theory {one.expected:.6g}: {gap}", file=sys.stderr)
    if not outside:
        print(
            f"\nAll {len(points)} points are where the theory has them; each is in a .txt beside its figure."
        )
    return 1 if outside else 0


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="noisy_quadratic", description=(__doc__ or "").split("\n")[0])
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="a few seconds: fewer settings, fewer steps")
    effort.add_argument("--full", action="store_true", help="minutes: all 1000 coordinates, 5000 steps")
    parser.add_argument(
        "--only", nargs="+", choices=list(EXPERIMENTS), metavar="NAME", help=", ".join(EXPERIMENTS)
    )
    parser.add_argument("--server", metavar="ADDRESS", help="default: one in this process")
    parser.add_argument("--out", default="noisy-quadratic-out", metavar="DIR", help="figures and points")
    parser.add_argument("--json", metavar="FILE", help="write all deviations there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except stepback.StepbackError as error:
        sys.exit(f"error: {error}")
