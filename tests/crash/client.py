"""The driver's side of client_process.py."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("client_process.py")


class ClientProcess:
    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, command, **arguments):
        self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self):
        return json.loads(self._process.stdout.readline() or '{"errors": ["the client process died"]}')

    def kill(self):
        self._process.kill()
        self._process.wait()
