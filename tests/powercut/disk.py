"""A disk that loses at a power failure what was not flushed.

The guest's page cache is gone with the guest. The cache inside a disk is gone as well: QEMU's driver blklogwrites logs
every write and every flush (the format of Linux's dm-log-writes); after the power failure the disk is made again from
its state at the start and that log. What came before the last flush is on it; of what came after, by a draw per failure,
nothing, everything, or each 4 KiB piece or not.
"""

import struct
import subprocess

SECTOR = 512
PIECE = 4096
BYTES = 1 << 30
_SUPER = struct.Struct("<QQQI")  # magic, version, entries at the last flush, sector size
_ENTRY = struct.Struct("<QQQQ")  # sector, sectors, flags, unused
_MAGIC, _FLUSH, _FUA, _DISCARD = 0x6A736677736872, 1, 2, 4


class Disk:
    def __init__(self, folder, random):
        self._random = random
        self.image = folder / "disk.img"  # what the guest works on
        self.writes = folder / "disk.writes"
        self._durable = folder / "durable.img"  # what a power failure leaves
        self.lost_pieces = 0  # by all power failures
        self.flushes = 0
        with open(self._durable, "wb") as file:
            file.truncate(BYTES)
        self._run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", self._durable)

    def power_on(self):
        self._run("cp", "--sparse=always", self._durable, self.image)
        self.writes.write_bytes(b"")

    def power_off(self):
        entries = list(read_log(self.writes))
        flushed = max((index + 1 for index, entry in enumerate(entries) if entry.flushed), default=0)
        self.flushes += sum(entry.flushed for entry in entries)
        kept = self._random.choice([0.0, 0.5, 1.0])
        with open(self.writes, "rb") as log, open(self._durable, "r+b") as disk:
            for index, entry in enumerate(entries):
                self._apply(entry, log, disk, 1.0 if index < flushed or entry.forced else kept)

    def _apply(self, entry, log, disk, kept):
        log.seek(entry.at)
        data = log.read(entry.bytes)
        for start in range(0, len(data), PIECE):
            if kept == 1.0 or self._random.random() < kept:
                disk.seek(entry.sector * SECTOR + start)
                disk.write(data[start : start + PIECE])
            else:
                self.lost_pieces += 1

    @staticmethod
    def _run(*command):
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


class Entry:
    def __init__(self, sector, sectors, flags, at):
        self.sector, self.at = sector, at
        self.bytes = 0 if flags & _DISCARD else sectors * SECTOR
        self.flushed, self.forced = bool(flags & _FLUSH), bool(flags & _FUA)


def read_log(path):
    """Entries in order. One that was being written when QEMU died may be missing: zeros, which are stepped over."""
    with open(path, "rb") as log:
        head = log.read(SECTOR)
        if len(head) < SECTOR:
            return
        magic, _, _, sector_size = _SUPER.unpack_from(head)
        if magic != _MAGIC or sector_size != SECTOR:
            raise RuntimeError(f"{path}: not a log of 512-byte sectors (magic {magic:x}, sectors of {sector_size})")
        while len(head := log.read(SECTOR)) == SECTOR:
            sector, sectors, flags, _ = _ENTRY.unpack_from(head)
            if sectors == 0 and flags & _FLUSH == 0:
                continue
            entry = Entry(sector, sectors, flags, log.tell())
            if (sector + sectors) * SECTOR > BYTES or any(head[_ENTRY.size :]):
                raise RuntimeError(f"{path}: no entry at byte {entry.at - SECTOR}: sectors {sector}+{sectors}, {flags:x}")
            yield entry
            log.seek(entry.at + entry.bytes)
