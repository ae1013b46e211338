"""The one place where dt and the integrator enter: factors against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from ndeploy.errors import UsageError
from ndeploy.graph.discrete import delay_steps, discretise
from ndeploy.ir import network as ir

TAU, SYN, R, LEAK, TH, RESET, W = (np.array([v]) for v in (4e-3, 2e-3, 3.0, 0.5, 1.0, -0.25, 5.0))
DT = 1e-3


def semantics(**changes: object) -> ir.Semantics:
    return ir.Semantics(**{"dt": DT, **changes})  # type: ignore[arg-type]


def test_forward_euler():
    n = discretise(ir.CubaLIF(SYN, TAU, R, LEAK, TH, RESET, W, refractory=3e-3), semantics())
    assert (n.alpha, n.input_gain, n.beta, n.gain, n.bias) == (0.5, 2.5, 0.75, 0.75, 0.125)
    assert (n.threshold, n.v_reset, n.reset_amount, n.refractory) == (1.0, -0.25, 1.0, 3)
    assert n.has_current
    assert n.spiking


def test_exponential_integrator_is_the_exact_solution():
    n = discretise(ir.CubaLI(SYN, TAU, R, LEAK, W), semantics(integrator="exponential"))
    a, b = np.exp(-0.5), np.exp(-0.25)
    np.testing.assert_allclose([n.alpha, n.input_gain, n.beta], [[a], [5 * (1 - a)], [b]])
    np.testing.assert_allclose([n.gain, n.bias], [[3 * (1 - b)], [0.5 * (1 - b)]])
    assert not n.spiking


@pytest.mark.parametrize(("gain", "expected"), [("ode", 2.5), ("impulse", 5.0), ("decayed", 2.5)])
def test_what_an_input_adds_to_the_current(gain, expected):
    assert discretise(ir.CubaLI(SYN, TAU, R, LEAK, W), semantics(synapse_gain=gain)).input_gain == expected


def test_membrane_gain_of_one():
    assert discretise(ir.LIF(TAU, R, LEAK, TH, RESET), semantics(membrane_gain="unit")).gain == 1.0


@pytest.mark.parametrize(("gain", "expected"), [("ode", 3e-3), ("unit", 3.0)])
def test_integrators_per_second_or_per_step(gain, expected):
    for node in (ir.Integrator(R), ir.IF(R, TH, RESET)):
        n = discretise(node, semantics(if_gain=gain))
        assert n.gain == pytest.approx(expected)
        assert n.beta == 1.0


def test_a_nodes_own_semantics_win():
    own = semantics(reset="subtract", dt=2e-3)
    n = discretise(ir.LIF(TAU, R, LEAK, TH, RESET, semantics=own), semantics(reset="zero"))
    assert n.reset == "subtract"
    assert n.beta == 0.5


@pytest.mark.parametrize(
    ("node", "changes"),
    [
        (ir.LIF(TAU, R, LEAK, TH, RESET), {"dt": 0.0}),
        (ir.LIF(TAU, R, LEAK, TH, RESET), {"dt": 5e-3}),
        (ir.LIF(-TAU, R, LEAK, TH, RESET), {}),
        (ir.LIF(TAU, R, LEAK, TH, RESET, refractory=1.5e-3), {}),
        (ir.LI(np.array([1e-5]), R, LEAK), {}),
    ],
)
def test_steps_that_make_no_sense(node, changes):
    with pytest.raises(UsageError) as error:
        discretise(node, semantics(**changes), "hidden")
    assert error.value.code == "ND207"


def test_a_time_constant_of_one_step_survives_float32():
    n = discretise(ir.LI(np.float32([1e-4]).astype(np.float64), R, LEAK), semantics(dt=1e-4))
    assert n.beta == pytest.approx(0.0, abs=1e-6)
    assert (n.beta >= 0).all()


def test_delays_are_whole_steps():
    stored = np.float32([0.0, 1e-4, 2.5e-2]).astype(np.float64)
    np.testing.assert_array_equal(delay_steps(ir.Delay(stored), semantics(dt=1e-4)), [0, 1, 250])
    for bad in (1.5e-3, -1e-3):
        with pytest.raises(UsageError, match="ND207"):
            delay_steps(ir.Delay(np.array([bad])), semantics())
