"""What the disk gives to a reader or a writer that does nothing else: O_DIRECT, 4 MiB at a time, file after file. The
memory that is read into or written from decides how many requests a call is cut into, so readers are measured with both
kinds; what they read is dropped from the page cache before.
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


def write_from_huge_pages(path, size):
    """Seconds until `size` bytes, rounded up to blocks, lie in a new file on the disk itself: room first, sync last."""
    buffer = make_buffer(mmap.MADV_HUGEPAGE)
    began = time.monotonic()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT)
    blocks = -(-size // BLOCK)
    os.posix_fallocate(fd, 0, blocks * BLOCK)
    for _ in range(blocks):
        os.write(fd, buffer)
    os.fdatasync(fd)
    os.close(fd)
    return time.monotonic() - began


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
