"""What the checks of deploy/ share: tools, the rendered chart, and a server under load."""

import json
import os
import pathlib
import shutil
import subprocess
import time
import urllib.request

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "stepback"
BIN = pathlib.Path(os.environ.get("STEPBACK_BIN", ROOT / "build" / "ci" / "bin"))
KUBERNETES = ["1.25.0", "1.30.0"]


def tool(name):
    path = os.environ.get(f"STEPBACK_{name.upper().replace('-', '_')}") or shutil.which(name)
    if not path:
        pytest.fail(f"{name} is not installed; scripts/check_deploy installs it and sets its path")
    return path


def run(*command, check=True, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **options)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def helm_template(*arguments, kubernetes=KUBERNETES[-1], check=True):
    return run(tool("helm"), "template", "demo", CHART, "--kube-version", kubernetes, *arguments, check=check)


def documents(text):
    return [d for d in yaml.safe_load_all(text) if d]


def render(values_file, kubernetes=KUBERNETES[-1]):
    return documents(helm_template("-f", values_file, kubernetes=kubernetes).stdout)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def wait_until(condition, what, seconds=60):
    """Polls a process that we do not control; the bound is what makes it a test."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


class Server:
    """A stepbackd on loopback, its ports from the OS."""

    def __init__(self, folder, *arguments):
        self.ports_file = folder / "ports.json"
        self.process = subprocess.Popen(
            [str(BIN / "stepbackd"), *map(str, arguments), "--listen=127.0.0.1:0", "--http-listen=127.0.0.1:0",
             f"--data-dir={folder / 'data'}", f"--port-file={self.ports_file}"],
            stdout=open(folder / "stdout", "w"), stderr=open(folder / "stderr", "w"))
        wait_until(self._ports, "stepbackd writes its ports", 30)
        ports = self._ports()
        self.address = f"127.0.0.1:{ports['grpc']}"
        self.http = f"127.0.0.1:{ports['http']}"

    def _ports(self):
        assert self.process.poll() is None, "stepbackd ended"
        try:
            return json.loads(self.ports_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def metrics(self):
        return get(f"http://{self.http}/metrics")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0


def load(server, *arguments):
    return run(BIN / "stepback", "--address", server.address, "load", *arguments)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()
