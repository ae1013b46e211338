"""Weights that come quantised: their grid is found again, and the program holds exactly their mantissas and steps."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import graded_compile
import graded_networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ndeploy.quantize import _grid, taken_over
from networks import HALF, chain, lif, quantise

from ndeploy import oracle, sim
from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.errors import RefusedError, UsageError
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.ir.lowered import RealSparse
from ndeploy.ir.program import Program
from ndeploy.ir.serial import to_parts
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule
from ndeploy.pipeline import Compiled, CompileOptions, compile_model
from ndeploy.plugins import methods, target
from ndeploy.quantizer import Quantised, Request
from ndeploy.settings import Settings

from .fixtures_path import fixture
from .tiny_netx import conv, dense, write_net
from .tiny_netx import lif as netx_lif
from .tiny_spikformer import TinySpikformer

Floats = Any


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# -- the grid ----------------------------------------------------------------------------------------------------------


def _coarsest(whole: Floats) -> Floats:
    """By row, the greatest number that divides all of it; 1 for a row of zeros."""
    return np.maximum(np.gcd.reduce(whole, axis=1), 1)


@st.composite
def quantised_rows(draw: Any) -> tuple[Floats, Floats, Floats, int]:
    """(mantissas, weights in float64, step by row, bits): rows of integers times a float32 step, then by row a factor,
    as folding a batch norm gives them; some rows zero, some with a common factor."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits, rows, columns = draw(st.integers(2, 8)), draw(st.integers(1, 12)), draw(st.integers(1, 40))
    top = 2 ** (bits - 1) - 1
    whole = rng.integers(-top, top + 1, (rows, columns))
    whole[rng.random(rows) < 0.2] = 0
    common = rng.random(rows) < 0.3
    whole[common] = (whole[common] / 2).astype(np.int64) * 2
    step = np.float32(np.exp(rng.uniform(-12, 4)))
    factor = np.ones(rows) if draw(st.booleans()) else rng.normal(size=rows)
    stored = (whole.astype(np.float32) * step).astype(np.float64)
    weight = stored * factor[:, None]
    if draw(st.booleans()):  # folded in float32, or stored once more
        weight = weight.astype(np.float32).astype(np.float64)
    return whole, weight, np.abs(float(step) * factor), bits


def _find(weight: Floats, bits: int, shared: bool = False) -> _grid.Grid | None:
    rows, columns = weight.shape
    return _grid.find(weight.reshape(-1), np.repeat(np.arange(rows), columns), rows, bits, shared=shared)


