"""The list of failpoints (server/base/failpoint_names.h) is the set of places in server/, each one place."""

import collections
import re

LIST = "server/base/failpoint_names.h"
PLACE = re.compile(r'^(?!\s*//).*?FAILPOINT\("([\w.]+)"\)', re.M)
NAME = re.compile(r'^    "([\w.]+)",$', re.M)


def compare(places, names):
    for name in sorted(set(names) - set(places)):
        yield f"{LIST}: '{name}' is in the list, but no place has it"
    for name, count in sorted(collections.Counter(places).items()):
        if name not in names:
            yield f"{LIST}: failpoint '{name}' is not in the list"
        elif count > 1:
            yield f"{LIST}: {count} places are called '{name}'"


def check(repository):
    texts = [repository.text(p) for p in repository.matching(".cc", ".h") if p.startswith("server/")]
    places = [name for text in texts for name in PLACE.findall(text) if not name.startswith("plant.")]
    yield from compare(places, NAME.findall(repository.text(LIST)))
