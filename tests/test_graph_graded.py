"""Graded nodes in the float reference: each against PyTorch's own or a hand-written loop; constants computed once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import HealthCheck, given, settings
from random_graded import graded_networks

from ndeploy.errors import NdeployError, UsageError
from ndeploy.graph import machine, shapes
from ndeploy.graph.reference import run
from ndeploy.ir import network as ir

RNG = np.random.default_rng(7)


def one(node: ir.Node, shape: tuple[int, ...], out: tuple[int, ...]) -> ir.Network:
    """input -> node -> output."""
    nodes = {"x": ir.Input(shape), "node": node, "out": ir.Output(out)}
    return ir.Network("n", nodes, (("x", "node"), ("node", "out")))


def result(network: ir.Network, x: np.ndarray, steps: int | None = 1) -> np.ndarray:
    return run(network, x, steps, dtype=torch.float64).outputs["out"]


@pytest.mark.parametrize(
    ("name", "expected"), [("identity", lambda x: x), ("relu", torch.relu), ("silu", F.silu)]
)  # fmt: skip
def test_activations(name, expected):
    x = RNG.normal(0, 3, (4, 2, 3))
    found = result(one(ir.Activation(name, (2, 3)), (2, 3), (2, 3)), x)[:, 0]
    np.testing.assert_allclose(found, expected(torch.from_numpy(x)).numpy(), rtol=1e-12)


def test_a_gate_is_a_gated_linear_unit_of_sums():
    """Two linear nodes and an input enter either side, as the columns of a CTM's synapses do."""
    a, b = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 4))
    values, gates = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))
    values_b, gates_b = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))
    bias = RNG.normal(size=12)
    nodes = {
        "a": ir.Input((3,)),
        "b": ir.Input((4,)),
        "va": ir.Linear(values, bias[:6]),
        "ga": ir.Linear(gates, bias[6:]),
        "vb": ir.Linear(values_b),
        "gb": ir.Linear(gates_b),
        "glu": ir.Gate(("va", "vb"), ("gb", "ga"), (6,)),
        "out": ir.Output((6,)),
    }
    edges = (("a", "va"), ("a", "ga"), ("b", "vb"), ("b", "gb"), ("va", "glu"), ("ga", "glu"), ("vb", "glu"))
    network = ir.Network("n", nodes, (*edges, ("gb", "glu"), ("glu", "out")))
    whole = np.block([[values, values_b], [gates, gates_b]])
    expected = F.glu(torch.from_numpy(np.concatenate([a, b], 1) @ whole.T + bias)).numpy()
    found = run(network, {"a": a, "b": b}, 1, dtype=torch.float64).outputs["out"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("shape", "view", "axis"), [((12,), (12,), 0), ((4, 3), (4, 3), 1), ((4, 3), (4, 3), 0), ((12,), (2, 3, 2), 1)]
)
def test_layer_norm_over_any_axis_of_any_view(shape, view, axis):
    n = view[axis]
    gain, offset = RNG.normal(size=n), RNG.normal(size=n)
    x = RNG.normal(2, 3, (5, *shape))
    found = result(one(ir.LayerNorm(shape, view, axis, gain, offset, 1e-3), shape, shape), x)[:, 0]
    viewed = torch.from_numpy(x.reshape(5, *view)).movedim(axis + 1, -1)
    expected = F.layer_norm(viewed, (n,), torch.from_numpy(gain), torch.from_numpy(offset), 1e-3)
    np.testing.assert_allclose(found, expected.movedim(-1, axis + 1).reshape(x.shape).numpy(), rtol=1e-9, atol=1e-12)


def test_softmax_over_the_last_axis():
    x = RNG.normal(0, 4, (5, 2, 7))
    found = result(one(ir.Softmax((2, 7)), (2, 7), (2, 7)), x)[:, 0]
    np.testing.assert_allclose(found, torch.softmax(torch.from_numpy(x), -1).numpy(), rtol=1e-12)


