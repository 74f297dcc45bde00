"""The command line of powercut."""

import argparse
from pathlib import Path

import options

ROOT = Path(__file__).parents[2]
PLANTS = {"skip_fsync": "plant.skip_fsync=on"}


def parse(description):
    parser = argparse.ArgumentParser(prog="powercut", description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3, metavar="N", help="power failures that are no nested ones")
    parser.add_argument("--nested", action="store_true", help="cut the power also while the guest starts")
    parser.add_argument("--plant", choices=PLANTS, help="a bug of the server's, which must be reported; needs a build "
                        "with failpoints (preset ci)")
    parser.add_argument("--accelerator", choices=["kvm", "tcg"], help="default: kvm where it works")
    parser.add_argument("--cache", metavar="DIR", default=ROOT / "build" / "powercut", type=Path,
                        help="keeps the guest's kernel between runs")
    options.add_common(parser)
    chosen = options.check(parser.parse_args(), parser)
    # What a leg asks for besides.
    chosen.signal = "KILL"
    return chosen
