"""One leg: two new models, clients, some cycles of kill and restart, and the verdict."""

import shutil

import history
import ledger
import plants
import pushes
import reference
import verdict
from killer import Killer

import stepback

LAST_PUSHES = 12  # after the last kill but one, so that the end of a leg is a busy one
ROUNDS_AHEAD = 20  # no client is further ahead of the ledgers when it hears where to stop


class Leg:
    def __init__(self, options, random, server, undisturbed, stubs, clients, jobs, folder,
                 killer=Killer):
        self._options, self._random, self._folder = options, random, folder
        self._server, self._undisturbed, self._stubs = server, undisturbed, stubs
        self._clients, self._jobs = clients, jobs
        self._tail = ledger.Tail()
        self.killer = killer(random, server, lambda: self._tail.look(self._ledger_paths()))
        self.stops = []  # seconds of each SIGTERM

    def run(self, cycles):
        """The verdict; the models are removed when it is good."""
        self._log_begins = self._server.log.stat().st_size
        with stepback.connect(self._server.address, connect_timeout=60) as connection:
            for job in self._jobs:
                job.create(connection)
                connection.model(job.name).save_snapshot()  # from here on, clients may rely on it
        old = plants.copy_of(self._server.data) if self._options.plant == "lost" else None
        self._each("begin", self._begin_arguments)
        for _ in range(cycles - 1):
            self._cycle()
        self.killer.await_pushes(LAST_PUSHES, seconds=60)
        problems = self._end_clients()
        # Everyone has left, and so everything acknowledged is on disk: nobody replays after this kill.
        self._end_server("serving")
        if old is not None:
            plants.put_back(old, self._server.data)
        self._server.start()
        if self._options.plant == "doubled":
            plants.push_again(self._server.address, self._jobs[0])
        return self._judge(problems)

    def _cycle(self):
        models = [job.name for job in self._jobs]
        self._end_server(self.killer.await_moment(models))
        self.killer.restart(self._options.nested)

    def _end_server(self, kind):
        if self._options.signal == "KILL":
            return self.killer.kill(kind)
        status, seconds = self._server.terminate()
        self.killer.phases[kind] += 1
        self.stops.append((status, seconds))

    def _begin_arguments(self, index):
        jobs = [vars(job) for job in self._jobs]
        return {"address": self._server.address, "jobs": jobs, "index": index, "folder": str(self._folder),
                "pause": self._options.pause, "in_flight": self._options.in_flight}

    def _end_clients(self):
        """Rounds that wait need everyone's push: all stop after the same."""
        newest = {job.name: max(max(self._read(job, i), default=0) for i in range(job.clients))
                  for job in self._jobs if job.waits}
        limits = {job.name: newest[job.name] + ROUNDS_AHEAD if job.waits else None for job in self._jobs}
        self._each("end", lambda index: {"limits": limits})
        return [error for client in self._clients for error in client.answer()["errors"]]

    def _judge(self, problems):
        total = verdict.Verdict(problems=problems)
        with stepback.connect(self._server.address, connect_timeout=60) as connection:
            for job in self._jobs:
                total.add(self._judge_job(job, connection))
            if total.good:
                for job in self._jobs:
                    connection.delete_model(job.name)
        return total

    def _judge_job(self, job, connection):
        ledgers = [self._read(job, index) for index in range(job.clients)]
        final = state_of(job, connection)
        counted = verdict.count(job, ledgers, final)
        try:
            order = self._order(job, ledgers, final)
        except history.Contradiction as error:
            counted.add(verdict.Verdict(bit_identical=False, problems=[str(error)]))
            return counted
        payloads = self._payloads(job, ledgers, order)
        if self._options.plant == "order":
            plants.swap(payloads)
        with stepback.connect(self._undisturbed.address) as undisturbed:
            job.create(undisturbed)
            reference.feed(self._stubs, self._undisturbed.address, job, payloads)
            counted.add(verdict.compare(job, final, state_of(job, undisturbed)))
            undisturbed.delete_model(job.name)
        return counted

    def _order(self, job, ledgers, final):
        known = history.History(job.name, job.clients if job.waits else 0)
        with open(self._server.log, errors="replace") as log:
            log.seek(self._log_begins)
            known.add_log(log.read())
        for index, entries in enumerate(ledgers):
            known.add_ledger(index, entries)
        acknowledged = {(i, n) for i, entries in enumerate(ledgers) for n, e in entries.items() if e.acknowledged}
        return known.order(final["info"].version.counter, acknowledged)

    def _payloads(self, job, ledgers, order):
        return [[(i, n, ledgers[i][n].delta or gradient(job, i, n)) for i, n in members] for members in order]

    def _read(self, job, index):
        path = self._ledger_path(job, index)
        return ledger.read(path) if path.exists() else {}

    def _ledger_path(self, job, index):
        return self._folder / f"{job.name}.{index}.ledger"

    def _ledger_paths(self):
        return [self._ledger_path(job, index) for job in self._jobs for index in range(job.clients)]

    def _each(self, command, arguments):
        for index, client in enumerate(self._clients):
            client.send(command, **arguments(index))


def gradient(job, index, number):
    return pushes.gradient_payload(job.seed, index, number, job.clients, job.share)


def state_of(job, connection):
    model = connection.model(job.name)
    return {"views": {view: dict(model.pull(view=view)) for view in job.views}, "info": model.describe()}


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)