def test_a_register_is_late_by_a_step_and_starts_with_its_value():
    x = RNG.normal(size=(3, 4, 2))
    found = result(one(ir.Register(np.array([5.0, -6.0])), (2,), (2,)), x, None)
    assert found[:, 0].tolist() == [[5.0, -6.0]] * 3
    np.testing.assert_array_equal(found[:, 1:], x[:, :-1])


def test_a_trace_keeps_the_last_inputs():
    start = RNG.normal(size=(2, 3))
    x = RNG.normal(size=(3, 5, 2))
    found = result(one(ir.Trace(start), (2,), (2, 3)), x, None)
    remembered = [list(row) for row in np.broadcast_to(start, (3, 2, 3)).reshape(6, 3)]
    for k in range(5):
        remembered = [[*row[1:], value] for row, value in zip(remembered, x[:, k].reshape(-1), strict=True)]
        np.testing.assert_array_equal(found[:, k].reshape(6, 3), remembered)


def synchronisation(pairs: int, neurons: int) -> ir.Synchronisation:
    left, right = RNG.integers(0, neurons, (2, pairs))
    decay = np.where(RNG.random(pairs) < 0.5, 1.0, RNG.uniform(0.1, 1, pairs))
    return ir.Synchronisation(left, right, decay, RNG.normal(size=pairs), RNG.uniform(0, 2, pairs))


def test_synchronisation_by_a_loop():
    node = synchronisation(9, 6)
    x = RNG.normal(size=(3, 7, 2, 3))
    found = result(one(node, (2, 3), (9,)), x, None)
    for s in range(3):
        alpha, beta = node.alpha.copy(), node.beta.copy()
        for k in range(7):
            flat = x[s, k].reshape(-1)
            for i in range(9):
                alpha[i] = node.decay[i] * alpha[i] + flat[node.left[i]] * flat[node.right[i]]
                beta[i] = node.decay[i] * beta[i] + 1
            np.testing.assert_allclose(found[s, k], alpha / np.sqrt(beta), rtol=1e-10)


@pytest.mark.parametrize("points", [4, 9])
def test_a_grouped_convolution_over_private_windows(points):
    """Neuron-level models: groups of a convolution over (D, M), where the kernel is M and where it is shorter."""
    weight, bias = RNG.normal(size=(6, 1, 4)), RNG.normal(size=6)
    x = RNG.normal(size=(5, 3, points))
    node = ir.Conv(weight, bias, groups=3)
    found = result(one(node, (3, points), (6, points - 3)), x)[:, 0]
    expected = F.conv1d(*(torch.from_numpy(v) for v in (x, weight, bias)), groups=3)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-10, atol=1e-12)


def thinker() -> ir.Network:
    """A little of everything: a backbone over a static input, attention, a loop through a register."""
    nodes = {
        "x": ir.Input((3, 4), static=True),
        "conv": ir.Conv(RNG.normal(size=(4, 3, 1))),
        "kv": ir.LayerNorm((4, 4), (4, 4), 0, np.ones(4), np.zeros(4)),
        "k": ir.Activation("identity", (4, 4)),
        "sync": synchronisation(4, 5),
        "scores": ir.Product("sync", "k", (4,), (4, 4), "d,dl->l", (4,), 0.5),
        "attention": ir.Softmax((4,)),
        "context": ir.Product("attention", "k", (4,), (4, 4), "l,dl->d", (4,)),
        "w": ir.Linear(RNG.normal(size=(5, 4)), RNG.normal(size=5)),
        "u": ir.Linear(RNG.normal(size=(5, 5))),
        "g": ir.Linear(RNG.normal(size=(5, 5))),
        "still": ir.Linear(RNG.normal(size=(5, 16))),
        "pre": ir.Gate(("w", "u"), ("g", "still"), (5,)),
        "trace": ir.Trace(RNG.normal(size=(5, 3))),
        "nlm": ir.Conv(RNG.normal(size=(5, 1, 3)), None, groups=5),
        "post": ir.Activation("silu", (5, 1)),
        "flat": ir.Flatten((5, 1)),
        "z": ir.Register(RNG.normal(size=5)),
        "out": ir.Output((5,)),
        "still_out": ir.Output((5,)),
    }
    chains = ("x conv kv k", "z sync scores attention context w pre trace nlm post flat z", "k scores", "k context")
    more = ("z u pre", "z g pre", "kv still pre", "z out", "still still_out")
    edges = [tuple(pair) for text in (*chains, *more) for pair in zip(text.split(), text.split()[1:], strict=False)]
    return ir.Network("thinker", nodes, tuple(dict.fromkeys(edges)), steps=6)


