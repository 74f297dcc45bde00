"""The package's face: what it exports, how errors are arranged, presets that agree with the server."""

import importlib
import inspect
import pkgutil
import re
import typing
from pathlib import Path

import pytest

import stepback
import stepback.testing
import stepback.torch
from stepback import _errors

PUBLIC_MODULES = [stepback, stepback.torch]


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_all_is_complete(module):
    """Everything that a private module of the package gave this one is in __all__, and __all__ resolves."""
    visible = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", "").startswith("stepback")
    }
    assert visible | ({"__version__"} & set(module.__all__)) == set(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(module.__all__) == len(set(module.__all__))


def test_every_public_class_of_the_private_modules_is_exported():
    for name in (
        "_errors",
        "_types",
        "_rules",
        "_rounds",
        "_push_future",
        "_server",
        "_model",
        "_worker",
        "_weights",
        "_local",
    ):
        module = importlib.import_module(f"stepback.{name}")
        for key, value in vars(module).items():
            ours = getattr(value, "__module__", "") == module.__name__
            if (
                ours
                and inspect.isclass(value)
                and not key.startswith("_")
                and key not in ("Sinks", "Definition")
            ):
                assert key in stepback.__all__, f"{name}.{key}"


def test_torch_is_reached_without_an_import_of_its_own():
    assert stepback.__getattr__("torch") is stepback.torch
    with pytest.raises(AttributeError, match="no attribute 'jax'"):
        stepback.jax  # noqa: B018


def test_everything_public_has_types_and_the_package_says_so():
    assert (Path(stepback.__file__).parent / "py.typed").exists()
    for name in stepback.__all__:
        value = getattr(stepback, name)
        if inspect.isfunction(value):
            hints = typing.get_type_hints(value)
            assert "return" in hints, name
            assert set(inspect.signature(value).parameters) <= set(hints), name


def test_every_public_name_has_a_docstring():
    for name in stepback.__all__:
        if name != "__version__":
            assert inspect.getdoc(getattr(stepback, name)), name
    for module in pkgutil.walk_packages(stepback.__path__, "stepback."):
        assert module.name == "stepback._core" or inspect.getdoc(importlib.import_module(module.name)), (
            module.name
        )


def test_the_error_tree_in_the_docstring_is_the_real_one():
    drawn = {}
    above = []
    for line in _errors.__doc__.splitlines():
        match = re.match(r"( *)(\w+Error)\b", line)
        if match:
            depth = len(match.group(1)) // 2
            above = [*above[:depth], match.group(2)]
            drawn[match.group(2)] = above[depth - 1] if depth else None
    real = {
        kind.__name__: kind.__bases__[0].__name__
        for kind in _errors.ALL
        if kind is not stepback.StepbackError
    }
    assert drawn == {"StepbackError": None, **real}


def test_every_reason_with_a_class_is_in_the_table_of_reasons_under_its_code():
    table = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| `([A-Z_]+)`", table, re.MULTILINE))
    for reason, kind in _errors._BY_REASON.items():
        assert _errors._BY_CODE[listed[reason]] is kind.__bases__[0], reason


def test_a_reason_picks_its_class_only_under_its_own_code():
    error = _errors.from_status("ABORTED", "base version 3", "STALE_BASE", retry_after=1.5)
    assert type(error) is stepback.StaleBaseError and isinstance(error, stepback.AbortedError)
    assert (str(error), error.reason, error.retry_after) == ("base version 3", "STALE_BASE", 1.5)
    assert type(_errors.from_status("INTERNAL", "x", "STALE_BASE")) is stepback.InternalError
    assert type(_errors.from_status("A_NEW_CODE", "x")) is stepback.UnknownError
    assert isinstance(_errors.from_status("INVALID_ARGUMENT", "x"), ValueError)
    assert isinstance(_errors.from_status("DEADLINE_EXCEEDED", "x"), TimeoutError)
    assert isinstance(_errors.from_status("UNAVAILABLE", "x"), ConnectionError)


def test_presets_have_the_servers_names_and_defaults(server):
    rules = server.list_rules()
    inner = ["adadelta", "adagrad", "adam", "adamw", "adan", "asgd", "gpa", "lion", "nadam", "radam", "rmsprop"]
    inner += ["schedule_free_adamw", "schedule_free_sgd", "sgd"]
    averages = ["ema", "online_rna", "polyak", "rna", "swa"]
    for name in inner + averages + ["lookahead", "average", "heavy_ball", "nesterov"]:
        info, preset = rules[name], getattr(stepback, name)()
        assert preset.name == name
        assert dict(preset.values) == {hyper.name: hyper.default for hyper in info.hypers}, name
    assert stepback.diloco() == stepback.nesterov()
    assert {codec.name for codec in rules.codecs} >= {"f32", "bf16"}
    with pytest.raises(KeyError):
        rules["no_such_rule"]


def test_the_server_says_what_it_is(server):
    info = server.info()
    assert info.version == stepback.__version__
    assert any(device.startswith("cpu/") for device in info.devices)
    assert server.check_health() == "SERVING"
