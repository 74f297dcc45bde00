"""A byte-level language model, trained synchronously and with DiLoCo: loss against bytes.

    export PYTHONPATH=build/release/python
    /usr/bin/python3 examples/byte_lm --stepbackd build/release/bin/stepbackd

Runs that the file of ``--json`` has are not repeated: what was cut off goes on, and a whole file gives its
tables and its figure again without training.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import blas  # noqa: F401
import figures
import page
import report
import sweep
import torch
from data import SPLIT_SEED, Corpus
from ledger import Ledger
from model import CONTEXT, network
from runs import run
from summary import rows
from trial import WORKERS, Run, Trial

import stepback
from stepback.testing import ServerProcess


def main(arguments: Optional[List[str]] = None) -> int:
    options = parse(arguments)
    effort = sweep.QUICK if options.quick else sweep.FULL
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    corpus = Corpus.load()
    given = setting(corpus, effort)
    print(f"{given['corpus']}\n{given['parameters']:,} parameters, {WORKERS} workers, seeds {effort.seeds}\n")
    with trainer(options, corpus, effort) as train:
        ledger = Ledger(Path(options.json) if options.json else None, train, given)
        methods = sweep.measure(ledger, effort)
    found = rows(methods)
    ledger.write({"summary": [asdict(row) for row in found]})
    tables = {
        "results": report.results(found),
        "times": report.times(found),
        "tuning": report.tuning(methods),
        "setting": report.setting(ledger.setting, methods),
    }
    figures.draw(methods, out / "byte_lm.png")
    if options.page:
        page.update(Path(options.page), tables)
    print("", *tables.values(), f"  {out / 'byte_lm.png'}   loss over tokens and over time", sep="\n\n")
    return 0


def setting(corpus: Corpus, effort: sweep.Effort) -> Dict[str, Any]:
    return {
        "corpus": str(corpus),
        "split_seed": SPLIT_SEED,
        "parameters": sum(weight.numel() for weight in network(0).values()),
        "workers": WORKERS,
        "validation_windows": WORKERS * effort.windows,
        "torch": torch.__version__,
    }


@contextlib.contextmanager
def trainer(
    options: argparse.Namespace, corpus: Corpus, effort: sweep.Effort
) -> Iterator[Callable[[Trial], Run]]:
    """Trains trials; the server, unless one was named, starts with the first."""
    with contextlib.ExitStack() as stack:

        @functools.lru_cache(maxsize=None)
        def server() -> stepback.Server:
            address = options.server
            if address is None:
                data_dir = stack.enter_context(tempfile.TemporaryDirectory())
                address = stack.enter_context(ServerProcess(options.stepbackd, data_dir)).address
            return stack.enter_context(stepback.connect(address))

        windows = corpus.windows(WORKERS, effort.windows, CONTEXT)
        yield lambda trial: run(server(), corpus, windows, trial)


def parse(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="byte_lm", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute: no tuning, one seed, H = 50 only")
    parser.add_argument("--stepbackd", metavar="PATH", help="the server's program; default: $STEPBACKD")
    parser.add_argument("--server", metavar="ADDRESS", help="a server that is there instead")
    parser.add_argument("--out", default="byte-lm-out", metavar="DIR", help="for the figure")
    parser.add_argument("--json", metavar="FILE", help="write all runs there; go on with those it has")
    parser.add_argument("--page", metavar="FILE", help="a page to put the tables into, as docs/byte_lm.md")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (stepback.StepbackError, ValueError) as error:
        sys.exit(f"error: {error}")
