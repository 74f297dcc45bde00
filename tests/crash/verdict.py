"""What a leg ended with against what the ledgers promise."""

import dataclasses

import numpy as np
import pushes


@dataclasses.dataclass
class Verdict:
    acknowledged: int = 0
    lost: int = 0  # acknowledged, and not in the weights
    doubled: int = 0  # in the weights more often than once
    bit_identical: bool = True
    problems: list = dataclasses.field(default_factory=list)

    def add(self, other):
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.doubled += other.doubled
        self.bit_identical = self.bit_identical and other.bit_identical
        self.problems += other.problems

    @property
    def good(self):
        return not self.lost and not self.doubled and self.bit_identical and not self.problems


def count(job, ledgers, final):
    """Every push against the digits, and the totals against the server's counters."""
    verdict = Verdict()
    acknowledged = {(i, n) for i, ledger in enumerate(ledgers) for n, e in ledger.items() if e.acknowledged}
    verdict.acknowledged = len(acknowledged)
    for index, number in sorted({(i, n) for i, ledger in enumerate(ledgers) for n in ledger} - acknowledged):
        verdict.problems.append(f"{job.name}: push {number} of client {index} was not acknowledged")
    _count_digits(job, acknowledged, final["views"]["train"]["digits"], verdict)
    _compare_totals(job, acknowledged, final["info"], verdict)
    _check_sequences(job, ledgers, verdict)
    return verdict


def _count_digits(job, acknowledged, digits, verdict):
    try:
        seen = pushes.counts(digits)
    except ValueError as error:
        verdict.problems.append(f"{job.name}: {error}")
        return
    for index, row in enumerate(seen):
        for number, times in enumerate(row, start=1):
            if (index, number) in acknowledged and times == 0:
                verdict.lost += 1
                verdict.problems.append(f"{job.name}: push {number} of client {index} is LOST")
            elif times > ((index, number) in acknowledged):
                verdict.doubled += 1
                verdict.problems.append(f"{job.name}: push {number} of client {index} is in {times} TIMES")


def _compare_totals(job, acknowledged, info, verdict):
    expected = {
        "samples": sum(pushes.samples(number) for _, number in acknowledged),
        ("inner_steps" if job.mode == "gradient" else "outer_steps"): len(acknowledged) // job.share,
    }
    for name, value in expected.items():
        if getattr(info, name) != value:
            verdict.problems.append(f"{job.name}: {name} is {getattr(info, name)}, the ledgers say {value}")


def _check_sequences(job, ledgers, verdict):
    for index, ledger in enumerate(ledgers):
        for number, entry in ledger.items():
            if entry.acknowledged and entry.answer["sequence"] != number:
                verdict.problems.append(
                    f"{job.name}: push {number} of client {index} was answered as {entry.answer['sequence']}"
                )


def compare(job, final, reference):
    """Bit for bit, every view; and every counter."""
    verdict = Verdict()
    for view in job.views:
        for name, expected in reference["views"][view].items():
            seen = np.asarray(final["views"][view][name])
            if seen.tobytes() != np.asarray(expected).tobytes():
                wrong = int((seen != np.asarray(expected)).sum())
                verdict.problems.append(f"{job.name}: {wrong} elements of '{name}' differ in view {view}")
    for name in ("inner_steps", "outer_steps", "samples"):
        left, right = getattr(final["info"], name), getattr(reference["info"], name)
        if left != right:
            verdict.problems.append(f"{job.name}: {name} is {left}, the reference has {right}")
    if final["info"].version.counter != reference["info"].version.counter:
        verdict.problems.append(f"{job.name}: version counters differ")
    verdict.bit_identical = not verdict.problems
    return verdict
