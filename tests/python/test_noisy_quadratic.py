"""The noisy-quadratic laboratory: its theory against published figures, its quick run through a server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

LABORATORY = Path(__file__).parents[2] / "examples" / "noisy_quadratic"
sys.path.insert(0, str(LABORATORY))
import linear  # noqa: E402
import theory  # noqa: E402
from theory import Problem, Setting  # noqa: E402

sys.path.remove(str(LABORATORY))  # its other modules share names with the quickstart's

UNIT = Problem.of([1.0])
CURVATURES = 1 / np.arange(1, 1001)
WIDE = Problem.of(CURVATURES)
P1 = Setting(0.1, 0.5, 5)


def printed(value, digits):
    """As published: to so many significant digits."""
    return float(f"{value:.{digits}g}")


@pytest.mark.parametrize(
    ("problem", "setting", "final", "at_1000"),
    [
        (UNIT, P1, (0.0263157894737, 0.0116571832814), (0.0263157894737, 0.0116571832814)),
        (WIDE, Setting(0.5, 0.5, 5), (0.25419765431, 0.0934226863935), (0.363843640417, 0.373728126812)),
        (
            Problem.of(CURVATURES, 1 / CURVATURES),
            Setting(0.5, 0.5, 5),
            (0.999233271146, 0.449827531696),
            (1.08149074744, 0.695189711811),
        ),
        (WIDE, Setting(1.5, 0.5, 5), (1.82474398112, 0.606232582094), (1.83124951397, 0.656480967687)),
        (WIDE, Setting(0.1, 0.8, 5), (0.0426719875233, 0.032901083377), (0.653976794011, 0.73760117315)),
        (WIDE, Setting(0.5, 0.5, 10), (0.25419765431, 0.0892350089594), (0.363843640417, 0.370115425947)),
    ],
    ids=["P1", "P2", "P3", "P4", "P5", "P6"],
)
def test_losses_of_the_parameter_sets(problem, setting, final, at_1000):
    for one, end, then in zip((Setting(setting.rate), setting), final, at_1000):
        assert printed(theory.final_loss(problem, one), 12) == end
        fast, _ = theory.trajectory(problem, one, [1000])[1000]
        assert printed(fast.loss(problem.curvature), 12) == then


def test_coordinates_of_p2():
    sgd = theory.sgd_variance(WIDE, 0.5)
    lookahead = theory.lookahead_variance(WIDE, Setting(0.5, 0.5, 5))
    assert printed(lookahead[0], 12) == 0.113402061856 and sgd[0] == pytest.approx(1 / 3, rel=1e-15)
    assert (printed(sgd[9], 12), printed(lookahead[9], 12)) == (0.025641025641, 0.0120519879806)
    assert (printed(sgd[999], 12), printed(lookahead[999], 12)) == (2.50062515629e-4, 1.24953142611e-4)


def test_transients_of_p1():
    published = {
        4: (0.6561, 0.02997541),
        5: (0.795245, 0.008570020525),
        10: (0.632414610025, 0.0139898267132),
        50: (0.101160151755, 0.0230757818765),
        100: (0.010233376303, 0.0233119250359),
    }
    for step, (fast, _) in theory.trajectory(UNIT, P1, published).items():
        assert (printed(fast.mean[0], 12), printed(fast.variance[0], 12)) == published[step]


def test_the_table_of_proposition_2():
    published = {
        0.1: (0.09547738693, 0.08118684117, 0.06970390481, 0.05865503012),
        0.2: (0.1919191919, 0.1658403272, 0.1442640742, 0.1229586394),
        0.5: (0.4871794872, 0.4429729647, 0.402749462, 0.35929813),
        0.8: (0.7916666667, 0.7608216256, 0.7295365223, 0.6916581164),
    }
    for alpha, ratios in published.items():
        for period, ratio in zip((1, 5, 10, 20), ratios):
            found = theory.lookahead_variance(UNIT, Setting(0.1, alpha, period)) / theory.sgd_variance(
                UNIT, 0.1
            )
            assert printed(found[0], 10) == ratio


@pytest.mark.parametrize(
    ("setting", "rate", "lookahead", "sgd"),
    [
        (
            Setting(0.5, 0.5, 5),
            0.2095727247,
            (1.3303439, 0.37372813, 0.10592023),
            (1.409412, 0.4290563, 0.11487298),
        ),
        (Setting(1.0, 0.5, 5), 0.47662072, (1.1539925, 0.34954071), (1.1705537, 0.35819046)),
        (Setting(1.5, 0.2, 10), 0.4194566897, (1.4199294, 0.43627363), (1.1945121, 0.34986838)),
    ],
)
def test_convergence_at_the_same_final_loss(setting, rate, lookahead, sgd):
    found = theory.matched_rate(WIDE, theory.final_loss(WIDE, setting))
    assert printed(found, 10) == rate
    for one, losses in ((setting, lookahead), (Setting(found), sgd)):
        exact = theory.trajectory(WIDE, one, (100, 1000, 5000))
        for step, loss in zip((100, 1000, 5000), losses):
            assert printed(exact[step][0].loss(CURVATURES), 8) == loss


def test_odd_k_is_stable_where_sgd_is_not():
    setting = Setting(2.1, 0.5, 5)
    assert theory.contraction(UNIT, setting)[0] == pytest.approx(-0.305255, abs=1e-12)
    assert printed(theory.lookahead_variance(UNIT, setting)[0], 12) == 9.22691778998


@pytest.mark.parametrize(
    ("policy", "mean", "variance", "stationary"),
    [
        ("keep", -0.000456654806807, 0.129507512562, 0.129508020422),
        ("reset", 0.000726401377697, 0.075178517954, 0.0751785576227),
        ("pullback", 0.00756650095648, 0.101172661455, 0.101180524265),
    ],
)
def test_momentum_at_a_sync(policy, mean, variance, stationary):
    scheme = linear.lookahead(1.0, 0.1, 0.9, 0.5, 5, policy)
    means, covariance = scheme.moments([50])[50]
    found = (means[1], covariance[1, 1], scheme.stationary()[1, 1])
    assert tuple(printed(one, 12) for one in found) == (mean, variance, stationary)


def test_heavy_ball_alone():
    assert printed(linear.lookahead(1.0, 0.1, 0.9, 1.0, 1).stationary()[1, 1], 12) == 0.513513513514


@pytest.mark.parametrize(
    ("arguments", "mean", "variance", "stationary"),
    [
        ((1.0, 0.1, 5, 4, 0.7, 0.9), 0.121044218556, 0.0354866923322, 0.0358013047845),
        ((1.0, 0.1, 5, 4, 0.7, 0.9, False), None, None, 0.0792224812664),
        ((0.01, 0.1, 5, 4, 0.7, 0.9), 0.841950316124, 0.000137123680669, 0.00085275483947),
        ((1.0, 0.1, 28, 1, 0.68, 0.37), -3.49486585498e-05, 0.0478198230089, 0.047819823041),
        ((1.0, 0.1, 5, 4, 1.0, 0.0), 0.00515377520732, 0.0131575452448, 0.0131578947368),
    ],
    ids=["DiLoCo", "heavy ball", "DiLoCo, a = .01", "SNOO", "FedAvg"],
)
def test_outer_rules(arguments, mean, variance, stationary):
    scheme = linear.outer_momentum(*arguments)
    assert printed(scheme.stationary()[0, 0], 12) == stationary
    if mean is not None:
        means, covariance = scheme.moments([10])[10]
        assert (printed(means[0], 12), printed(covariance[0, 0], 12)) == (mean, variance)


def test_contraction_without_noise():
    published = {
        (1.0, 1.0, 0.99, 1.0, 20): 0.994987437107,
        (1.0, 1.0, 0.99, 0.5, 20): 0.975927871415,
        (0.01, 1.0, 0.99, 0.5, 20): 0.962788532527,
        (1.0, 0.1, 0.9, 0.5, 5): 0.880681403339,
        (1.0, 0.1, 0.0, 0.5, 5): 0.955212923182,
        (1.0, 3.9, 0.99, 1.0, 20): 0.994987437107,
        (1.0, 3.9, 0.99, 0.5, 20): 1.04161532189,
    }
    for arguments, rate in published.items():
        assert printed(linear.rate_per_step(*arguments), 12) == rate, arguments


def test_rates_tuned_by_condition_number():
    rates = np.arange(1, 400) / 100
    for kappa, lookahead in ((10, 0.0102803), (100, 0.00552198), (1000, 0.00518997)):
        spectrum = np.geomspace(1 / kappa, 1, 41)
        _, found = linear.tuned_rate(spectrum, rates, 0.99, 0.5, 20)
        assert printed(1 - found, 6) == lookahead
        _, alone = linear.tuned_rate(spectrum, rates, 0.99, 1.0, 20)
        assert printed(1 - alone, 6) == 0.00501256


def test_averages_of_the_slow_weights():
    variance, rho = theory.lookahead_variance(UNIT, P1)[0], theory.contraction(UNIT, P1)[0]
    assert printed(theory.mean_variance(50, variance, rho), 12) == 0.00373451442453
    assert printed(theory.ema_variance(0.9, variance, rho), 12) == 0.00740578358831
    assert theory.averaged_variance(np.full(50, 1 / 50), variance, rho) == pytest.approx(
        0.00373451442453, rel=1e-11
    )
    decayed = 0.1 * 0.9 ** np.arange(400)
    assert theory.averaged_variance(decayed, variance, rho) == pytest.approx(0.00740578358831, rel=1e-11)


def laboratory(out, *options, **environment):
    command = [sys.executable, str(LABORATORY), f"--out={out}", f"--json={out / 'all.json'}", *options]
    variables = {**os.environ, "MPLCONFIGDIR": str(out), **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables)


def test_a_quick_run_through_a_server_stays_inside_its_bands(local, tmp_path):
    done = laboratory(tmp_path, "--quick", f"--server={local.address}")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "all.json").read_text())
    assert len(results) == 9 and sum(one["comparisons"] for one in results.values()) > 1000
    for name, one in results.items():
        assert one["outside"] == 0 and one["worst_deviation"] <= one["band"], name
        if one["comparisons"] >= 40:  # were deviations all tiny, the standard errors would be wrong as well
            assert 0.5 < one["rms_deviation"] < 1.5, name
        assert (tmp_path / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert one["points"][0]["case"] in (tmp_path / f"{name}.txt").read_text()
    with local.connect() as server:
        assert server.list_models() == []