@settings(max_examples=120, deadline=None)
@given(quantised_rows())
def test_the_step_of_every_row_is_found_again(made: tuple[Floats, Floats, Floats, int]) -> None:
    whole, weight, step, bits = made
    grid = _find(weight, bits)
    assert grid is not None
    found = grid.mantissas.reshape(weight.shape)
    np.testing.assert_allclose(found * grid.step[:, None], weight, rtol=2.0**-21, atol=0)
    assert grid.bits <= bits
    assert (grid.step > 0).all()
    live = whole.any(axis=1)
    if grid.shared:  # one step for all: the coarsest that there is
        assert np.ptp(grid.step) == 0
        assert np.gcd.reduce(found.reshape(-1)) in (0, 1)
    else:
        np.testing.assert_allclose(grid.step[live], (step * _coarsest(whole))[live], rtol=1e-6)
        assert (_coarsest(found)[live] == 1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_one_step_for_all_rows_is_preferred(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    top = 2 ** (bits - 1) - 1
    whole = rng.integers(-top, top + 1, (6, 9))
    whole[0, 0], whole[1] = top, (whole[1] / 2).astype(np.int64) * 2  # the second row alone would take twice the step
    weight = (whole.astype(np.float32) * np.float32(rng.uniform(0.01, 3))).astype(np.float64)
    grid = _find(weight, bits)
    assert grid is not None
    assert grid.shared
    common = np.gcd.reduce(whole.reshape(-1))
    np.testing.assert_array_equal(grid.mantissas.reshape(whole.shape), whole // common)
    assert grid.bits == max(2, int(max(whole.max() // common, -whole.min() // common)).bit_length() + 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_weights_on_no_grid_are_told_apart(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(4, 30))
    assert _find(weight, bits) is None
    worst, off = _grid.misfit(weight.reshape(-1), np.repeat(np.arange(4), 30), 4, bits)
    assert 0 <= worst < 4
    assert 0.1 < off <= 0.5
    whole = rng.integers(-1, 2, (4, 30)).astype(np.float64)
    whole[:, 0] = 1
    whole[2, 3] += 1e-3
    assert _find(whole, bits) is None
    worst, off = _grid.misfit(whole.reshape(-1), np.repeat(np.arange(4), 30), 4, bits)
    assert worst == 2
    assert off == pytest.approx(1e-3, rel=0.01) or off < 1e-3 * 2 ** (bits - 1)


def test_the_range_of_a_signed_field() -> None:
    rows = np.array([[-8.0, 7.0, 1.0]]) * 0.1
    grid = _find(rows, 4)
    assert grid is not None
    assert grid.bits == 4
    assert _find(-rows, 4) is None, "+8 takes five bits"
    turned = _find(-rows, 5)
    assert turned is not None
    assert turned.bits == 5


def test_nothing_but_zeros() -> None:
    grid = _find(np.zeros((3, 4)), 2)
    assert grid is not None
    assert (grid.bits, grid.shared, grid.step.tolist()) == (2, True, [1.0, 1.0, 1.0])


# -- programs ----------------------------------------------------------------------------------------------------------


def _quantise(
    network: net.Network,
    steps: int,
    *,
    chip: str = "lava",
    x: Floats | None = None,
    inputs: dict[str, float] | None = None,
    bits: int = 8,
    **given: str,
) -> Quantised:
    lowered = lower(network, steps, graded=True)
    request = Request(
        lowered,
        schedule(lowered),
        target(chip),
        bits,
        "chain",
        None if x is None else Data(x),
        {"input_scale": 1.0, "input_bits": 1} if inputs is None else inputs,
        settings=Settings(given),
    )
    return taken_over.quantize(request, lambda stage: None)


def _real(program: Program, name: str) -> Floats:
    """The weights that a projection's mantissas stand for."""
    projection = next(p for p in program.projections if p.name == name)
    weight = projection.synapses.weight
    scale = np.asarray(projection.scale, dtype=np.float64)
    if scale.ndim:
        scale = scale.reshape(-1)[: weight.shape[0]].reshape(-1, *(1,) * (weight.ndim - 1))
    return weight * scale


def _layer(rng: np.random.Generator, rows: int, columns: int, bits: int, per_row: bool) -> Floats:
    top = 2 ** (bits - 1) - 1
    whole = rng.integers(-top, top + 1, (rows, columns)).astype(np.float32)
    whole[:, 0] = top
    weight = (whole * np.float32(rng.uniform(0.1, 0.3))).astype(np.float64)
    return weight * (rng.uniform(0.5, 1.5, (rows, 1)) if per_row else 1.0)


def _two_layers(rng: np.random.Generator, per_row: bool, bias: float, tau: float = 2.0) -> net.Network:
    return chain(
        ("in", net.Input((7,))),
        ("w0", net.Linear(_layer(rng, 6, 7, 4, per_row), rng.normal(size=6) * bias)),
        ("n0", lif((6,), tau=tau)),
        ("w1", net.Linear(_layer(rng, 5, 6, 3, per_row), rng.normal(size=5) * bias)),
        ("n1", lif((5,), 0.7, tau=tau)),
        ("w2", net.Linear(_layer(rng, 3, 5, 8, False))),
        ("out", net.Output((3,))),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from(["lava", "loihi2"]))
def test_the_program_holds_the_weights_as_they_are(seed: int, per_row: bool, chip: str) -> None:
    rng = np.random.default_rng(seed)
    network = _two_layers(rng, per_row, 0.3)
    made = _quantise(network, 4, chip=chip)
    for name, bits in (("w0", 4), ("w1", 3), ("w2", 8)):
        node = network.nodes[name]
        assert isinstance(node, net.Linear)
        np.testing.assert_allclose(_real(made.program, name), node.weight, rtol=2.0**-22, atol=0)
        assert next(p for p in made.program.projections if p.name == name).weight_bits <= bits
    assert made.explanation is not None
    assert made.explanation.method == "taken-over"
    reasons = {reason.name: reason for reason in made.explanation.layers}
    assert {name: r.parameters for name, r in reasons.items()} == {"w0": 42, "w1": 30, "w2": 15}
    assert reasons["w2"].scale == "per population"
    assert reasons["w0"].scale == ("per neuron" if per_row else "per population")
    assert all("as they came" in r.why and r.bytes > 0 for r in reasons.values())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_spikes_are_those_of_the_float_network(seed: int, per_row: bool) -> None:
    """Membranes that halve, no bias: nothing is rounded, so not one spike may differ."""
    rng = np.random.default_rng(seed)
    network = _two_layers(rng, per_row, 0.0)
    made = _quantise(network, 5)
    x = rng.integers(0, 2, (16, 5, 7))
    got = oracle.run(made.program, {"in": x}, strict=True)
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True)
    for name in ("n0", "n1"):
        np.testing.assert_array_equal(got.traces[f"spikes/{name}"], expected.values[name])
    np.testing.assert_array_equal(got.predictions, expected.predictions("sum"))


def test_ties_at_the_threshold_spike_as_the_network_says() -> None:
    rng = np.random.default_rng(3)
    for compare in net.COMPARES:
        network = chain(
            ("in", net.Input((6,))),
            ("w", net.Linear(rng.integers(-2, 3, (8, 6)) * 0.25)),  # sums of halves meet 1/2 exactly, and often
            ("n", lif((8,), 0.5)),
            ("out", net.Output((8,))),
            semantics=net.Semantics(dt=1.0, reset="zero", compare=compare),
        )
        made = _quantise(network, 4)
        x = rng.integers(0, 2, (64, 4, 6))
        expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True)
        got = oracle.run(made.program, {"in": x}, strict=True).traces["spikes/n"]
        np.testing.assert_array_equal(got, expected.values["n"])


def test_leaks_and_biases_are_rounded_finely() -> None:
    rng = np.random.default_rng(11)
    differ = count = fired = 0
    for _ in range(8):
        network = _two_layers(rng, True, 0.4, tau=2.7)
        x = rng.integers(0, 2, (64, 6, 7))
        made = _quantise(network, 6)
        got = sim.run(made.program, {"in": x}, trace=True)
        expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True)
        a, b = got.traces["spikes/n0"], expected.values["n0"]
        differ, count, fired = differ + int((a != b).sum()), count + a.size, fired + int(b.sum())
    assert fired > 0.1 * count
    assert differ <= 2e-3 * count


def test_convolutions_have_a_step_a_channel() -> None:
    rng = np.random.default_rng(5)
    kernel = rng.integers(-7, 8, (4, 2, 3, 3)) * 0.07 * rng.uniform(0.5, 2, (4, 1, 1, 1))
    kernel[2] = 0.0  # a channel that batch norm has switched off
    network = chain(
        ("in", net.Input((2, 6, 6))),
        ("w", net.Conv(kernel, np.zeros(4), (1, 1), (1, 1), (1, 1))),
        ("n", lif((4, 6, 6), 0.4)),
        ("out", net.Output((4, 6, 6))),
    )
    made = _quantise(network, 3, chip="loihi2")
    np.testing.assert_allclose(_real(made.program, "w"), kernel, rtol=2.0**-22, atol=0)
    x = rng.integers(0, 2, (8, 3, 2, 6, 6))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)
    assert expected.sum() > 50
    assert not expected[:, :, 2].any()
    assert made.explanation is not None
    assert made.explanation.layers[0].scale == "per channel"


def test_few_weights_are_a_list_and_keep_their_steps() -> None:
    rng = np.random.default_rng(6)
    weight = np.where(rng.random((9, 20)) < 0.15, rng.integers(-3, 4, (9, 20)), 0) * 0.21 * rng.uniform(1, 2, (9, 1))
    network = chain(
        ("in", net.Input((20,))), ("w", net.Linear(weight)), ("n", lif((9,), 0.3)), ("out", net.Output((9,)))
    )
    made = _quantise(network, 4)
    x = rng.integers(0, 2, (8, 4, 20))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)
    assert expected.any()
    assert made.program.projections[0].weight_bits <= 3


def _branches(second: float) -> net.Network:
    """Two layers that end on the same neurons, the steps of the second `second` times those of the first."""
    rng = np.random.default_rng(8)
    first, other = rng.integers(-7, 8, (5, 6)), rng.integers(-7, 8, (5, 6))
    first[:, 0] = other[:, 0] = 7
    nodes: dict[str, net.Node] = {
        "in": net.Input((6,)),
        "a": net.Linear(first * 0.125),
        "b": net.Linear(other * 0.125 * second),
        "n": lif((5,)),
        "out": net.Output((5,)),
    }
    edges = (("in", "a"), ("in", "b"), ("a", "n"), ("b", "n"), ("n", "out"))
    return net.Network("two", nodes, edges, HALF)


@pytest.mark.parametrize(("second", "exponent"), [(1.0, 0), (4.0, 2), (0.125, 3)])
def test_steps_a_power_of_two_apart_share_neurons(second: float, exponent: int) -> None:
    network = _branches(second)
    made = _quantise(network, 4)
    projections = {p.name: p for p in made.program.projections}
    assert abs(projections["a"].exponent - projections["b"].exponent) == exponent
    assert max(p.weight_bits for p in projections.values()) == 4
    x = np.random.default_rng(1).integers(0, 2, (32, 4, 6))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)


