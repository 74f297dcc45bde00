"""The command line of crashtest."""

import argparse
import os
import secrets

import plants

from stepback.testing import find_program

JOBS = ["train", "deliveries", "history", "quickstart", "failpoints"]
JOB_HELP = (
    "deliveries: N repeated, dropped and reordered deliveries through a faulty proxy; history: what concurrent writers "
    "and readers saw of N kills; quickstart: its workers through N kills; failpoints: dies at each named place, --hits times"
)


def parse(description):
    parser = argparse.ArgumentParser(prog="crashtest", description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=25, metavar="N", help="kills that are no nested ones")
    parser.add_argument("--job", default="train", choices=JOBS, help=JOB_HELP)
    parser.add_argument("--hits", type=int, default=1, metavar="N", help="kills at each failpoint")
    parser.add_argument("--only", default="", metavar="P,P", help="of the failpoints, those with these prefixes")
    parser.add_argument("--nested", action="store_true", help="kill the server also while it starts")
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM"],
                        help="TERM: rolling restarts; each must end in time, with status 0")
    parser.add_argument("--drain-seconds", type=int, default=10, help="deadline of a SIGTERM")
    parser.add_argument("--plant", choices=plants.KINDS, help="a fault of the harness's own, which it must report")
    add_common(parser)
    return check(parser.parse_args(), parser)


def add_common(parser):
    """What every program has that breaks a server under these clients."""
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--durability", default="round", choices=["round", "push"])
    parser.add_argument("--mode", default="gradient", choices=["gradient", "delta"])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--keep", metavar="DIR", help="leave ledgers, data and logs there")
    parser.add_argument("--pause", type=float, default=0.02, help="longest pause of a client between pushes, s")
    parser.add_argument("--in-flight", type=int, default=1, choices=range(1, 6), metavar="N",
                        help="pushes that a client has on their way at once, 1 to 5 (no effect on other jobs than train, "
                        "deliveries)")
    parser.add_argument("--stepbackd", default=os.environ.get("STEPBACKD"), metavar="PATH")


def check(options, parser):
    """What argparse cannot check, and the server's program."""
    if options.keep and os.path.isdir(options.keep) and os.listdir(options.keep):
        parser.error(f"--keep {options.keep}: there is something in it already")
    options.stepbackd = find_program(options.stepbackd)
    return options
