"""A forked process is detached: it cannot disturb its parent's connections, says so, and ends cleanly."""

import gc
import os
import sys

import numpy as np
import pytest
from conftest import small_weights

import stepback


def in_fork(work):
    """Runs `work` in a forked child and returns what it returned (a string); its exit must be clean."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "nothing"
        try:
            answer = str(work())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, answer.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return answer


@pytest.fixture
def worker(server):
    model = server.create_model("m", small_weights(), outer=stepback.average())
    with model.join("w0", heartbeat_interval=0.02) as worker:
        worker.pull()
        yield worker


def assert_trains(worker):
    weights = worker.pull()
    new = worker.step({name: value + np.float32(1) for name, value in weights.items()})
    assert new.step.outcome == "applied"


def test_calls_in_the_child_say_that_it_is_detached(server, worker):
    message = in_fork(worker.pull)
    assert message.startswith(
        "DetachedError: the worker belongs to the process that this one was forked from"
    )
    assert "spawn" in message
    assert in_fork(server.list_models).startswith("DetachedError: the connection belongs")
    assert in_fork(lambda: worker.version).startswith("DetachedError")
    assert_trains(worker)


def test_connecting_in_the_child_is_refused_instead_of_hanging(local, worker):
    address = local.address
    assert in_fork(lambda: stepback.connect(address)).startswith("DetachedError: gRPC in this process")
    assert in_fork(stepback.serve_local).startswith("DetachedError")


def test_objects_that_the_child_drops_stay_open_in_the_parent(local):
    held = {"server": local.connect()}
    held["model"] = held["server"].create_model("m", small_weights(), outer=stepback.average())
    held["worker"] = held["model"].join("w0")
    held["worker"].pull()

    def drop_everything():
        held.clear()
        gc.collect()
        return "dropped"

    assert in_fork(drop_everything) == "dropped"
    assert [session.client_id for session in held["server"].list_sessions("m")] == ["w0"]
    assert_trains(held["worker"])
    held["server"].close()


def test_a_child_that_ends_like_a_program_ends_cleanly(worker):
    """Not os._exit: the interpreter's own end, with every destructor."""
    child = os.fork()
    if child == 0:
        raise_exit = sys.exit
        try:
            raise_exit(0)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert_trains(worker)
