"""A worker's own account of its pushes: a line before each is sent, a line when it is acknowledged.

Lines are JSON and reach the kernel before the call goes on, so the ledger survives the end of its process and never
depends on the server. A last line without its end was being written: it never happened.
"""

import dataclasses
import json
import os


class Ledger:
    """For writing; appends."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def sent(self, number, delta=None):
        """`delta` is the payload where it depends on the weights it started from."""
        self._write({"sent": number, "delta": delta.hex() if delta is not None else None})

    def acknowledged(self, number, result):
        version = [result.version.term, result.version.counter]
        self._write({"acknowledged": number, "sequence": result.sequence, "outcome": result.outcome,
                     "version": version, "duplicate": result.duplicate})

    def close(self):
        os.close(self._file)

    def _write(self, record):
        os.write(self._file, json.dumps(record).encode() + b"\n")


@dataclasses.dataclass
class Entry:
    """One push."""

    delta: bytes = None
    answer: dict = None

    @property
    def acknowledged(self):
        return self.answer is not None and self.answer["outcome"] in ("applied", "buffered")


def read(path):
    """{number: Entry}, numbers ascending."""
    entries = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        if "sent" in record:
            delta = record["delta"]
            entries[record["sent"]] = Entry(bytes.fromhex(delta) if delta else None)
        else:
            entries[record["acknowledged"]].answer = record
    return entries


class Tail:
    """Counts the acknowledgements in growing ledgers."""

    def __init__(self):
        self._read = {}
        self.acknowledged = 0

    def look(self, paths):
        for path in paths:
            if path.exists():
                self._look(path)
        return self.acknowledged

    def _look(self, path):
        with open(path, "rb") as file:
            file.seek(self._read.get(path, 0))
            new = file.read()
        self._read[path] = self._read.get(path, 0) + len(new)
        self.acknowledged += new.count(b'{"acknowledged"')
