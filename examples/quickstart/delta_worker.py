"""One worker of the delta run, a process of its own. Prints one JSON object per line."""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from digits import Digits, loss_of, network, test_loss

import stepback
from stepback.torch import DiLoCo


def say(**report: Any) -> None:
    print(json.dumps(report), flush=True)


def train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    digits = Digits.load()
    batches = digits.shard(arguments.index, arguments.workers).batches(seed=100 + arguments.index)
    module = network(seed=0)  # other weights than the run's: entering DiLoCo brings those
    optimizer = torch.optim.SGD(module.parameters(), lr=arguments.rate)
    steps, synced = 0, 0
    with DiLoCo(
        module,
        optimizer,
        server=arguments.server,
        run=arguments.model,
        sync_every=20,
        worker_id=f"worker-{arguments.index}",
        rounds=stepback.sync(quorum=arguments.workers),
    ) as run:
        while not run.finished:
            x, y = next(batches)
            optimizer.zero_grad()
            loss = loss_of(module, x, y)
            loss.backward()
            run.report(loss=loss.item())
            optimizer.step()  # every 20th syncs
            steps += 1
            if run.syncs > synced:
                synced = run.syncs
                say(
                    worker=arguments.index,
                    local_steps=steps,
                    outer_steps=run.worker.last_step.pull.outer_steps,
                    outcome=run.worker.last_step.outcome,
                    test_loss=test_loss(module, digits),
                )
        statistics = run.worker.statistics
    say(
        worker=arguments.index,
        local_steps=steps,
        done=True,
        bytes_sent=statistics.wire_bytes_sent,
        bytes_received=statistics.wire_bytes_received,
        reconnects=statistics.reconnects,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    train(parser.parse_args())
