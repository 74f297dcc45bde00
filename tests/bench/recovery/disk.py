"""What the disk gives to a reader that does nothing else: O_DIRECT, file after file, 4 MiB at a time, the page cache
dropped. The memory that it reads into decides how many requests a read is cut into, so both kinds are measured.
"""

import mmap
import os
import time

import numpy as np

BLOCK = 4 << 20
HUGE_PAGE = 2 << 20


def read_into_huge_pages(files):
    """Seconds. The disk's own speed: nothing is known that reads the same files faster."""
    return timed(files, mmap.MADV_HUGEPAGE)


def read_into_small_pages(files):
    """Seconds. What a program gets that takes any memory."""
    return timed(files, mmap.MADV_NOHUGEPAGE)


def drop_cached(files):
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def timed(files, advice):
    drop_cached(files)
    buffer = make_buffer(advice)  # faulted in before the clock starts
    began = time.monotonic()
    for path in files:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        while os.readv(fd, [buffer]):
            pass
        os.close(fd)
    return time.monotonic() - began


def make_buffer(advice):
    mapping = mmap.mmap(-1, BLOCK + HUGE_PAGE, flags=mmap.MAP_PRIVATE)  # shared memory has its own rules
    mapping.madvise(advice)
    bytes_ = np.frombuffer(mapping, dtype=np.uint8)
    buffer = bytes_[-bytes_.ctypes.data % HUGE_PAGE :][:BLOCK]
    buffer[:] = 1
    return buffer
