"""One command to a running QEMU through its monitor socket."""

import json
import socket


def hostfwd_add(path, rule):
    """Lets host connections through to the guest; `rule` as of -netdev user,hostfwd=."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        stream = connection.makefile("rw")
        stream.readline()  # the greeting
        _ask(stream, "qmp_capabilities")
        said = _ask(stream, "human-monitor-command", {"command-line": f"hostfwd_add net {rule}"})
        if said:
            raise RuntimeError(f"hostfwd_add {rule}: {said.strip()}")


def _ask(stream, command, arguments=None):
    stream.write(json.dumps({"execute": command, "arguments": arguments or {}}) + "\n")
    stream.flush()
    while True:
        answer = json.loads(stream.readline())
        if "error" in answer:
            raise RuntimeError(f"QEMU: {command}: {answer['error']['desc']}")
        if "return" in answer:
            return answer["return"]
