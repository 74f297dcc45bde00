"""In which order the pushes that are in the final weights were committed.

Two witnesses: the server's log (`round_closed` names version and members) and the clients' ledgers (an acknowledgement
"applied" names the version). A crash takes versions back, and the counters are given anew under a higher term, so the
commit that counts at a counter is that of the highest term.
"""

import re

from jobs import client_id

_CLOSED = re.compile(r' round_closed model=(\S+) .*version=(\d+)\.(\d+) members=(.*?) outer_step=')
_MEMBER = re.compile(r"client-(\d+):(\d+) weight")


class Contradiction(Exception):
    """The witnesses, or the lineage and the counters, do not agree."""


class History:
    """Commits of one model: {(term, counter): set of (client, number)}.

    `members`: of a model whose rounds wait for everyone, the number of clients; each has one push per round. Else 0.
    """

    def __init__(self, model, members=0):
        self.model = model
        self.commits = {}
        self._members = members

    def add_log(self, text):
        for model, term, counter, members in _CLOSED.findall(text):
            if model == self.model:
                pushes = {(int(client), int(number)) for client, number in _MEMBER.findall(members)}
                self._add((int(term), int(counter)), pushes, whole=True)

    def add_ledger(self, index, entries):
        for number, entry in entries.items():
            if entry.acknowledged and entry.answer["outcome"] == "applied":
                self._add(tuple(entry.answer["version"]), {(index, number)}, whole=False)

    def order(self, final_counter, acknowledged):
        """Counter 1, 2, ... of the final weights: the set of pushes of each. `acknowledged`: all that must be in."""
        lineage = {}
        for (_, counter), pushes in sorted(self.commits.items()):
            lineage[counter] = pushes
        order = [set(lineage.get(counter, ())) for counter in range(1, final_counter + 1)]
        self._fill(order, acknowledged)
        placed = [push for pushes in order for push in pushes]
        if len(placed) != len(set(placed)) or set(placed) != acknowledged:
            twice = {push for push in placed if placed.count(push) > 1}
            raise Contradiction(
                f"{self.model}: {len(placed)} pushes in {final_counter} commits, {len(acknowledged)} acknowledged; "
                f"twice {names(twice)}; nowhere {names(acknowledged - set(placed))}; "
                f"unknown to the ledgers {names(set(placed) - acknowledged)}"
            )
        for client, number in sorted(set(placed)):
            if number > 1 and placed.index((client, number)) < placed.index((client, number - 1)):
                raise Contradiction(f"{self.model}: push {number} of client {client} before push {number - 1}")
        return [sorted(pushes) for pushes in order]

    def _fill(self, order, acknowledged):
        """Commits that no witness saw whole: the kill came before the log line, or the log left lines out."""
        for counter, pushes in enumerate(order, start=1):
            pushes |= {(index, counter) for index in range(self._members)}
        missing = acknowledged.difference(*order)
        holes = [pushes for pushes in order if not pushes]
        if len(missing) == len(holes) == 1:
            holes[0].update(missing)

    def _add(self, version, pushes, whole):
        known = self.commits.setdefault(version, set())
        if known and not (pushes <= known if not whole else known <= pushes):
            raise Contradiction(
                f"{self.model}: version {version[0]}.{version[1]} holds {names(known)} by one account, "
                f"{names(pushes)} by another"
            )
        known |= pushes


def names(pushes):
    listed = [f"{client_id(client)}:{number}" for client, number in sorted(pushes)]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "") or "none"
