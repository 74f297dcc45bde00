"""The three runs: plain SGD here, gradients to the server, deltas from two workers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import List, Tuple

import delta_workers
import torch
from digits import Digits, accuracy, loss_of, network, test_loss
from progress import Bar

import stepback
import stepback.torch
from stepback.testing import ServerProcess

SEED = 1
STEPS = 1200
COOL_DOWN = 200  # last steps, at a fifth of the learning rate
LOOKAHEAD_STEPS, LOOKAHEAD_ALPHA = 5, 0.5
LOCAL_RATE, GRADIENT_RATE, DELTA_RATE = 0.2, 1.0, 0.3
WORKERS, ROUNDS, LOCAL_STEPS = 2, 30, 20

Curve = List[Tuple[int, float]]  # step, test loss


@dataclass
class Run:
    """What one run cost and brought."""

    name: str
    title: str
    accuracy: float = 0.0
    steps: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    curve: Curve = field(default_factory=list)  # of the weights that count in the end
    fast_curve: Curve = field(default_factory=list)  # gradient mode: after every inner step


def local(digits: Digits) -> Run:
    """(a) Plain SGD in this process."""
    run = Run("local", "plain SGD, no server")
    module = network(SEED)
    optimizer = torch.optim.SGD(module.parameters(), lr=LOCAL_RATE)
    began = time.monotonic()
    _train(run, digits, module, optimizer)
    run.seconds = time.monotonic() - began
    run.curve = run.fast_curve[LOOKAHEAD_STEPS - 1 :: LOOKAHEAD_STEPS]
    run.accuracy = accuracy(module, digits)
    return run


def gradient(digits: Digits, server: stepback.Server) -> Run:
    """(b) Gradients from here; the server runs SGD and Lookahead, at a rate too high for SGD alone."""
    run = Run("gradient", "server-side SGD + Lookahead")
    module = network(SEED)
    optimizer = stepback.torch.Lookahead(
        torch.optim.SGD(module.parameters(), lr=GRADIENT_RATE),
        LOOKAHEAD_STEPS,
        LOOKAHEAD_ALPHA,
        server=server,
        run="digits-gradient",
        named_parameters=module.named_parameters(),
        mode="gradient",
        lr_source="client",
        worker_id="gradient-0",
    )
    began = time.monotonic()
    _train(run, digits, module, optimizer)
    run.seconds = time.monotonic() - began
    # After every sync the fast weights are the slow ones.
    run.curve = run.fast_curve[LOOKAHEAD_STEPS - 1 :: LOOKAHEAD_STEPS]
    with optimizer.slow_weights():
        run.accuracy = accuracy(module, digits)
    _count_bytes(run, optimizer.worker.statistics)
    optimizer.close()
    return run


def delta(digits: Digits, process: ServerProcess, server: stepback.Server, restart: bool) -> Run:
    """(c) Two processes train 20 steps on their own half of the data, then meet at the server (DiLoCo)."""
    run = Run("delta", f"{WORKERS} workers, {LOCAL_STEPS} local steps, Nesterov")
    module = network(SEED)
    model = server.create_model(
        "digits-delta",
        dict(module.named_parameters()),
        outer=stepback.diloco(),
        rounds=stepback.sync(quorum=WORKERS, reduction="ordered"),
        sync_period=LOCAL_STEPS,
        finish_after_steps=ROUNDS,
    )
    began = time.monotonic()
    bar = Bar(f"({run.name}) {run.title}", ROUNDS)
    with delta_workers.start(process.address, model.name, WORKERS, DELTA_RATE) as workers:
        for report in workers.reports():
            run.steps = max(run.steps, report["local_steps"])
            if report["worker"] == 0 and "test_loss" in report:
                run.curve.append((report["local_steps"], report["test_loss"]))
                bar.show(report["outer_steps"], f"test loss {report['test_loss']:.3f}")
                if restart and report["outer_steps"] >= ROUNDS // 2:
                    restart = False
                    _restart(process, model)
                    print(
                        f"\n  killed the server in round {report['outer_steps']} and started it again",
                        flush=True,
                    )
            if report.get("done"):
                run.bytes_sent += report["bytes_sent"]
                run.bytes_received += report["bytes_received"]
    bar.end()
    run.seconds = time.monotonic() - began
    model.pull(into={name: p.detach() for name, p in module.named_parameters()})
    run.accuracy = accuracy(module, digits)
    return run


def _train(run: Run, digits: Digits, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    bar = Bar(f"({run.name}) {run.title}", STEPS)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [STEPS - COOL_DOWN], gamma=0.2)
    for step, (x, y) in zip(range(1, STEPS + 1), digits.batches(SEED)):
        optimizer.zero_grad()
        loss_of(module, x, y).backward()
        optimizer.step()
        schedule.step()
        run.fast_curve.append((step, test_loss(module, digits)))
        bar.show(step, f"test loss {run.fast_curve[-1][1]:.3f}")
    bar.end()
    run.steps = STEPS


def _restart(process: ServerProcess, model: stepback.Model) -> None:
    """The server dies in the middle; the workers' processes wait, and go on from its last snapshot."""
    model.save_snapshot()
    process.kill()
    process.start()


def _count_bytes(run: Run, statistics: stepback.Statistics) -> None:
    run.bytes_sent = statistics.wire_bytes_sent
    run.bytes_received = statistics.wire_bytes_received
