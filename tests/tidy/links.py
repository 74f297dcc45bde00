"""Links between documents point at files (and headings) that exist."""

import posixpath
import re

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)


def anchors_of(text):
    headings = re.findall(r"^#+\s+(.+?)\s*$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def check_document(path, text, exists, read):
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
        if not exists(place):
            yield f"{path}: link to {target}, which does not exist"
        elif anchor and place.endswith(".md") and anchor not in anchors_of(read(place)):
            yield f"{path}: {place} has no heading '{anchor}'"


def check(repository):
    for path in repository.matching(".md"):
        yield from check_document(path, repository.text(path), lambda p: (repository.root / p).exists(), repository.text)
