"""What the disk of the virtual machine keeps at a power failure, from logs written here by hand."""

import random
import struct
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from disk import PIECE, SECTOR, Disk, read_log  # noqa: E402

AT = 1 << 20  # sector; far from what the file system wrote


class Draws:
    """Draws as told: the share of unflushed pieces that is kept, then numbers against it."""

    def __init__(self, kept, numbers=()):
        self._kept, self._numbers = kept, list(numbers)

    def choice(self, _):
        return self._kept

    def random(self):
        return self._numbers.pop(0)


def head(magic=0x6A736677736872):
    return struct.pack("<QQQI", magic, 1, 0, SECTOR).ljust(SECTOR, b"\0")


def write(sector, data):
    return struct.pack("<QQQQ", sector, len(data) // SECTOR, 0, 0).ljust(SECTOR, b"\0") + data


def flush():
    return struct.pack("<QQQQ", 0, 0, 1, 0).ljust(SECTOR, b"\0")


def after(tmp_path, draws, *entries):
    """The four pieces from AT on when the power has failed after these entries."""
    disk = Disk(tmp_path, draws)
    disk.power_on()
    disk.writes.write_bytes(head() + b"".join(entries))
    disk.power_off()
    disk.power_on()
    with open(disk.image, "rb") as image:
        image.seek(AT * SECTOR)
        return [image.read(PIECE)[:1] for _ in range(4)]


def pieces(letters):
    return b"".join(letter.encode() * PIECE for letter in letters)


def test_what_was_flushed_stays_and_what_came_after_goes(tmp_path):
    seen = after(tmp_path, Draws(0.0, [0.5] * 4), write(AT, pieces("ab")), flush(), write(AT + 8, pieces("cde")))
    assert seen == [b"a", b"b", b"\0", b"\0"]


def test_unflushed_writes_may_all_stay(tmp_path):
    assert after(tmp_path, Draws(1.0), write(AT, pieces("abcd"))) == [b"a", b"b", b"c", b"d"]


def test_unflushed_writes_may_stay_in_part(tmp_path):
    draws = Draws(0.5, [0.1, 0.9, 0.9, 0.1])
    assert after(tmp_path, draws, write(AT, pieces("abcd"))) == [b"a", b"\0", b"\0", b"d"]


def test_an_entry_that_was_never_written_is_stepped_over(tmp_path):
    hole = bytes(3 * SECTOR)
    assert after(tmp_path, Draws(0.0), hole, write(AT, pieces("a")), flush())[0] == b"a"


def test_a_file_that_is_no_such_log_is_refused(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(head(magic=1))
    with pytest.raises(RuntimeError, match="not a log"):
        list(read_log(path))


def test_data_taken_for_an_entry_is_refused(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(head() + random.Random(1).randbytes(SECTOR))
    with pytest.raises(RuntimeError, match="no entry"):
        list(read_log(path))
