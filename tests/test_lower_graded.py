"""Graded networks lowered: every population against the float reference at every tick, and when it updates."""

from __future__ import annotations

from dataclasses import replace

import lowered_float
import numpy as np
import pytest
import torch
from graded_networks import GRADED_NETWORKS, thinker

from ndeploy.errors import NdeployError
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.ir.lowered import Held, Join, Lowered, Registered
from ndeploy.passes.graded_form import graded_form
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule

STEPS = 6


def inputs(network: net.Network, samples: int, steps: int) -> dict[str, np.ndarray]:
    """Random values: a sequence, or one value a sample where the input is static."""
    rng = np.random.default_rng(5)
    found = {n: node for n, node in network.nodes.items() if isinstance(node, net.Input)}
    return {n: rng.normal(size=(samples, *(() if node.static else (steps,)), *node.shape)) for n, node in found.items()}


def compare(network: net.Network, lowered: Lowered, x: dict[str, np.ndarray], tolerance: float = 1e-9) -> set[str]:
    """Every population that has a node's name gives that node's values; returns which were compared."""
    steps = lowered.steps
    expected = reference.run(network, x, steps, dtype=torch.float64, trace=True)
    values = {**expected.values, **expected.outputs}
    compared = set()
    for i in range(len(next(iter(x.values())))):
        sent = {
            n: v[i] if v.ndim == len(network.nodes[n].shape) + 2 else np.repeat(v[i][None], steps, 0)
            for n, v in x.items()
        }
        got = lowered_float.run(lowered, sent)
        for p in lowered.populations:
            if p.name not in values:
                continue
            n = steps if p.updates is None else p.updates
            want = values[p.name][i][:n].reshape(n, *p.shape)
            np.testing.assert_allclose(got[p.name][:n], want, rtol=1e-9, atol=tolerance, err_msg=p.name)
            assert not got[p.name][n:].any()
            compared.add(p.name)
    return compared


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", GRADED_NETWORKS)
def test_every_population_has_the_values_of_its_node_at_every_tick(name, seed):
    network = GRADED_NETWORKS[name](seed)
    lowered = lower(network, STEPS, graded=True)
    compared = compare(network, lowered, inputs(network, 3, STEPS))
    kept = (net.Activation, net.Gate, net.LayerNorm, net.Softmax, net.Register, net.Trace, net.Synchronisation)
    assert compared >= {n for n, node in network.nodes.items() if isinstance(node, kept)}
    assert not any(isinstance(p.model, Join) for p in lowered.populations)
    assert compared >= {n for n, node in network.nodes.items() if isinstance(node, net.Pool) and node.kind == "max"}
    if "output" in network.nodes:
        assert lowered.outputs == (("output", "message"),)
        assert "output" in compared


@pytest.mark.parametrize("name", GRADED_NETWORKS)
def test_the_schedule_gives_every_message_the_model_step_it_belongs_to(name):
    lowered = lower(GRADED_NETWORKS[name](0), STEPS, graded=True)
    for attention in ("parallel", "embedded"):
        planned = schedule(lowered, attention=attention)
        embedded = {p.name for p in lowered.populations if type(p.model).__name__ in ("Normed", "Softmaxed")}
        for p in lowered.projections:
            gap = planned.offset[p.source] + planned.delay[p.name] - planned.offset[p.target]
            assert gap == p.lag * planned.period, p.name
            assert planned.delay[p.name] >= (2 if p.source in embedded else 1), p.name
        for q in lowered.products:
            for operand in (q.left, q.right):
                assert planned.offset[q.target] - planned.offset[operand] >= 2 + (operand in embedded)
    registers = {p.name for p in lowered.populations if isinstance(p.model, Registered)}
    late = {p.name for p in lowered.projections if p.lag}
    # nothing but registers, traces and what one network states as a Delay node reads an earlier step
    assert late <= {p.name for p in lowered.projections if p.target in registers | {"relu"}}


def test_the_period_is_the_longest_loop_and_not_the_way_to_it():
    """A deep backbone in front of the keys makes a sample wait once, not every tick."""
    network = thinker()
    near = schedule(lower(network, STEPS, graded=True))
    nodes, edges = dict(network.nodes), list(network.edges)
    edges.remove(("x", "embed"))
    before = "x"
    for i in range(9):
        nodes[f"deep{i}"] = net.Activation("relu", (3, 5))
        edges.append((before, before := f"deep{i}"))
    edges.append((before, "embed"))
    far = replace(network, nodes=nodes, edges=tuple(edges))
    lowered = lower(far, STEPS, graded=True)
    assert schedule(lowered).period == near.period
    assert schedule(lowered).offset["k"] == near.offset["k"] + 9
    compare(far, lowered, inputs(far, 1, STEPS))


def test_what_depends_on_the_sample_alone_updates_once_and_is_held_before_the_synapses():
    lowered = lower(thinker(), STEPS, graded=True)
    assert {p.name for p in lowered.populations if p.updates == 1} == {"x", "kv", "k", "v"}
    assert not lowered.added  # products latch k and v themselves
    lowered = lower(thinker(attention=False), STEPS, graded=True)
    assert {p.name for p in lowered.populations if p.updates == 1} == {"x"}
    assert [name for name, _ in lowered.added] == ["x.held"]
    assert isinstance(lowered.population("x.held").model, Held)
    assert {p.source for p in lowered.projections if p.name.endswith("_read")} == {"x.held"}


