"""Documents name test cases (`file::Suite.Case`, `file::function`) that exist."""

import re

CASE = re.compile(r"`(tests/[\w/.]+)::([\w.]+)`")
CPP = re.compile(r"^TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\)", re.M)
PYTHON = re.compile(r"^(?:    )?def (test\w+)\(", re.M)


def cases_of(path, text):
    if path.endswith(".py"):
        return set(PYTHON.findall(text))
    return {f"{suite}.{case}" for suite, case in CPP.findall(text)}


def check_document(path, text, exists, read):
    for file, case in CASE.findall(text):
        if not exists(file):
            yield f"{path}: names cases of {file}, which does not exist"
        elif case not in cases_of(file, read(file)):
            yield f"{path}: {file} has no case {case}"


def check(repository):
    for path in repository.matching(".md"):
        yield from check_document(path, repository.text(path), repository.paths.__contains__, repository.text)
