"""The command line of powercut."""

import argparse
import os
import secrets
from pathlib import Path

from stepback.testing import find_program

ROOT = Path(__file__).parents[2]
PLANTS = {"skip_fsync": "plant.skip_fsync=on"}


def parse(description):
    parser = argparse.ArgumentParser(prog="powercut", description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3, metavar="N", help="power failures that are no nested ones")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--durability", default="round", choices=["round", "push"])
    parser.add_argument("--mode", default="gradient", choices=["gradient", "delta"])
    parser.add_argument("--nested", action="store_true", help="cut the power also while the guest starts")
    parser.add_argument("--plant", choices=PLANTS, help="a bug of the server's, which must be reported; needs a build "
                        "with failpoints (preset ci)")
    parser.add_argument("--accelerator", choices=["kvm", "tcg"], help="default: kvm where it works")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--keep", metavar="DIR", help="leave ledgers, disk and logs there")
    parser.add_argument("--pause", type=float, default=0.02, help="longest pause of a client between pushes, s")
    parser.add_argument("--cache", metavar="DIR", default=ROOT / "build" / "powercut", type=Path,
                        help="keeps the guest's kernel between runs")
    parser.add_argument("--stepbackd", default=os.environ.get("STEPBACKD"), metavar="PATH")
    options = parser.parse_args()
    options.stepbackd = find_program(options.stepbackd)
    # What a leg asks for besides.
    options.signal = "KILL"
    return options
