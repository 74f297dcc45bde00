"""Lookahead in process: the algorithm, torch's habits, and a state_dict to go on from, bit for bit."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch

from stepback.torch import Lookahead

SEED = 7
TORCH2 = int(torch.__version__.split(".")[0]) >= 2
INNER = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.1),
}
POLICIES = ["none", "reset", "pullback"]


def make_module(seed=SEED):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))


def batch(step):
    generator = torch.Generator().manual_seed(1000 + step)
    return torch.randn(11, 5, generator=generator), torch.randn(11, 3, generator=generator)


def loss_of(module, step):
    x, y = batch(step)
    return ((module(x) - y) ** 2).mean()


def train(module, optimizer, steps, first=0):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss_of(module, step).backward()
        optimizer.step()


def weights_of(module):
    return [p.detach().clone() for p in module.parameters()]


def assert_same_bits(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        assert a.dtype == b.dtype and torch.equal(a, b), (a - b).abs().max()


def by_hand(inner_name, k, alpha, policy, steps):
    """Algorithm 1 written out over plain torch tensors: an optimizer of its own, copies made explicitly."""
    module = make_module()
    inner = INNER[inner_name](list(module.parameters()))
    slow = weights_of(module)
    cached = {}
    for step in range(1, steps + 1):
        inner.zero_grad()
        loss_of(module, step - 1).backward()
        inner.step()
        if step % k:
            continue
        with torch.no_grad():
            for i, p in enumerate(module.parameters()):
                slow[i] = p.clone() if alpha == 1 else torch.lerp(slow[i], p, alpha)
                p.copy_(slow[i])
                for name in ("momentum_buffer", "exp_avg"):
                    m = inner.state.get(p, {}).get(name)
                    if policy == "pullback" and m is not None:
                        before = cached.get((i, name), torch.zeros_like(m))
                        m.copy_(m.clone() if alpha == 1 else torch.lerp(before, m, alpha))
                        cached[i, name] = m.clone()
        if policy == "reset":
            inner = INNER[inner_name](list(module.parameters()))
    return weights_of(module), slow


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("inner_name", INNER)
def test_equals_algorithm_1_written_out(inner_name, policy):
    for k, alpha in [(1, 0.5), (3, 0.5), (5, 0.8), (4, 1.0), (4, 0.0)]:
        module = make_module()
        optimizer = Lookahead(INNER[inner_name](list(module.parameters())), k, alpha, policy)
        train(module, optimizer, 14)
        fast, slow = by_hand(inner_name, k, alpha, policy, 14)
        assert_same_bits(weights_of(module), fast)
        with optimizer.slow_weights():
            assert_same_bits(weights_of(module), slow)


def test_closed_form_on_a_quadratic():
    # L = a x^2 / 2: an inner SGD step multiplies x by r = 1 - lr a; a cycle by (1 - alpha) + alpha r^k.
    a, lr, k, alpha, cycles = 2.0, 0.1, 5, 0.5, 6
    x = torch.nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    optimizer = Lookahead(torch.optim.SGD([x], lr=lr), k, alpha)
    for _ in range(k * cycles):
        optimizer.zero_grad()
        (a / 2 * x**2).sum().backward()
        optimizer.step()
    factor = ((1 - alpha) + alpha * (1 - lr * a) ** k) ** cycles
    np.testing.assert_allclose(x.detach().numpy(), np.array([3.0, -1.0]) * factor, rtol=1e-13)


def test_pullback_interpolates_from_a_copy_at_every_sync():
    # lr = 0 and a gradient of 1: torch's buffer is b = mu b + 1; each sync pulls it back towards the previous
    # one.
    x = torch.nn.Parameter(torch.zeros(1))
    inner = torch.optim.SGD([x], lr=0.0, momentum=0.5)
    optimizer = Lookahead(inner, la_steps=2, la_alpha=0.25, pullback_momentum="pullback")
    buffer, remembered = None, 0.0
    for step in range(1, 9):
        x.grad = torch.ones(1)
        optimizer.step()
        buffer = 1.0 if buffer is None else 0.5 * buffer + 1.0
        if step % 2 == 0:
            buffer = remembered + 0.25 * (buffer - remembered)
            remembered = buffer
        np.testing.assert_allclose(inner.state[x]["momentum_buffer"].item(), buffer, rtol=1e-6)


def test_slow_weights_start_as_a_copy_of_the_parameters():
    module = make_module()
    before = weights_of(module)
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1), la_steps=100)
    train(module, optimizer, 3)
    assert any(not torch.equal(a, b) for a, b in zip(weights_of(module), before))
    with optimizer.slow_weights():
        assert_same_bits(weights_of(module), before)


def test_every_parameter_syncs_also_without_a_gradient():
    used, unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = Lookahead(torch.optim.SGD([used, unused], lr=0.5), la_steps=1, la_alpha=0.5)
    with torch.no_grad():
        unused.fill_(3.0)  # moved by something other than a gradient
    used.grad = torch.ones(2)
    optimizer.step()
    assert unused.tolist() == [2.0, 2.0]
    assert used.tolist() == [0.75, 0.75]


def test_alpha_one_is_the_inner_optimizer_bit_for_bit_even_at_infinity():
    module, plain = make_module(), make_module()
    optimizer = Lookahead(torch.optim.Adam(module.parameters(), lr=0.1), 5, 1.0)
    inner = torch.optim.Adam(plain.parameters(), lr=0.1)
    train(module, optimizer, 12)
    train(plain, inner, 12)
    assert_same_bits(weights_of(module), weights_of(plain))
    x = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = Lookahead(torch.optim.SGD([x], lr=1.0), 1, 1.0)
    x.grad = torch.tensor([float("-inf")])
    optimizer.step()
    assert x.item() == float("inf")


def test_is_an_optimizer_and_shares_groups_state_and_defaults_with_the_inner_one():
    module = make_module()
    inner = torch.optim.Adam(module.parameters(), lr=0.1)
    optimizer = Lookahead(inner)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups is inner.param_groups
    assert optimizer.defaults is inner.defaults
    train(module, optimizer, 1)
    assert optimizer.state is inner.state and "exp_avg" in optimizer.state[module[0].weight]
    assert optimizer.optimizer is inner
    assert "la_steps=5" in repr(optimizer) and "Adam" in repr(optimizer)


@pytest.mark.parametrize("phase", [0, 1, 3])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("inner_name", INNER)
def test_training_goes_on_bit_for_bit_from_a_saved_state_dict(inner_name, policy, phase):
    k = 4
    module = make_module()
    optimizer = Lookahead(INNER[inner_name](list(module.parameters())), k, 0.5, policy)
    train(module, optimizer, 2 * k + phase)
    file = io.BytesIO()
    torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict()}, file)

    file.seek(0)
    saved = torch.load(file, weights_only=True) if TORCH2 else torch.load(file)
    other = make_module(seed=99)
    # Other settings than the saved ones: the state_dict brings its own.
    resumed = Lookahead(INNER[inner_name](list(other.parameters())), k + 3, 0.9, policy)
    other.load_state_dict(saved["module"])
    resumed.load_state_dict(saved["optimizer"])
    assert (resumed.la_steps, resumed.la_alpha) == (k, 0.5)

    train(module, optimizer, 7, first=100)
    train(other, resumed, 7, first=100)  # continue from the restored object
    assert_same_bits(weights_of(module), weights_of(other))
    with optimizer.slow_weights(), resumed.slow_weights():
        assert_same_bits(weights_of(module), weights_of(other))


def test_a_loaded_state_dict_is_a_copy():
    module = make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9), 2, 0.5, "pullback")
    train(module, optimizer, 3)
    saved = optimizer.state_dict()
    kept = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    train(module, optimizer, 4)
    for i, slow in kept["lookahead"]["slow"].items():
        assert torch.equal(slow, saved["lookahead"]["slow"][i])
    for i, cached in kept["lookahead"]["cached_momentum"].items():
        assert torch.equal(
            cached["momentum_buffer"], saved["lookahead"]["cached_momentum"][i]["momentum_buffer"]
        )


def test_a_state_dict_that_does_not_fit_is_refused_and_changes_nothing():
    module = make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9))
    train(module, optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    other = Lookahead(torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.3)).state_dict()
    with pytest.raises(ValueError, match="1 slow weights, expected 4"):
        optimizer.load_state_dict(other)
    with pytest.raises(ValueError, match="no 'lookahead' entry"):
        optimizer.load_state_dict(optimizer.optimizer.state_dict())
    wrong = copy.deepcopy(before)
    wrong["lookahead"]["pullback_momentum"] = "reset"
    with pytest.raises(ValueError, match="pullback_momentum"):
        optimizer.load_state_dict(wrong)
    wrong = copy.deepcopy(before)
    wrong["lookahead"]["slow"][1] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"slow weights 1 have shape \(3,\), expected \(7,\)"):
        optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["lookahead"]["phase"] == before["lookahead"]["phase"]
    assert after["param_groups"] == before["param_groups"]


def test_accelerate_habits_survive():
    # Prepared optimizers are loaded with their own state at once, and read through the base class's names.
    module, plain = make_module(), make_module()
    optimizer = Lookahead(torch.optim.AdamW(module.parameters(), lr=0.05))
    train(module, optimizer, 3)
    optimizer.load_state_dict(optimizer.state_dict())
    untouched = Lookahead(torch.optim.AdamW(plain.parameters(), lr=0.05))
    train(plain, untouched, 3)
    train(module, optimizer, 4, first=3)
    train(plain, untouched, 4, first=3)
    assert_same_bits(weights_of(module), weights_of(plain))


@pytest.mark.parametrize("policy", POLICIES)
def test_pickle_and_deepcopy_go_on_bit_for_bit(policy):
    module = make_module()
    optimizer = Lookahead(torch.optim.Adam(module.parameters(), lr=0.05), 3, 0.5, policy)
    train(module, optimizer, 4)
    twins = [pickle.loads(pickle.dumps((module, optimizer))), copy.deepcopy((module, optimizer))]
    train(module, optimizer, 5, first=4)
    for twin_module, twin in twins:
        train(twin_module, twin, 5, first=4)
        assert_same_bits(weights_of(module), weights_of(twin_module))


def test_slow_weights_gives_the_fast_ones_back_whatever_happens():
    module = make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1))
    train(module, optimizer, 3)
    fast = weights_of(module)
    with pytest.raises(KeyError), optimizer.slow_weights():
        assert not torch.equal(module[0].weight, fast[0])
        raise KeyError
    assert_same_bits(weights_of(module), fast)
    with optimizer.slow_weights():
        with pytest.raises(RuntimeError, match="inside slow_weights"):
            optimizer.step()
        with pytest.raises(RuntimeError, match="inside slow_weights"), optimizer.slow_weights():
            pass
    assert_same_bits(weights_of(module), fast)


def test_closures_are_called_and_their_loss_returned():
    module = make_module()
    optimizer = Lookahead(torch.optim.LBFGS(module.parameters(), max_iter=4), la_steps=2)
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(module, 0)
        loss.backward()
        calls.append(loss.item())
        return loss

    first = optimizer.step(closure)
    assert len(calls) > 1 and first.item() == calls[0]
    for _ in range(5):
        optimizer.step(closure)
    assert calls[-1] < calls[0]


def test_zero_grad_passes_set_to_none_on():
    module = make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1))
    loss_of(module, 0).backward()
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in module.parameters())


SCHEDULERS = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2, gamma=0.5),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "one_cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.2, total_steps=20),
    "warm_restarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_drive_the_inner_rates_without_a_warning(name):
    module, plain = make_module(), make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9), la_steps=1000)
    reference = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedulers = SCHEDULERS[name](optimizer), SCHEDULERS[name](reference)
        for step in range(8):
            train(module, optimizer, 1, first=step)
            train(plain, reference, 1, first=step)
            schedulers[0].step()
            schedulers[1].step()
            assert optimizer.param_groups[0]["lr"] == reference.param_groups[0]["lr"]
    assert_same_bits(weights_of(module), weights_of(plain))


def test_reduce_on_plateau_lowers_the_rate():
    module = make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1))
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    for _ in range(3):
        scheduler.step(1.0)
    assert optimizer.optimizer.param_groups[0]["lr"] == pytest.approx(0.025)


@pytest.mark.filterwarnings("ignore:.*GradScaler.*:FutureWarning")
def test_grad_scaler_steps_it():
    module, plain = make_module(), make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1), 2)
    reference = Lookahead(torch.optim.SGD(plain.parameters(), lr=0.1), 2)
    scaler = torch.cuda.amp.GradScaler(enabled=False)
    for step in range(5):
        optimizer.zero_grad()
        scaler.scale(loss_of(module, step)).backward()
        scaler.step(optimizer)
        scaler.update()
    train(plain, reference, 5)
    assert_same_bits(weights_of(module), weights_of(plain))


@pytest.mark.skipif(not TORCH2, reason="torch < 2.3 has no GradScaler for the CPU")
def test_an_overflow_that_the_scaler_skips_does_not_count_as_a_step():
    x = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = Lookahead(torch.optim.SGD([x], lr=1.0), la_steps=2, la_alpha=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for gradient, expected in [(1.0, 0.0), (float("inf"), 0.0), (1.0, 0.0)]:
        optimizer.zero_grad()
        scaler.scale((x * gradient).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert x.item() == expected  # 1 -> 0, skipped, -1 and half the way back to 1


def test_added_parameters_take_part_from_their_present_values():
    first, late, later = (torch.nn.Parameter(torch.full((2,), value)) for value in (1.0, 2.0, 3.0))
    optimizer = Lookahead(torch.optim.SGD([first], lr=1.0), la_steps=2, la_alpha=0.5)

    def step():
        for p in (first, late, later):
            p.grad = torch.ones(2)
        optimizer.step()

    step()
    optimizer.add_param_group({"params": [late], "lr": 2.0})
    optimizer.optimizer.add_param_group({"params": [later], "lr": 0.5})  # behind its back
    step()
    assert first.tolist() == [0.0, 0.0]  # 1 -> -1, half the way back
    assert late.tolist() == [1.0, 1.0]  # 2 -> 0, half the way back
    assert later.tolist() == [2.75, 2.75]  # 3 -> 2.5, half the way back
    assert len(optimizer.state_dict()["lookahead"]["slow"]) == 3


def test_la_steps_and_la_alpha_may_change_while_training():
    x = torch.nn.Parameter(torch.tensor([0.0]))
    optimizer = Lookahead(torch.optim.SGD([x], lr=1.0), la_steps=10, la_alpha=0.5)
    for _ in range(3):
        x.grad = torch.tensor([-1.0])
        optimizer.step()
    optimizer.la_steps, optimizer.la_alpha = 2, 0.25  # phase 3 is past the new period: the next step syncs
    x.grad = torch.tensor([-1.0])
    optimizer.step()
    assert x.item() == 1.0
    with pytest.raises(ValueError, match="la_steps is 0"):
        optimizer.la_steps = 0


def test_half_precision_parameters_keep_their_slow_weights_in_fp32():
    # Neighbours of 256 in bf16 are 2 apart. Each cycle moves the fast weights by 2 and the slow ones by half
    # of that: 257 and 259 exist only in fp32, and rounding them for the fast weights must not pull the slow
    # ones back.
    x = torch.nn.Parameter(torch.tensor([256.0], dtype=torch.bfloat16))
    optimizer = Lookahead(torch.optim.SGD([x], lr=1.0), la_steps=1, la_alpha=0.5)
    for _ in range(4):
        x.grad = torch.tensor([-2.0], dtype=torch.bfloat16)
        optimizer.step()
    slow = optimizer.state_dict()["lookahead"]["slow"][0]
    assert slow.dtype == torch.float32 and slow.item() == 260.0
    assert x.dtype == torch.bfloat16 and x.item() == 260.0


def test_bad_arguments_are_named():
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    inner = torch.optim.SGD(parameters, lr=0.1)
    with pytest.raises(TypeError, match="optimizer is Linear"):
        Lookahead(torch.nn.Linear(1, 1))
    for steps in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="la_steps"):
            Lookahead(inner, la_steps=steps)
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="la_alpha"):
            Lookahead(inner, la_alpha=alpha)
    with pytest.raises(ValueError, match="none, reset, pullback"):
        Lookahead(inner, pullback_momentum="keep")
    with pytest.raises(TypeError, match="give server="):
        Lookahead(inner, run="lm")


@pytest.mark.skipif(not TORCH2, reason="torch < 2.0 has no optimizer hooks")
def test_hooks_of_torch_2_run():
    module = make_module()
    optimizer = Lookahead(torch.optim.SGD(module.parameters(), lr=0.1))
    seen = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(
        lambda o, state: {k: v for k, v in state.items() if k != "extra"}
    )
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    train(module, optimizer, 1)
    state = optimizer.state_dict()
    assert state["extra"] == 1
    optimizer.load_state_dict(state)
    assert seen == ["before", "after", "loaded"]
