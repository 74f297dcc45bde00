"""Lookahead on a quadratic with noisy gradients, at a rate too high for SGD alone: here, and with a server.

PYTHONPATH=build/release/python /usr/bin/python3 examples/lookahead_toy.py
"""

import torch

import stepback
import stepback.torch

CURVATURE = torch.tensor([1.0, 0.1, 0.01])
NOISE, RATE, STEPS = 0.5, 1.8, 300


def train(wrap):
    """Mean loss over the last third of noisy gradient descent from the same start."""
    noise = torch.Generator().manual_seed(0)
    x = torch.nn.Parameter(torch.ones(3))
    optimizer = wrap(torch.optim.SGD([x], lr=RATE), x)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        target = NOISE * torch.randn(3, generator=noise)
        (0.5 * CURVATURE * (x - target) ** 2).sum().backward()
        optimizer.step()
        losses.append((0.5 * CURVATURE * x.detach() ** 2).sum().item())
    return sum(losses[-STEPS // 3 :]) / (STEPS // 3)


def in_process(optimizer, x):
    return stepback.torch.Lookahead(optimizer, la_steps=5, la_alpha=0.5)


def main():
    print(f"SGD alone                   loss {train(lambda optimizer, x: optimizer):.4f}")
    print(f"Lookahead, in process       loss {train(in_process):.4f}")
    with stepback.serve_local() as local, local.connect() as server:

        def on_server(mode):
            return lambda optimizer, x: stepback.torch.Lookahead(
                optimizer, 5, 0.5, server=server, run=f"toy-{mode}", named_parameters=[("x", x)], mode=mode
            )

        print(f"Lookahead, slow weights on a server   {train(on_server('delta')):.4f}")
        print(f"Lookahead, all of it on a server      {train(on_server('gradient')):.4f}")
        for info in server.list_models():
            print(f"  model {info.name}: version {info.version}, {info.outer_steps} outer steps")


if __name__ == "__main__":
    main()