def test_steps_that_do_not_combine_are_refused() -> None:
    with pytest.raises(RefusedError, match="no multiples of one another") as error:
        _quantise(_branches(1.37), 4)
    assert error.value.code == "ND311"
    assert "'a', 'b'" in error.value.message


def _float_first(rng: np.random.Generator) -> net.Network:
    network = _two_layers(rng, True, 0.1)
    nodes = dict(network.nodes)
    nodes["w0"] = net.Linear(rng.normal(size=(6, 7)), np.zeros(6))
    return replace(network, nodes=nodes)


def test_a_float_layer_is_refused_by_name() -> None:
    with pytest.raises(RefusedError, match="layer 'w0'") as error:
        _quantise(_float_first(np.random.default_rng(0)), 4)
    assert error.value.code == "ND310"
    assert "at most 8 bits" in error.value.message
    assert "steps from a whole number" in error.value.message
    assert "others=uniform" in error.value.help
    assert "--method uniform" in error.value.help


def test_others_are_quantised_where_asked() -> None:
    rng = np.random.default_rng(0)
    network = _float_first(rng)
    made = _quantise(network, 4, bits=5, others="uniform")
    projections = {p.name: p for p in made.program.projections}
    assert projections["w0"].weight_bits == 5
    assert projections["w1"].weight_bits <= 3
    node = network.nodes["w1"]
    assert isinstance(node, net.Linear)
    np.testing.assert_allclose(_real(made.program, "w1"), node.weight, rtol=2.0**-22, atol=0)
    assert made.explanation is not None
    first, second, _ = made.explanation.layers
    assert first.why.startswith("quantised at 5 bits: layer 'w0'")
    assert "as they came" in second.why
    with pytest.raises(UsageError) as error:
        _quantise(network, 4, others="float")
    assert error.value.code == "ND205"


