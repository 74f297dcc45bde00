"""Each benchmark runs small to its end, so that it cannot rot. What it measures then says nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FIGURES = {
    "recovery": ("bare_seconds", "recovery_seconds", "limit_seconds", "kept"),
    "snapshot": ("bare_seconds", "snapshot_seconds", "write_ratio", "stall_ms", "training_push_computing_seconds", "kept"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_prints_its_figures(name, tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, Path(__file__).with_name(name), "--bytes", "1000000", "--runs", "1", "--json", report]
    run = subprocess.run([*command, "--directory", tmp_path], capture_output=True, text=True, timeout=300)
    assert run.returncode in (0, 1), run.stderr  # kept, or not kept in such a hurry
    assert report.exists(), run.stderr
    figures = json.loads(report.read_text())
    assert set(FIGURES[name]) <= set(figures)
    assert run.stdout.splitlines()[-1].startswith("kept:" if figures["kept"] else "NOT kept:")
