"""Shared fixtures: a server in this process, one of its own, and puppets (other processes) as workers.

Run with the build's package on the path, as ctest does:
    export PYTHONPATH=build/release/python STEPBACKD=build/release/bin/stepbackd
    /usr/bin/python3 -m pytest tests/python
"""

import time
import urllib.request

import numpy as np
import pytest

import stepback
from stepback.testing import ServerProcess, find_program

TIMEOUT = 60.0  # bound of everything that waits


@pytest.fixture
def local(tmp_path):
    with stepback.serve_local(tmp_path / "data", http_address="127.0.0.1:0") as server:
        yield server


@pytest.fixture
def server(local):
    with local.connect(give_up_after=TIMEOUT) as connection:
        yield connection


@pytest.fixture
def process(tmp_path):
    """A stepbackd process that a test may kill."""
    try:
        program = find_program()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with ServerProcess(program, tmp_path / "server") as running:
        yield running


@pytest.fixture
def puppets():
    """Starts worker processes (puppet.py); those still there at the end are killed."""
    from puppet import Puppet

    started = []

    def start():
        started.append(Puppet())
        return started[-1]

    yield start
    for puppet in started:
        puppet.kill()


def until(condition, what):
    """Asks `condition` (a call to a server) again until it gives something; fails after TIMEOUT."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
    raise AssertionError(f"timed out waiting for {what}")


def metric(url, name):
    """The sum of a family's series."""
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
    assert lines, f"no {name} at {url}"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def small_weights():
    return {
        "w": np.array([[1.0, 2.0, 3.0], [-4.0, 0.5, 8.0]], np.float32),
        "b": np.array([0.25, -0.25], np.float32),
    }


def assert_same(left, right):
    assert list(left) == list(right)
    for name in left:
        np.testing.assert_array_equal(np.asarray(left[name]), np.asarray(right[name]), err_msg=name)
