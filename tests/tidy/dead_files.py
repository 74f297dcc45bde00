"""Files that nothing refers to: sources in no CMakeLists.txt, Python tests that nothing runs, headers that no file
includes."""

import pathlib
import re


def names_in_lists(name):
    """How a list may name a source: whole, or as the varying part of a foreach ("base_${name}_test.cc")."""
    stem = name.rsplit(".", 1)[0]
    yield stem
    core = stem.removesuffix("_test")
    yield core
    yield core.partition("_")[2] or core


def sources_without_target(repository):
    lists = {p: repository.text(p) for p in repository.paths if p.endswith(("CMakeLists.txt", ".cmake"))}
    everything = "\n".join(lists.values())
    scripts = "\n".join(repository.text(p) for p in repository.paths if p.startswith("scripts/"))
    for path in repository.matching(".cc", ".cu"):
        name = pathlib.PurePath(path).name
        if not any(re.search(rf"\b{re.escape(word)}\b", everything) for word in names_in_lists(name)) and name not in scripts:
            yield f"{path}: in no CMakeLists.txt"


def python_tests_without_run(repository):
    """Whole folders are run by a script that goes there, the others file by file."""
    scripts = "\n".join(repository.text(p) for p in repository.paths if p.startswith("scripts/"))
    runs = "\n".join(repository.text(p) for p in repository.paths if p == "tests/python/CMakeLists.txt")
    for path in map(pathlib.PurePosixPath, repository.matching(".py")):
        if not path.name.startswith("test_") or f'cd "$ROOT/{path.parent}"' in scripts:
            continue
        words = (path.stem, path.stem.removeprefix("test_"))
        if not any(re.search(rf"\b{re.escape(word)}\b", runs) for word in words):
            yield f"{path}: no test runs it"


def headers_without_reader(repository):
    included = set()
    for path in repository.matching(".h", ".cc", ".cu", ".cuh", ".inc"):
        for include in re.findall(r'#include [<"]([^">]+)[">]', repository.text(path)):
            included.add(pathlib.PurePath(include).name)
    for path in repository.matching(".h", ".inc", ".cuh"):
        if pathlib.PurePath(path).name not in included:
            yield f"{path}: no file includes it"


def check(repository):
    yield from sources_without_target(repository)
    yield from python_tests_without_run(repository)
    yield from headers_without_reader(repository)
