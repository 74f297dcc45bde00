"""Adds up what a run of scripts/test printed: GoogleTest cases, pytest cases, other programs and checks.

Usage: count_tests.py RESULTS_DIR. Prints the closing line and exits non-zero when anything failed or nothing ran.
"""

import pathlib
import re
import sys

GTEST = {
    "passed": re.compile(r"^\[  PASSED  \] (\d+) tests?\.", re.M),
    "failed": re.compile(r"^\[  FAILED  \] (\d+) tests?, listed below", re.M),
    "skipped": re.compile(r"^\[  SKIPPED \] (\d+) tests?, listed below", re.M),
}
PYTEST_LINE = re.compile(r"^=*\s*((?:\d+ (?:passed|failed|skipped|errors?|xfailed|warnings?|deselected)(?:, )?)+) in [\d.]+", re.M)
SKIP_STATUS = 77


def add(counts, other):
    for key, value in other.items():
        counts[key] = counts.get(key, 0) + value


def count_gtest(text):
    return {key: sum(map(int, pattern.findall(text))) for key, pattern in GTEST.items()}


def count_pytest(line):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", line):
        counts["failed" if word == "error" else word] += int(number)
    return counts


def count_program(text):
    """Counts one program's section of ctest's log."""
    passed = "Test Passed." in text
    skipped = "Test not run" in text or re.search(r"^Test Skipped", text, re.M) is not None
    inner = count_gtest(text)
    for line in PYTEST_LINE.findall(text):
        add(inner, count_pytest(line))
    if not passed and not skipped and inner["failed"] == 0:
        inner["failed"] = 1  # crashed, timed out or failed outside a case
    if sum(inner.values()) == 0:
        inner["skipped" if skipped else "passed"] = 1
    return inner


def count_ctest_log(path):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    sections = re.split(r"^\d+/\d+ Testing: ", path.read_text(errors="replace"), flags=re.M)[1:]
    for section in sections:
        add(counts, count_program(section))
    return counts


def count_suite(results, preset):
    """Counts a preset's log; ctest's own word (its status, kept when it is not 0) stands above what the log lets us read."""
    log = results / f"{preset}.log"
    counts = count_ctest_log(log) if log.exists() else {}
    if (results / f"{preset}.status").exists() and not counts.get("failed"):
        counts["failed"] = 1
    return counts


def count_check(path):
    status = int(path.read_text())
    key = "passed" if status == 0 else "skipped" if status == SKIP_STATUS else "failed"
    return {key: 1}


def main():
    results = pathlib.Path(sys.argv[1])
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for preset in sorted({path.stem for suffix in ("log", "status") for path in results.glob(f"*.{suffix}")}):
        add(counts, count_suite(results, preset))
    for check in sorted(results.glob("*.check")):
        add(counts, count_check(check))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
