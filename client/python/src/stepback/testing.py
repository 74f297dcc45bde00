"""For tests of programs that train with Stepback: a server process of their own, to stop, kill and start
again.

Within one process ``stepback.serve_local()`` is simpler; this is for what only a separate process can show.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, List, Optional, Sequence, Type, Union

from stepback._server import Server, connect

_Path = Union[str, "os.PathLike[str]"]


class ServerProcess:
    """A ``stepbackd`` on loopback with a data directory, on ports that the system chose.

    ``kill`` is a crash, ``stop`` a clean end; ``start`` brings it back on the same ports with what is on its
    disk.

    ::

        with ServerProcess("build/release/bin/stepbackd", tmp_path) as process, process.connect() as server:
            ...
            process.kill()
            process.start()
    """

    def __init__(
        self,
        program: Optional[_Path],
        data_dir: _Path,
        arguments: Sequence[str] = (),
        start_timeout: float = 30.0,
    ) -> None:
        self._program = find_program(program)
        self._data_dir = Path(data_dir)
        self._arguments = list(arguments)
        self._start_timeout = start_timeout
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.port = 0
        self.http_port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/metrics"

    @property
    def log_file(self) -> Path:
        return self._data_dir / "stepbackd.log"

    def connect(self, **options: Any) -> Server:
        return connect(self.address, **options)

    def start(self) -> None:
        """Returns when the server listens; RuntimeError with the end of its log when it does not."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        port_file = self._data_dir / "ports.json"
        port_file.unlink(missing_ok=True)
        with open(self.log_file, "ab") as log:
            self._process = subprocess.Popen(self._command(port_file), stdout=log, stderr=log)
        ports = self._await_ports(port_file)
        self.port, self.http_port = ports["grpc"], ports["http"]

    def kill(self) -> None:
        """A crash: SIGKILL, and the process is gone when this returns."""
        self._end("kill")

    def stop(self) -> None:
        """A clean end: SIGTERM, snapshots are written."""
        self._end("terminate")

    def __enter__(self) -> ServerProcess:
        if self._process is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _command(self, port_file: Path) -> List[str]:
        return [
            str(self._program),
            f"--listen=127.0.0.1:{self.port}",
            f"--http-listen=127.0.0.1:{self.http_port}",
            f"--data-dir={self._data_dir / 'models'}",
            f"--port-file={port_file}",
            *self._arguments,
        ]

    def _await_ports(self, port_file: Path) -> Any:
        """The file appears whole or not at all; the process's end is the other way out."""
        deadline = time.monotonic() + self._start_timeout
        waiting = threading.Event()
        while time.monotonic() < deadline:
            if port_file.exists():
                return json.loads(port_file.read_text())
            assert self._process is not None
            if self._process.poll() is not None:
                break
            waiting.wait(0.01)
        self.kill()
        raise RuntimeError(f"{self._program.name} did not start:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])

    def _end(self, how: str) -> None:
        if self._process is None:
            return
        getattr(self._process, how)()
        self._process.wait(timeout=60)
        self._process = None


def find_program(program: Optional[_Path] = None) -> Path:
    """``program``, or ``$STEPBACKD``, or ``stepbackd`` on the path."""
    named = program or os.environ.get("STEPBACKD") or shutil.which("stepbackd")
    if named is None:
        raise FileNotFoundError("stepbackd is not on the path: name it, or set STEPBACKD")
    return Path(named)
