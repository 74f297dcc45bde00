"""The quickstart's training job: the same digits three ways, through a server that it starts on loopback.

    export PYTHONPATH=build/release/python
    /usr/bin/python3 examples/quickstart --stepbackd build/release/bin/stepbackd

Ends with status 1 when a run's test accuracy is below 0.95.
"""

from __future__ import annotations

import argparse
import sys
import urllib.request
from pathlib import Path
from typing import List, Optional

import pictures
import report
import runs
import torch
from digits import Digits

from stepback.testing import ServerProcess

ACCURACY_MIN = 0.95


def main(arguments: Optional[List[str]] = None) -> int:
    options = parse(arguments)
    torch.set_num_threads(1)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    with ServerProcess(options.stepbackd, out / "server") as process:
        print(f"stepbackd listens on {process.address}, metrics on {process.metrics_url}\n")
        done = train(process, options.restart_server)
        (out / "metrics.txt").write_bytes(urllib.request.urlopen(process.metrics_url, timeout=10).read())
        metrics_url = process.metrics_url
    print(f"\n{report.table(done)}\n")
    pictures.fast_and_slow(done[1], out / "fast_and_slow.png")
    pictures.comparison(done, out / "comparison.png")
    if options.json:
        report.write_json(done, Path(options.json))
    next_steps(options, out, metrics_url)
    return verdict(done)


def train(process: ServerProcess, restart: bool) -> List[runs.Run]:
    digits = Digits.load()
    with process.connect() as server:
        for model in server.list_models():  # of an earlier quickstart in the same directory
            server.delete_model(model.name)
        return [
            runs.local(digits),
            runs.gradient(digits, server),
            runs.delta(digits, process, server, restart),
        ]


def next_steps(options: argparse.Namespace, out: Path, metrics_url: str) -> None:
    print(f"  {out / 'fast_and_slow.png'}   what a sync does to the test loss")
    print(f"  {out / 'comparison.png'}      the three runs")
    print(f"  {out / 'metrics.txt'}         what {metrics_url} said at the end")
    print("\nNext, with the models that were just trained:")
    binaries = Path(options.stepbackd).parent
    print(f"  {options.stepbackd} --data-dir {out / 'server' / 'models'} &")
    print("  curl http://127.0.0.1:7401/metrics")
    print(f"  {binaries / 'stepback'} model list")
    print(f"  {binaries / 'stepback'} top")
    print(f"  {binaries / 'stepback'} load step --concurrency 2 --duration 5s")


def verdict(done: List[runs.Run]) -> int:
    poor = [run for run in done if not run.accuracy >= ACCURACY_MIN]
    for run in poor:
        print(
            f"error: run '{run.name}' has accuracy {run.accuracy:.3f}, expected {ACCURACY_MIN}",
            file=sys.stderr,
        )
    return 1 if poor else 0


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="quickstart", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--stepbackd", required=True, metavar="PATH", help="the server's program")
    parser.add_argument(
        "--out", default="quickstart-out", metavar="DIR", help="pictures and the server's data"
    )
    parser.add_argument("--json", metavar="FILE", help="write the table's figures there")
    parser.add_argument(
        "--restart-server", action="store_true", help="kill the server in the middle of the last run"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