def by_step(network: ir.Network) -> ir.Network:
    """The same network with an input that may change at every step."""
    return ir.Network(network.name, {**network.nodes, "x": ir.Input((3, 4))}, network.edges, steps=network.steps)


def test_what_is_constant_is_computed_once_and_is_the_same(monkeypatch):
    network = thinker()
    x = RNG.normal(size=(5, 3, 4))
    counted: list[str] = []
    operation = machine.operation

    def counting(name, node, dtype, delay=None):
        inner = operation(name, node, dtype, delay)
        return lambda value: (counted.append(name), inner(value))[1]

    monkeypatch.setattr(machine, "operation", counting)
    found = run(network, x, trace=True, dtype=torch.float64)
    assert (counted.count("conv"), counted.count("still"), counted.count("u")) == (1, 1, 6)
    counted.clear()
    other = run(by_step(network), np.repeat(x[:, None], 6, axis=1), trace=True, dtype=torch.float64)
    assert (counted.count("conv"), counted.count("still"), counted.count("u")) == (6, 6, 6)
    assert list(found.outputs) == ["out", "still_out"]
    assert found.values.keys() == other.values.keys() > {"kv", "k", "attention", "pre", "trace", "z", "sync", "x"}
    for name, value in {**other.outputs, **other.values}.items():
        mine = {**found.outputs, **found.values}[name]
        assert mine.shape == value.shape
        np.testing.assert_array_equal(mine, value, err_msg=name)


def test_batches_of_any_size_give_the_same():
    network, x = thinker(), RNG.normal(size=(7, 3, 4))
    whole, parts = (run(network, x, trace=True, dtype=torch.float64, batch=n) for n in (256, 3))
    for name, value in whole.values.items():
        np.testing.assert_allclose(parts.values[name], value, rtol=1e-9, atol=1e-12)
    assert run(network, x).outputs["out"].dtype == np.float32


def test_a_static_input_takes_no_sequence():
    with pytest.raises(UsageError, match="is static"):
        run(thinker(), np.ones((2, 6, 3, 4)))


def test_a_loop_through_graded_nodes_takes_the_recurrent_delay():
    nodes = {
        "x": ir.Input((1,)),
        "sum": ir.Activation("relu", (1,)),
        "w": ir.Linear(np.array([[3.0]])),
        "out": ir.Output((1,)),
    }
    edges = (("x", "sum"), ("sum", "w"), ("w", "sum"), ("sum", "out"))
    assert run(ir.Network("n", nodes, edges), np.ones((1, 1)), 4).outputs["out"].ravel().tolist() == [1, 4, 13, 40]
    nodes["sum"] = ir.Gate(("x",), ("w",), (1,))
    found = run(ir.Network("n", nodes, edges), np.ones((1, 1)), 3).outputs["out"].ravel()
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    assert found == pytest.approx([0.5, sigmoid(1.5), sigmoid(3 * sigmoid(1.5))])


NORM = (np.ones(3), np.zeros(3))
HALF = np.full(2, 0.5)
PAIRS = np.array([0, 1])


