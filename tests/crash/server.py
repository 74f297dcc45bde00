"""The server under test: a stepbackd that is killed and started again on the same port and directory."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

START_SECONDS_MAX = 60.0


class StartFailed(RuntimeError):
    """The server ended, or said nothing, before it listened."""


class Server:
    def __init__(self, program, folder, arguments=()):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._program, self._arguments = str(program), list(arguments)
        self._port, self._ports = free_port(), self.folder / "ports.json"
        self._process = None
        self.environment = {}  # of the next launch, beside the caller's

    @property
    def address(self):
        return f"127.0.0.1:{self._port}"

    @property
    def port(self):
        return self._port

    @property
    def pid(self):
        return self._process.pid

    @property
    def ready(self):
        return self._ports.exists()

    def launch(self):
        """Starts the process; `await_ready` returns when it listens."""
        self._ports.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, env={**os.environ, **self.environment}
            )

    def await_ready(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.ready:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StartFailed(f"status {self._process.poll()}; its log ends:\n{self.log_end()}")
            time.sleep(0.002)

    def start(self):
        self.launch()
        self.await_ready()

    @property
    def killed_itself(self):
        """It died of SIGKILL, which nobody here sent."""
        return self._process is not None and self._process.poll() == -signal.SIGKILL

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def ask_to_stop(self):
        self._process.send_signal(signal.SIGTERM)

    def kill(self):
        """SIGKILL; gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self):
        """SIGTERM; returns (exit status, seconds until it was gone)."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait()
        self._process = None
        return status, time.monotonic() - began

    def http_port(self):
        return json.loads(self._ports.read_text())["http"]

    def log_end(self, lines=20):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _command(self):
        return [
            self._program,
            f"--listen={self.address}",
            "--http-listen=127.0.0.1:0",
            f"--data-dir={self.data}",
            f"--port-file={self._ports}",
            *self._arguments,
        ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
