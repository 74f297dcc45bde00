"""Left-over markers, very long lines, tabs in sources and words of one person's machine."""

import re

# Written in pieces so that this file does not find itself.
MARKERS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
MACHINE = re.compile("/(wo" + "rk|ro" + "ot|ho" + "me/[a-z]+)/")
LINE_LENGTH_MAX = 140
CODE = (".h", ".cc", ".cu", ".cuh", ".inc", ".py", ".proto", ".cmake")
PROSE = (".md", ".yaml", ".yml", ".txt", ".sh", ".tpl")
EXEMPT = ("third_party/", "tests/golden/", "LICENSE")


def check_file(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        if MARKERS.search(line):
            yield f"{path}:{number}: left-over marker: {line.strip()[:80]}"
        if MACHINE.search(line):
            yield f"{path}:{number}: path of one machine: {line.strip()[:80]}"
        if path.endswith(CODE) and len(line) > LINE_LENGTH_MAX:
            yield f"{path}:{number}: {len(line)} columns, at most {LINE_LENGTH_MAX}"
        if path.endswith(CODE) and "\t" in line:
            yield f"{path}:{number}: tab"


def check(repository):
    for path in repository.matching(*CODE, *PROSE):
        if not path.startswith(EXEMPT):
            yield from check_file(path, repository.text(path))
