"""Changes of files as they happen (inotify), so that a kill can fall between two steps of a snapshot."""

import ctypes
import os
import select

CREATE, CLOSE_WRITE, MOVED_TO, DELETE = 0x100, 0x8, 0x80, 0x200
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Of one directory and, as they appear, the directories in it."""

    def __init__(self, directory):
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._add(directory)

    def next(self, seconds):
        """True after a change; False when there is none for so long."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if ready:
            os.read(self._fd, 4096)
        return bool(ready)

    def close(self):
        os.close(self._fd)

    def _add(self, directory):
        mask = CREATE | CLOSE_WRITE | MOVED_TO | DELETE
        if _libc.inotify_add_watch(self._fd, os.fsencode(directory), mask) < 0:
            raise OSError(ctypes.get_errno(), f"inotify_add_watch {directory}")
