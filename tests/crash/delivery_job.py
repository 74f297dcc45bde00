"""Ten thousand deliveries that are repeated, dropped, cut and out of order, and the weights they must make."""

import time

import deliveries
import ledger
import pushes
import reference
import verdict
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
            said = deliveries.deliver(stubs, f"127.0.0.1:{proxy.port}", job, options.cycles, options.seed)
        seconds = time.monotonic() - began
        final = state_of(job, connection)
    answers = [{int(number): tuple(version) for number, version in one.items()} for one in said["answers"]]
    total = verdict.count(job, [ledger_of(one) for one in answers], final)
    order = sorted((version, i, n) for i, one in enumerate(answers) for n, version in one.items())
    payloads = [
        [(i, n, pushes.gradient_payload(job.seed, i, n, job.clients, job.share))] for _, i, n in order
    ]
    with stepback.connect(undisturbed.address) as connection:
        job.create(connection)
        reference.feed(stubs, undisturbed.address, job, payloads)
        total.add(verdict.compare(job, final, state_of(job, connection)))
    facts = {
        "deliveries": said["kinds"],
        "failed_deliveries": said["failed"],
        "connections": proxy.connections,
        "cuts": proxy.cuts,
        "stalls": proxy.stalls,
        "delays": proxy.delays,
        "delivering_seconds": round(seconds, 1),
    }
    return total, facts


def ledger_of(answers):
    return {
        number: ledger.Entry(answer={"outcome": "applied", "sequence": number, "version": version})
        for number, version in answers.items()
    }
