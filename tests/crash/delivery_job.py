"""Ten thousand deliveries that are repeated, dropped, cut and out of order, and the weights they must make.

With `--in-flight` above 1 the SDK makes them: workers with that many pushes on their way, behind the same proxy.
"""

import time

import deliveries
import ledger
import pushes
import reference
import verdict
from client import ClientProcess
from jobs import Job
from leg import state_of
from proxy import Proxy

import stepback


def run(options, server, undisturbed, stubs):
    """(verdict, facts for the report)"""
    job = Job("deliveries", "gradient", False, 2, options.seed, options.durability, 0.1)
    began = time.monotonic()
    with stepback.connect(server.address) as connection:
        job.create(connection)
        with Proxy(server.port, options.seed) as proxy:
            answers, facts, problems = (by_sdk if options.in_flight > 1 else by_hand)(options, proxy, job, stubs, server)
        seconds = time.monotonic() - began
        final = state_of(job, connection)
    total = verdict.count(job, [ledger_of(one) for one in answers], final)
    total.problems += problems
    order = sorted((version, i, n) for i, one in enumerate(answers) for n, version in one.items())
    payloads = [
        [(i, n, pushes.gradient_payload(job.seed, i, n, job.clients, job.share))] for _, i, n in order
    ]
    with stepback.connect(undisturbed.address) as connection:
        job.create(connection)
        reference.feed(stubs, undisturbed.address, job, payloads)
        total.add(verdict.compare(job, final, state_of(job, connection)))
    facts |= {
        "connections": proxy.connections,
        "cuts": proxy.cuts,
        "stalls": proxy.stalls,
        "delays": proxy.delays,
        "delivering_seconds": round(seconds, 1),
    }
    return total, facts


def by_hand(options, proxy, job, stubs, server):
    """Per client: number -> version of its answer; facts for the report; problems."""
    said = deliveries.deliver(stubs, f"127.0.0.1:{proxy.port}", job, options.cycles, options.seed)
    answers = [{int(number): tuple(version) for number, version in one.items()} for one in said["answers"]]
    return answers, {"deliveries": said["kinds"], "failed_deliveries": said["failed"]}, []


def by_sdk(options, proxy, job, stubs, server):
    """Half as many pushes as deliveries are asked for: the proxy makes about as many again of them."""
    folder = server.data.parent / "ledgers"
    folder.mkdir()
    each = min(options.cycles // (2 * job.clients), pushes.CAPACITY)
    clients = [ClientProcess() for _ in range(job.clients)]
    try:
        for index, client in enumerate(clients):
            client.send("begin", address=f"127.0.0.1:{proxy.port}", jobs=[vars(job)], index=index, folder=str(folder),
                        pause=0.0, in_flight=options.in_flight)
            client.send("end", limits={job.name: each})
        problems = [error for client in clients for error in client.answer()["errors"]]
    finally:
        for client in clients:
            client.kill()
    ledgers = [ledger.read(folder / f"{job.name}.{index}.ledger") for index in range(job.clients)]
    problems += [f"push {n} of client {i} was answered {e.answer}" for i, one in enumerate(ledgers)
                 for n, e in one.items() if not e.answer or e.answer["outcome"] != "applied"]
    answers = [{n: tuple(e.answer["version"]) for n, e in one.items() if e.acknowledged} for one in ledgers]
    return answers, {"pushes": sum(map(len, ledgers))}, problems


def ledger_of(answers):
    return {
        number: ledger.Entry(answer={"outcome": "applied", "sequence": number, "version": version})
        for number, version in answers.items()
    }