def test_linear_nodes_fold_and_gates_have_two_ports():
    lowered = lower(thinker(), STEPS, graded=True)
    into = {name: {(p.source, p.port) for p in lowered.into(name)} for name in ("q", "synapse", "synch_out")}
    assert into["q"] == {("synch_action", "in")}
    assert into["synapse"] == {(s, port) for s in ("context", "z") for port in ("in", "gate")}
    assert into["synch_out"] == {("post", "left"), ("post", "right")}
    synapse = lowered.population("synapse")
    assert synapse.bias is not None
    assert set(synapse.biases) == {"gate"}
    units = {p.name for p in lowered.projections if p.unit}
    kinds = {p.name: type(p.model).__name__ for p in lowered.populations}
    wired = {p.name for p in lowered.projections if kinds[p.target] in ("Registered", "Synchronised", "Held")}
    assert units == wired


def test_graded_nodes_need_graded_messages():
    with pytest.raises(NdeployError) as caught:
        lower(thinker(), STEPS, graded=False)
    assert caught.value.code == "ND403"


def test_an_unknown_coding_is_refused():
    with pytest.raises(NdeployError) as caught:
        lower(thinker(), STEPS, graded=True, coding="delta")
    assert caught.value.code == "ND205"


@pytest.mark.parametrize("name", ["ctm", "u-net", "no attention, ctc"])
def test_delta_coding_with_threshold_zero_changes_nothing(name):
    network = GRADED_NETWORKS[name](3)
    lowered = lower(network, STEPS, graded=True, coding="sigma-delta")
    compared = compare(network, lowered, inputs(network, 2, STEPS))
    assert compared >= {"z", "post", "pre", "synch_out", "output"}


def test_delta_coding_puts_the_changes_before_the_weights_and_their_sums_behind():
    lowered = lower(thinker(), STEPS, graded=True, coding="sigma-delta")
    ends = {(p.source, p.target, p.port, p.lag, p.unit) for p in lowered.projections}
    assert {
        ("post", "post.delta", "in", 0, True),
        ("post.delta", "post.sum", "in", 0, True),
        ("post.sum", "z", "in", 1, True),
        ("post.sum", "synch_out", "left", 0, True),
        ("post.delta", "synapse.z", "in", 1, False),
        ("post.delta", "synapse.z.gate", "in", 1, False),
        ("synapse.z", "synapse", "in", 0, True),
        ("synapse.z.gate", "synapse", "gate", 0, True),
    } <= ends
    assert {target for source, target, *_ in ends if source == "z"} == {"synch_action"}
    assert {target for source, target, *_ in ends if source == "post"} == {"post.delta"}
    planned = schedule(lowered)
    for p in lowered.projections:
        gap = planned.offset[p.source] + planned.delay[p.name] - planned.offset[p.target]
        assert gap == p.lag * planned.period


def test_a_threshold_keeps_small_changes_back():
    network = thinker()
    lowered = lower(network, STEPS, graded=True, coding="sigma-delta")
    x = {"x": np.repeat(inputs(network, 1, STEPS)["x"], STEPS, 0)}
    exact = lowered_float.run(lowered, x)
    coarse = lowered_float.run(lowered, x, {"post.delta": 0.05})
    assert (coarse["post.delta"] != 0).sum() < (exact["post.delta"] != 0).sum()
    assert np.abs(coarse["post.sum"] - coarse["post"]).max() < 0.05


def test_a_network_without_a_register_that_feeds_weights_cannot_be_delta_coded():
    network = thinker()
    edges = tuple((a, b) for a, b in network.edges if not (a == "z" and b.endswith("_z")))
    nodes = {n: node for n, node in network.nodes.items() if not n.endswith("_z")}
    nodes["synapse"] = net.Gate(("value_read",), ("gate_read",), nodes["synapse"].shape)
    edges = tuple((a, b) for a, b in edges if a in nodes and b in nodes)
    with pytest.raises(NdeployError) as caught:
        lower(replace(network, nodes=nodes, edges=edges), STEPS, graded=True, coding="sigma-delta")
    assert caught.value.code == "ND210"


def test_a_padded_maximum_of_values_of_any_sign_is_refused_by_name():
    network = GRADED_NETWORKS["maximum pools"](0)
    nodes = {**network.nodes, "relu": net.Activation("silu", (3, 8, 7))}
    with pytest.raises(NdeployError, match="'first'") as caught:
        lower(replace(network, nodes=nodes), STEPS, graded=True)
    assert caught.value.code == "ND203"


@pytest.mark.parametrize("name", GRADED_NETWORKS)
def test_what_lowering_holds_is_a_node_that_can_be_observed(name):
    network = GRADED_NETWORKS[name](0)
    made = graded_form(network)
    again = graded_form(made)
    assert (list(again.nodes), again.edges) == (list(made.nodes), made.edges)
    lowered = lower(network, STEPS, graded=True)
    passing = (Held, Registered)
    assert {p.name for p in lowered.populations if not isinstance(p.model, passing)} <= set(made.nodes)
    x = inputs(network, 2, STEPS)
    before, after = (reference.run(n, x, STEPS, dtype=torch.float64, trace=True).values for n in (network, made))
    for n, value in before.items():
        np.testing.assert_allclose(after[n], value, rtol=1e-9, atol=1e-9, err_msg=n)
