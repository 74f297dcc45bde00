"""The examples run as they stand, and show what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lookahead_toy():
    losses = [float(loss) for loss in re.findall(r"(\d\.\d{4})$", run("lookahead_toy.py"), re.MULTILINE)]
    alone, in_process, delta, gradient = losses
    assert in_process < 0.8 * alone
    assert abs(delta - in_process) < 1e-3 and abs(gradient - in_process) < 1e-3


def test_diloco_two_workers():
    lines = run("diloco_two_workers.py").strip().splitlines()
    assert len(lines) == 15
    slope, offset = map(float, re.search(r"y = (\S+) x (\S+)$", lines[-1]).groups())
    assert abs(slope - 3) < 0.1 and abs(offset + 1) < 0.1