@pytest.mark.parametrize(
    ("node", "given", "words"),
    [
        (ir.Activation("tanh", (3,)), (3,), ("'function'", "tanh", "silu")),
        (ir.Activation("relu", (3,)), (4,), ("(3,)", "(4,)", "'x'")),
        (ir.LayerNorm((6,), (2, 4), 1, *NORM), (6,), ("'view'", "(2, 4)", "(6,)")),
        (ir.LayerNorm((6,), (2, 3), 2, *NORM), (6,), ("'axis'", "2", "0 to 1")),
        (ir.LayerNorm((6,), (2, 3), -1, *NORM), (6,), ("'axis'", "-1")),
        (ir.LayerNorm((6,), (2, 3), 0, *NORM), (6,), ("'gain'", "(3,)", "2")),
        (ir.LayerNorm((6,), (2, 3), 1, *NORM, 0.0), (6,), ("'epsilon'", "0.0")),
        (ir.LayerNorm((6,), (2, 3), 1, *NORM), (2, 4), ("(6,)", "(2, 4)", "'x'")),
        (ir.Softmax((2, 3)), (6,), ("(2, 3)", "(6,)")),
        (ir.Softmax(()), (1,), ("'shape'",)),
        (ir.Register(np.zeros(3)), (2,), ("(3,)", "(2,)")),
        (ir.Register(np.array([np.nan])), (1,), ("'start'", "finite")),
        (ir.Trace(np.zeros(3)), (3,), ("'start'", "(3,)")),
        (ir.Trace(np.zeros((3, 2))), (2,), ("(3,)", "(2,)")),
        (ir.Synchronisation(PAIRS, PAIRS, HALF, HALF, HALF), (1,), ("1", "'x'", "(1,)")),
        (ir.Synchronisation(PAIRS - 1, PAIRS, HALF, HALF, HALF), (3,), ("'left'", "-1")),
        (ir.Synchronisation(PAIRS, PAIRS[:1], HALF, HALF, HALF), (3,), ("'right'", "(1,)", "2 pairs")),
        (ir.Synchronisation(PAIRS, PAIRS, HALF * 3, HALF, HALF), (3,), ("'decay'", "1.5", "at most 1")),
        (ir.Synchronisation(PAIRS, PAIRS, HALF * 0, HALF, HALF), (3,), ("'decay'", "above 0")),
        (ir.Synchronisation(PAIRS, PAIRS, HALF, HALF, -HALF), (3,), ("'beta'", "-0.5")),
        (ir.Synchronisation(PAIRS, PAIRS, HALF, HALF + np.inf, HALF), (3,), ("'alpha'", "finite")),
        (ir.Gate((), ("x",), (3,)), (3,), ("'value'", "no node")),
        (ir.Gate(("x",), ("x",), (3,)), (3,), ("'gate'", "'x'")),
        (ir.Gate(("x",), ("y",), (3,)), (3,), ("'y'", "no edge")),
    ],
)
def test_what_makes_no_sense_is_named(node, given, words):
    with pytest.raises(NdeployError) as error:
        shapes.infer(one(node, given, (1,)))
    assert error.value.code == "ND202"
    assert [w for w in ("'node'", *words) if w not in error.value.message] == []


def test_a_gate_with_an_edge_too_many():
    nodes = {n: ir.Input((2,)) for n in "abc"} | {"glu": ir.Gate(("a",), ("b",), (2,))}
    with pytest.raises(UsageError, match="'c', which is no operand"):
        shapes.infer(ir.Network("n", nodes, (("a", "glu"), ("b", "glu"), ("c", "glu"))))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=graded_networks())
def test_any_graded_network_runs_the_same_in_batches_and_without_constants(network):
    rng = np.random.default_rng(0)
    inputs = {name: node for name, node in network.nodes.items() if isinstance(node, ir.Input)}
    x = {name: rng.normal(size=(3, *node.shape)) for name, node in inputs.items()}
    whole = run(network, x, trace=True, dtype=torch.float64)
    moving = {name: replace(node, static=False) for name, node in inputs.items()}
    other = replace(network, nodes={**network.nodes, **moving})
    every = {name: np.repeat(value[:, None], network.steps, axis=1) for name, value in x.items()}
    for again in (run(network, x, batch=2, dtype=torch.float64, trace=True), run(other, every, dtype=torch.float64)):
        for name, value in {**again.outputs, **again.values}.items():
            expected = {**whole.outputs, **whole.values}[name]
            assert value.shape == expected.shape
            np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9, err_msg=name)
