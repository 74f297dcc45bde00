#!/usr/bin/env python3
"""Writes the golden vectors of the update rules: one <rule>.json per equations/<rule>.py, computed in float64.

    make_goldens.py            write the files beside this script
    make_goldens.py --check    exit 1 when a file differs from what the equations give (run by ctest)

A module of equations/ writes the rule a second time, for one element, in plain Python, without looking at the C++;
torch semantics decide where papers and libraries differ. It says KIND ("inner", "outer" or "average"), CASES ({case: hypers}),
PUBLISHED ({case: final weights}, may be empty) and a class Rule(**hypers) with step(weight, input) -> weight;
a rule that looks at whole tensors says TensorRule(count, **hypers) with step(weights, inputs) -> weights instead.
A rule that serves another array to evaluators has it as `evaluation`, and PUBLISHED means that one then.
A golden holds the start, the input of every step (gradients, mean deltas, or the slow weights after every sync), the
weights (the average that is served) after every step and, where there are such, the evaluations.
Standard library only.
"""
import importlib
import json
import math
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
START = {"inner": [1.0, -2.0, 0.5, 3.0], "outer": [1.0], "average": [1.5, -0.25]}
INPUTS = {
    "inner": [[math.sin(1 + 0.7 * t * (i + 1)) * (1 + 0.5 * i) for i in range(4)] for t in range(1, 9)],
    "outer": [[d] for d in (0.1, -0.2, 0.3, 0.05, 0.4, -0.1)],
    "average": [[math.cos(0.9 * s), 40 * math.exp(-0.3 * s) - 7] for s in range(1, 11)],
}


class Elements:
    """An element-wise rule on a tensor: every element has a state of its own."""

    def __init__(self, rule, count, hypers):
        self.elements = [rule(**hypers) for _ in range(count)]
        self.evaluates = hasattr(rule, "evaluation")

    def step(self, weights, inputs):
        return [element.step(w, x) for element, w, x in zip(self.elements, weights, inputs)]

    @property
    def evaluation(self):
        return [element.evaluation for element in self.elements]


def run(module, hypers, start, inputs):
    """The weights and the evaluations after every step."""
    whole = hasattr(module, "TensorRule")
    tensor = module.TensorRule(len(start), **hypers) if whole else Elements(module.Rule, len(start), hypers)
    weights, trajectory, evaluations = start, [], []
    for step_inputs in inputs:
        weights = tensor.step(weights, step_inputs)
        trajectory.append(weights)
        if getattr(tensor, "evaluates", False):
            evaluations.append(tensor.evaluation)
    return trajectory, evaluations


def close(a, b, tolerance):
    return abs(a - b) <= tolerance * max(1.0, abs(b))


def golden(name):
    module = importlib.import_module(name)
    start, inputs = START[module.KIND], INPUTS[module.KIND]
    cases = []
    for case, hypers in module.CASES.items():
        trajectory, evaluations = run(module, hypers, start, inputs)
        for got, published in zip((evaluations or trajectory)[-1], module.PUBLISHED.get(case, [])):
            if not close(got, published, 1e-11):
                sys.exit(f"{name}/{case}: the equations give {got!r}, the published figure is {published!r}")
        cases.append({"case": case, "hypers": hypers, "trajectory": trajectory})
        if evaluations:
            cases[-1]["evaluations"] = evaluations
    return {"rule": name, "kind": module.KIND, "start": start, "inputs": inputs, "cases": cases}


def same(a, b):
    """Equal but for the last bits of the machine's libm."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return close(a, b, 1e-14)
    return a == b


def write_or_check(folder, golden_of):
    """One <name>.json per equations/<name>.py of `folder`; with --check ends the program when one differs."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder / "equations"))
    names = sorted(path.stem for path in (folder / "equations").glob("*.py") if not path.stem.startswith("_"))
    stale = []
    for name in names:
        path, expected = folder / f"{name}.json", golden_of(name)
        if sys.argv[1:] != ["--check"]:
            path.write_text(json.dumps(expected, indent=1) + "\n")
        elif not path.exists() or not same(json.loads(path.read_text()), expected):
            stale.append(path.name)
    if stale:
        sys.exit("not what the equations give: " + ", ".join(stale))
    print(f"{len(names)} golden files are what the equations give")


if __name__ == "__main__":
    write_or_check(HERE, golden)
