"""Processor seconds: of a running server, of a piece of work here, and of memory that nobody has touched yet."""

import mmap
import os
import time
from pathlib import Path

import numpy as np

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def spent_by(pid):
    """(user, system) seconds of the process and all threads it ever had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND


def spent_here(work):
    """What `work()` returns, and the processor seconds that it took in this process."""
    before = time.process_time()
    result = work()
    return result, time.process_time() - before


def touch(size):
    """Touches `size` bytes of fresh memory on huge pages: what a loader cannot avoid, wherever its bytes come from.

    In a virtual machine this may cost more than all else, when the host has to find the memory, too.
    """
    fresh = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)
    fresh.madvise(mmap.MADV_HUGEPAGE)
    np.frombuffer(fresh, dtype=np.uint8)[:: mmap.PAGESIZE] = 1