def test_a_network_of_others_is_what_uniform_makes_of_it() -> None:
    rng = np.random.default_rng(9)
    network = chain(
        ("in", net.Input((2, 5, 5))),
        ("w0", net.Conv(rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3), (1, 1), (1, 1), (1, 1))),
        ("n0", lif((3, 5, 5), tau=3.0)),
        ("flat", net.Flatten((3, 5, 5))),
        ("w1", net.Linear(rng.normal(size=(4, 75)))),
        ("out", net.Output((4,))),
    )
    x = rng.integers(0, 2, (8, 3, 2, 5, 5)).astype(np.float64)
    _same(_quantise(network, 3, x=x, bits=4, others="uniform").program, quantise(network, 3, bits=4, x=x)[1].program)


def test_thresholds_on_a_coarse_raster() -> None:
    """loihi1 stores multiples of 64 state units: the input's unit is made finer, so that they are fine enough."""
    rng = np.random.default_rng(12)
    network = _two_layers(rng, False, 0.0)
    made = _quantise(network, 4, chip="loihi1")
    assert all(int(np.asarray(made.program.population(n).neuron.vth).max()) >= 1 << 14 for n in ("n0", "n1"))
    node = network.nodes["w0"]
    assert isinstance(node, net.Linear)
    np.testing.assert_allclose(_real(made.program, "w0"), node.weight, rtol=2.0**-22, atol=0)
    x = rng.integers(0, 2, (256, 4, 7))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n0"]
    differ = oracle.run(made.program, {"in": x}).traces["spikes/n0"] != expected
    assert differ.mean() < 2e-3


