"""The uniform method against independent exact arithmetic in rational numbers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import HALF, chain, lif, quantise

from ndeploy import oracle
from ndeploy.errors import NdeployError, RefusedError, UsageError
from ndeploy.ir import network as net
from ndeploy.neurons import CubaLi, CubaLif

REMAINDERS = {"gt": lambda v, theta: v > theta, "ge": lambda v, theta: v >= theta}


def rational_spikes(weights, thetas, x, steps, compare, gain=Fraction(1, 2), keep=Fraction(1, 2)):
    """A chain of dense LIF layers in exact rational numbers: spikes (steps, neurons) of every layer.

    weights: per layer a list of rows of Fractions; thetas: per layer a Fraction a neuron.
    """
    state = [[Fraction(0)] * len(w) for w in weights]
    found: list[list[list[int]]] = [[] for _ in weights]
    for t in range(steps):
        message = [int(v) for v in x[t]]
        for layer, rows in enumerate(weights):
            sent = []
            for i, row in enumerate(rows):
                current = sum((w * m for w, m in zip(row, message, strict=True)), Fraction(0))
                v = keep * state[layer][i] + gain * current
                spike = REMAINDERS[compare](v, thetas[layer][i])
                state[layer][i] = Fraction(0) if spike else v
                sent.append(int(spike))
            found[layer].append(sent)
            message = sent
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["gt", "ge"]), st.integers(2, 8), st.integers(1, 6))
def test_halving_membranes_compare_exactly_at_every_tie(seed, compare, bits, steps):
    rng = np.random.default_rng(seed)
    sizes = [5, 6, 4]
    # few distinct weights, so that sums meet thresholds exactly and often
    weights = [rng.integers(-2, 3, (b, a)) / 2 for a, b in itertools.pairwise(sizes)]
    network = chain(
        ("in", net.Input((5,))),
        ("w0", net.Linear(weights[0])),
        ("n0", lif((6,))),
        ("w1", net.Linear(weights[1])),
        ("n1", lif((4,), 0.5)),
        ("out", net.Output((4,))),
        semantics=net.Semantics(dt=1.0, reset="zero", compare=compare),
    )
    lowered, made = quantise(network, steps, bits=bits)
    program = made.program
    x = rng.integers(0, 2, (3, steps, 5))
    got = oracle.run(program, {"in": x}, strict=True)
    exact, thetas = [], []
    for name, target, theta in (("w0", "n0", Fraction(1)), ("w1", "n1", Fraction(1, 2))):
        projection = next(p for p in program.projections if p.name == name)
        unit = np.broadcast_to(np.asarray(made.choices.unit[target], dtype=float), (len(projection.synapses.weight),))
        # the tied unit is theta / (G k) exactly: recover k, compute with the rational
        ks = [round(float(theta) / 0.5 / float(u)) for u in unit]
        rows = [[int(m) * theta * 2 / k for m in row] for row, k in zip(projection.synapses.weight, ks, strict=True)]
        exact.append(rows)
        thetas.append([theta] * len(rows))
    for i in range(3):
        spikes = rational_spikes(exact, thetas, x[i], steps, compare)
        assert got.traces["spikes/n0"][i].tolist() == spikes[0]
        assert got.traces["spikes/n1"][i].tolist() == spikes[1]
    assert lowered.steps == steps


def test_ge_keeps_lavas_threshold_form_where_a_bias_is_exact():
    network = chain(
        ("in", net.Input((2,))), ("w", net.Linear(np.ones((1, 2)))), ("n", lif((1,))), ("out", net.Output((1,)))
    )
    short = quantise(network, 6)[1].program.population("n").neuron
    long = quantise(network, 7)[1].program.population("n").neuron
    assert isinstance(short, CubaLif)
    assert isinstance(long, CubaLif)
    assert (int(np.max(short.vth)) % 64, short.bias) == (0, 1)
    assert (int(np.max(long.vth)) % 64, long.bias) == (63, 0)


def test_weights_use_the_whole_range_of_the_bits_asked_for():
    rng = np.random.default_rng(0)
    network = chain(
        ("in", net.Input((8,))), ("w", net.Linear(rng.normal(size=(4, 8)))), ("n", lif((4,))), ("o", net.Output((4,)))
    )
    for bits in range(2, 9):
        weight = quantise(network, 4, bits=bits)[1].program.projections[0].synapses.weight
        assert np.abs(weight).max() <= 2 ** (bits - 1) - 1
        assert (np.abs(weight).max(axis=1) >= 0.5 * (2 ** (bits - 1) - 1)).all()


def test_a_bias_becomes_the_membranes_bias_and_reaches_threshold_when_it_should():
    network = chain(
        ("in", net.Input((1,))),
        ("w", net.Linear(np.array([[1.0]]), np.array([0.3]))),
        ("n", lif((1,), 1.0, tau=1e9)),
        ("o", net.Output((1,))),
        semantics=net.Semantics(dt=1e9 / 4, reset="zero"),
    )
    program = quantise(network, 40)[1].program
    spikes = oracle.run(program, {"in": np.zeros((1, 40, 1), dtype=np.int64)}).outputs["n"][0, :, 0]
    v, expected = 0.0, []
    for _ in range(40):
        v += 0.25 * (-v + 0.3)
        expected.append(int(v > 1.0))
        v = 0.0 if v > 1.0 else v
    assert spikes.tolist() == expected


@pytest.mark.parametrize("reset", ["zero", "subtract", "delayed-zero", "delayed-subtract", "none"])
@pytest.mark.parametrize("refractory", [0.0, 2.0])
def test_every_reset_follows_its_float_original(reset, refractory):
    full = np.ones((3,))
    node = net.LIF(2 * full, full, 0 * full, full, 0 * full, refractory)
    weight = np.array([[3.0, 1.0], [2.5, -1.0], [5.0, 5.0]])
    network = chain(
        ("in", net.Input((2,))),
        ("w", net.Linear(weight)),
        ("n", node),
        ("o", net.Output((3,))),
        semantics=net.Semantics(dt=1.0, reset=reset),
    )
    program = quantise(network, 12)[1].program
    x = np.random.default_rng(1).integers(0, 2, (1, 12, 2))
    got = oracle.run(program, {"in": x}).outputs["n"][0]
    v, last, wait = np.zeros(3), np.zeros(3), np.zeros(3)
    for t in range(12):
        v = 0.5 * v + 0.5 * (weight @ x[0, t])
        if reset == "delayed-zero":
            v = np.where(last > 0, 0, v)
        if reset == "delayed-subtract":
            v = v - last
        v = np.where(wait > 0, 0, v)
        spike = (v > 1).astype(int)
        wait = np.where(spike > 0, refractory, np.maximum(wait - 1, 0))
        if reset == "zero":
            v = np.where(spike > 0, 0, v)
        if reset == "subtract":
            v = v - spike
        last = spike
        assert got[t].tolist() == spike.tolist(), f"step {t}"


def test_a_linear_output_is_read_as_a_sum_over_steps():
    network = chain(("in", net.Input((2,))), ("w", net.Linear(np.array([[1.0, 2.0]]))), ("o", net.Output((1,))))
    program = quantise(network, 3)[1].program
    neuron = program.population("o").neuron
    assert isinstance(neuron, CubaLi)
    result = oracle.run(program, {"in": np.ones((1, 3, 2), dtype=np.int64)})
    scale = float(np.max(program.population("o").scale))
    assert np.allclose(result.outputs["o"][0, :, 0] * scale, [3, 6, 9], rtol=0.01)
    assert program.outputs[0].decode == "last"


def test_an_unknown_input_range_is_an_error_with_the_remedy():
    network = chain(
        ("in", net.Input((2,))), ("w", net.Linear(np.ones((1, 2)))), ("n", lif((1,))), ("o", net.Output((1,)))
    )
    with pytest.raises(UsageError) as caught:
        quantise(network, 3, settings={})
    assert caught.value.code == "ND305"
    assert "--calibration" in caught.value.help


def test_weights_that_are_no_numbers_are_refused():
    network = chain(
        ("in", net.Input((2,))), ("w", net.Linear(np.array([[np.nan, 1.0]]))), ("n", lif((1,))), ("o", net.Output((1,)))
    )
    with pytest.raises(NdeployError) as caught:
        quantise(network, 3)
    assert caught.value.code == "ND304"


def test_calibration_data_coarsen_a_current_that_would_wrap():
    # 2,000 inputs of weight 1 and a threshold of 1,500: the worst case fits no 24-bit current at 8 bits
    network = chain(
        ("in", net.Input((2000,))),
        ("w", net.Linear(np.full((1, 2000), 1.0))),
        ("n", lif((1,), 700.0)),
        ("o", net.Output((1,))),
    )
    x = np.ones((2, 2000), dtype=np.uint8)
    _, made = quantise(network, 4, x=x, settings={})
    result = oracle.run(made.program, {"in": np.ones((1, 4, 2000), dtype=np.int64)}, strict=True)
    assert result.outputs["n"].sum() == 4


def test_settings_out_of_range_are_refused():
    network = chain(
        ("in", net.Input((2,))), ("w", net.Linear(np.ones((1, 2)))), ("n", lif((1,))), ("o", net.Output((1,)))
    )
    with pytest.raises(UsageError, match="input_bits"):
        quantise(network, 3, settings={"input_scale": 1.0, "input_bits": 99})
    with pytest.raises(RefusedError, match="weight bits"):
        quantise(network, 3, bits=1)


def test_semantics_default_is_the_spiking_transformers():
    assert (HALF.compare, HALF.reset) == ("ge", "zero")
