"""What the benchmarks of a server's state have in common: their options, and how they tell their figures."""

import argparse
import json
import os
from pathlib import Path

from stepback.testing import find_program


def new_parser(name, description):
    parser = argparse.ArgumentParser(prog=name, description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=1_000_000_000, help="of state")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--directory", metavar="DIR", help="on the disk to measure; default: that of temporary files")
    parser.add_argument("--stepbackd", default=os.environ.get("STEPBACKD"), metavar="PATH")
    return parser


def parse(parser):
    options = parser.parse_args()
    options.stepbackd = find_program(options.stepbackd)
    return options


def machine():
    return {"load_average": os.getloadavg()[0], "processors": len(os.sched_getaffinity(0))}


def tell(options, result, verdict):
    """As JSON and in words; the exit status: 0 kept, 1 not kept."""
    text = json.dumps(result, indent=2)
    if options.json:
        Path(options.json).write_text(text + "\n")
    print(text)
    print(f"{'kept' if result['kept'] else 'NOT kept'}: {verdict}, load {result['load_average']:.1f} on "
          f"{result['processors']} processors")
    return 0 if result["kept"] else 1