def test_rows_of_a_readout_need_one_step() -> None:
    rng = np.random.default_rng(2)
    network = chain(("in", net.Input((7,))), ("w", net.Linear(_layer(rng, 4, 7, 4, True))), ("out", net.Output((4,))))
    with pytest.raises(RefusedError, match="a readout compares them") as error:
        _quantise(network, 4)
    assert error.value.code == "ND311"


def test_weights_too_strong_for_the_state_are_refused() -> None:
    rng = np.random.default_rng(2)
    weight = rng.integers(100, 127, (3, 3000)) * 0.01
    network = chain(
        ("in", net.Input((3000,))), ("w", net.Linear(weight)), ("n", lif((3,), 1.0, tau=50.0)), ("o", net.Output((3,)))
    )
    x = np.ones((2, 60, 3000))
    with pytest.raises(RefusedError, match="as they came") as error:
        _quantise(network, 60, chip="loihi1", x=x)
    assert error.value.code == "ND302"


def test_the_most_negative_weight_turned_around_is_refused_at_eight_bits() -> None:
    whole = np.array([[-128.0, 3.0, 1.0], [5.0, 127.0, -2.0]]) * [[-0.1], [0.1]]
    network = chain(("in", net.Input((3,))), ("w", net.Linear(whole)), ("n", lif((2,))), ("out", net.Output((2,))))
    with pytest.raises(RefusedError, match="mantissa is 128") as error:
        _quantise(network, 4)
    assert error.value.code == "ND310"


def test_sums_of_pixels_are_shifted_and_their_weights_kept() -> None:
    rng = np.random.default_rng(13)
    weight = _layer(rng, 6, 90, 8, True) * 0.01
    network = chain(
        ("in", net.Input((90,))), ("w", net.Linear(weight)), ("n", lif((6,), 0.4)), ("out", net.Output((6,)))
    )
    made = _quantise(network, 4, inputs={"input_bits": 8, "input_scale": 1 / 255, "input_signed": 0})
    projection = made.program.projections[0]
    assert projection.exponent < 0
    np.testing.assert_allclose(_real(made.program, "w") * 255, weight, rtol=2.0**-22, atol=0)
    x = rng.integers(0, 256, (64, 90))
    messages = {"in": np.repeat(x[:, None], 4, axis=1)}
    expected = reference.run(network, x / 255, 4, dtype=torch.float64, trace=True).values["n"]
    got = oracle.run(made.program, messages, strict=True).traces["spikes/n"]
    assert 0.05 < expected.mean() < 0.95
    assert (got != expected).mean() < 5e-3


def test_a_channel_that_hardly_counts_is_rounded_and_reported() -> None:
    rng = np.random.default_rng(4)
    weight = rng.integers(-7, 8, (3, 5)) * 0.1
    weight[:, 0] = 0.7
    weight[1] *= 1e-7  # beside its threshold, nothing that a state of 24 bits can hold
    network = chain(
        ("in", net.Input((5,))),
        ("w", net.Linear(weight * [[1.0], [1.0], [1.3]])),
        ("n", lif((3,))),
        ("o", net.Output((3,))),
    )
    made = _quantise(network, 4)
    x = rng.integers(0, 2, (32, 4, 5))
    expected = reference.run(network, x.astype(np.float64), dtype=torch.float64, trace=True).values["n"]
    np.testing.assert_array_equal(oracle.run(made.program, {"in": x}).traces["spikes/n"], expected)
    assert made.explanation is not None
    assert "1 of them rounded" in made.explanation.layers[0].why


