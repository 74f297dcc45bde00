"""What writers and readers saw, and whether one exactly-once, never-torn, never-backward model explains it.

A history is a list of events, dicts with `kind`, `who`, `begin` and `end` (seconds of one clock that all processes
share) and `version` [term, counter]:

push   {"client": i, "number": n}      acknowledged as applied, first in `version`
pull   {"view": ..., "tensors": {name: [[k, whole] per client]}}
       k pushes of the client are in the tensor; `whole`: they are its first k, each once

`check` knows nothing of the server. It returns the violations in words: none for a history without any.
"""


def check(history, final):
    """`final`: a pull of view "train" after everything was quiet."""
    pulls = [event for event in history if event["kind"] == "pull"] + [final]
    pushes = [event for event in history if event["kind"] == "push"]
    return [
        *torn(pulls),
        *backward([*history, final]),
        *contradictory(pulls),
        *misplaced(pushes, pulls),
        *not_once(pushes, final),
    ]


def torn(pulls):
    """All tensors of a pull are of one version, and no version has a push without those before it, or one twice."""
    for pull in pulls:
        tensors = list(pull["tensors"].values())
        if any(tensor != tensors[0] for tensor in tensors):
            yield f"{name_of(pull)} is torn across tensors: {pull['tensors']}"
        elif not all(whole for _, whole in tensors[0]):
            yield f"{name_of(pull)} has a push without an earlier one, or one twice: {tensors[0]}"


def backward(events):
    """Whoever begins after another has ended sees no older version: each reader, and between readers."""
    newest, ended, done = None, sorted(events, key=lambda event: event["end"]), 0
    for event in sorted(events, key=lambda event: event["begin"]):
        while ended[done]["end"] < event["begin"]:
            if newest is None or ended[done]["version"] > newest["version"]:
                newest = ended[done]
            done += 1
        # A push that is answered again names the version of its first answer.
        if event["kind"] == "pull" and newest is not None and event["version"] < newest["version"]:
            yield f"{name_of(event)} is older than {name_of(newest)}, which had ended before"


def contradictory(pulls):
    """One view of one version is one state."""
    states = {}
    for pull in pulls:
        first = states.setdefault((pull["view"], *pull["version"]), pull)
        if first["tensors"] != pull["tensors"]:
            yield f"{name_of(pull)} shows {pull['tensors']}, to {first['who']} {first['tensors']}"


def misplaced(pushes, pulls):
    """Within a term a version has a push if and only if it is not before the push's own. Slow weights may lag."""
    by_term = {}
    for pull in pulls:
        by_term.setdefault(pull["version"][0], []).append(pull)
    for push in pushes:
        for pull in by_term.get(push["version"][0], ()):
            there = next(iter(pull["tensors"].values()))[push["client"]][0] >= push["number"]
            due = pull["version"] >= push["version"]
            if there and not due or due and not there and pull["view"] == "train":
                yield f"{name_of(pull)} {'has' if there else 'lacks'} {name_of(push)}"


def not_once(pushes, final):
    """The end holds every acknowledged push."""
    for client, (seen, _) in enumerate(next(iter(final["tensors"].values()))):
        numbers = {push["number"] for push in pushes if push["client"] == client}
        if numbers != set(range(1, seen + 1)):
            wrong = sorted(numbers.symmetric_difference(range(1, seen + 1)))
            yield f"the end has {seen} pushes of client {client}; acknowledged or there, but not both: {wrong[:8]}"


def name_of(event):
    what = f" {event['number']}" if event["kind"] == "push" else f" of {event['view']}"
    return f"{event['kind']}{what} by {event['who']} at {event['version'][0]}.{event['version'][1]}"