# -- graded neurons ----------------------------------------------------------------------------------------------------


def _on_a_grid(node: net.Node, bits: int) -> net.Node:
    """The node with its weights rounded to a grid of its rows' own."""
    if not isinstance(node, net.Linear | net.Conv):
        return node
    top = np.abs(node.weight).max(axis=tuple(range(1, node.weight.ndim)), keepdims=True)
    step = top / (2 ** (bits - 1) - 1)
    return replace(node, weight=np.rint(node.weight / step) * step)


def _machine(seed: int, **kind: bool) -> tuple[net.Network, Request]:
    network = graded_networks.thinker(seed, **kind)
    network = replace(network, nodes={name: _on_a_grid(node, 4) for name, node in network.nodes.items()})
    asked = graded_compile.request(network, graded_compile.samples(network, 32))
    return network, replace(asked, settings=Settings({"others": "uniform"}))


@pytest.mark.parametrize("kind", [{}, {"unet": True}, {"attention": False}])
def test_graded_neurons_keep_their_weights(kind: dict[str, bool]) -> None:
    network, asked = _machine(1, **kind)
    made = taken_over.quantize(asked, lambda stage: None)
    assert made.explanation is not None
    kept = {r.name: r for r in made.explanation.layers if "as they came" in r.why}
    wanted = {"hidden_value", "hidden_gate", "post_value", "post_gate", "logits"}
    wanted |= {"embed", "k_proj", "v_proj"} if kind.get("attention", True) else set()
    assert wanted <= set(kept), "maps that are no products of two are on a grid"
    for p in asked.lowered.projections:
        if p.name in kept:
            inputs, message = made.choices.inputs, made.choices.message
            worth = inputs[p.source].scale if p.source in inputs else message[p.source].scale
            assert np.size(worth) == 1
            projection = next(x for x in made.program.projections if x.name == p.name)
            step = np.broadcast_to(projection.scale, asked.lowered.population(p.target).shape).reshape(-1)
            if isinstance(p.synapses, RealSparse):
                step = step[p.synapses.target]
            else:
                rows = len(p.synapses.weight)
                step = step.reshape(rows, -1)[:, 0].reshape(-1, *(1,) * (p.synapses.weight.ndim - 1))
            real = projection.synapses.weight * step / np.asarray(worth)
            np.testing.assert_allclose(real, p.synapses.weight, rtol=2.0**-22, atol=0)
            assert projection.weight_bits <= 4
    x = graded_compile.samples(network, 8, 5).x
    got = oracle.run(made.program, encode(made.program, x), strict=True)
    port = made.program.outputs[0]
    found = got.traces[f"spikes/{port.population}"] * port.scale
    expected = next(iter(reference.run(network, x, graded_compile.STEPS, dtype=torch.float64).outputs.values()))
    assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()


def test_graded_layers_on_no_grid_are_refused() -> None:
    _, asked = _machine(1)
    with pytest.raises(RefusedError, match="lie on no grid") as error:  # a query is a product of two maps
        taken_over.quantize(replace(asked, settings=None), lambda stage: None)
    assert error.value.code == "ND310"


# -- NetX --------------------------------------------------------------------------------------------------------------


def _same(a: Program, b: Program) -> None:
    (left, arrays), (right, others) = to_parts(replace(a, meta={})), to_parts(replace(b, meta={}))
    assert left == right
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name])


def _both(path: Path, steps: int, **more: Any) -> tuple[Compiled, Compiled]:
    return tuple(compile_model(path, CompileOptions(steps=steps, method=m, **more)) for m in ("uniform", "taken-over"))  # type: ignore[return-value]


def test_a_netx_network_is_the_program_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    layers = [
        {"type": "input", "shape": np.array([2, 5, 5])},
        conv(rng.integers(-20, 20, (3, 2, 3, 3)) * 2, (3, 3, 3), netx_lif(vth=40)),
        dense(rng.integers(-100, 100, (4, 27)), netx_lif(vth=90)),
    ]
    uniform, made = _both(write_net(tmp_path / "a.net", layers), 5)
    _same(uniform.program, made.program)
    assert made.explanation is not None
    assert [(r.bits, r.parameters) for r in made.explanation.layers] == [
        (p.weight_bits, p.synapses.weight.size) for p in made.program.projections
    ]
    assert all("integers of the file" in r.why for r in made.explanation.layers)


@pytest.mark.parametrize("name", ["oxford/network.net", "tinynet/tiny.net"])
def test_netx_fixtures_are_the_programs_they_were(name: str) -> None:
    uniform, made = _both(fixture(f"netx/{name}"), 15)
    _same(uniform.program, made.program)


def test_oxfords_golden_spikes_through_the_method() -> None:
    folder, steps = fixture("netx/oxford"), 300
    made = compile_model(folder / "network.net", CompileOptions(steps=steps, method="taken-over"))

    def events(name: str) -> Floats:
        found = np.zeros((steps, 200), dtype=np.int64)
        neuron, _, time = np.load(folder / name).T
        inside = np.rint(time) < steps
        found[np.rint(time[inside]).astype(int), neuron[inside].astype(int)] = 1
        return found

    result = sim.run(made.program, encode(made.program, events("input.npy")[None]), trace=True)
    golden = events("ground_truth.npy")
    assert golden.sum() > steps
    assert int((result.traces["spikes/layer1"][0][:-2] != golden[2:]).sum()) == 0


# -- learned steps, from the file to the program -----------------------------------------------------------------------


def test_a_checkpoint_with_learned_steps(tmp_path: Path) -> None:
    state = TinySpikformer(seed=3).round_to_float32().public_state()
    latent = dict(state)
    for name in [k.removesuffix(".weight") for k, v in latent.items() if k.endswith(".weight") and v.ndim > 1]:
        weight = latent[f"{name}.weight"]
        mean = weight.abs().flatten(1).mean(1) if name != "head" else weight.abs().mean().reshape(1)
        state[f"{name}.alpha"], state[f"{name}.init_state"] = mean * 2 / 7**0.5, torch.ones(1)
    args = argparse.Namespace(T=4, num_heads=2, img_size=16, nbits_w=4)
    torch.save({"state_dict": state, "args": args}, tmp_path / "net.pt")
    x = np.random.default_rng(1).random((12, 2, 16, 16)).astype(np.float32) * 2
    np.savez(tmp_path / "x.npz", x=x)
    made = compile_model(tmp_path / "net.pt", CompileOptions(method="taken-over", calibration=tmp_path / "x.npz"))
    assert made.explanation is not None
    assert {reason.bits for reason in made.explanation.layers} <= {2, 3, 4, 5}
    assert made.program.meta["method"] == "taken-over"
    for name, node in made.network.nodes.items():
        if isinstance(node, net.Conv):
            real = _real(made.program, name)
            fan = next(p for p in made.program.projections if p.name == name).source
            worth = made.program.inputs[0].scale if fan == "input" else 1.0
            np.testing.assert_allclose(real, node.weight.reshape(real.shape) * worth, rtol=2.0**-22, atol=0)
    messages = encode(made.program, x)
    seen = messages["input"][:, 0] * made.program.inputs[0].scale
    got = sim.run(made.program, messages, trace=True)
    expected = reference.run(made.network, seen, dtype=torch.float64, trace=True)
    differ = count = 0
    for name, node in made.network.nodes.items():
        if isinstance(node, net.LIF):
            spikes = got.traces[f"spikes/{name}"]
            differ += int((spikes != np.broadcast_to(expected.values[name], spikes.shape)).sum())
            count += spikes.size
    assert differ <= 1e-3 * count
    np.testing.assert_array_equal(got.predictions, expected.predictions("sum"))


def test_the_method_is_found_by_its_name() -> None:
    assert methods()["taken-over"] is taken_over
