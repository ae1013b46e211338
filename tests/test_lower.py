"""Lowering keeps what a network computes: folds, pools, joins, loops and products against the float reference."""

from __future__ import annotations

from dataclasses import replace

import lowered_float
import numpy as np
import pytest
import torch
from networks import HALF, chain, lif

from ndeploy.errors import RefusedError
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.ir.lowered import Join, RealConv
from ndeploy.passes.lower import lower

RNG = np.random.default_rng(7)
STEPS = 7


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def cuba(n: int) -> net.CubaLIF:
    full = np.ones((n,))
    return net.CubaLIF(3 * full, 4 * full, full, 0 * full, 0.3 * full, 0 * full, full)


IMAGE = ("in", net.Input((2, 6, 5)))
LATE = replace(HALF, synapse_first=False)
NETWORKS = {
    "conv-bias-dense": chain(
        IMAGE,
        ("c", net.Conv(weights(3, 2, 3, 2), weights(3), (1, 2), (1, 0), (1, 1))),
        ("n", lif((3, 6, 2))),
        ("f", net.Flatten((3, 6, 2))),
        ("w", net.Linear(weights(4, 36), weights(4))),
        ("m", lif((4,))),
        ("out", net.Output((4,))),
    ),
    "grouped, dilated": chain(
        IMAGE,
        ("c", net.Conv(weights(4, 1, 2, 2), None, (1, 1), (0, 0), (2, 1), groups=2)),
        ("n", lif((4, 4, 4), 0.2)),
        ("out", net.Output((4, 4, 4))),
    ),
    "pools before weights": chain(
        IMAGE,
        ("c", net.Conv(np.abs(weights(3, 2, 1, 1)))),
        ("n", lif((3, 6, 5), 0.3)),
        ("p", net.Pool("sum", (2, 2), (2, 2))),
        ("d", net.Conv(np.abs(weights(2, 3, 2, 2)), weights(2))),
        ("m", lif((2, 2, 1), 3.0)),
        ("a", net.Pool("average", (2, 1), (1, 1))),
        ("f", net.Flatten((2, 1, 1))),
        ("w", net.Linear(weights(3, 2))),
        ("out", net.Output((3,))),
    ),
    "scales and two linears fold": chain(
        ("in", net.Input((4,))),
        ("s", net.Scale(weights(4))),
        ("w", net.Linear(weights(5, 4), weights(5))),
        ("t", net.Scale(weights(5))),
        ("v", net.Linear(weights(3, 5), weights(3))),
        ("n", lif((3,), 0.2)),
        ("out", net.Output((3,))),
    ),
    "recurrent": chain(
        ("in", net.Input((3,))),
        ("w", net.Linear(weights(4, 3))),
        ("n", cuba(4)),
        ("out", net.Output((4,))),
        extra=(("n", "r"), ("r", "n")),
    ),
    "current seen late": chain(
        ("in", net.Input((3,))),
        ("w", net.Linear(weights(4, 3))),
        ("n", cuba(4)),
        ("out", net.Output((4,))),
        semantics=LATE,
    ),
    "delayed": chain(
        ("in", net.Input((3,))),
        ("d", net.Delay(np.full((3,), 2.0))),
        ("w", net.Linear(weights(4, 3))),
        ("n", lif((4,), 0.2)),
        ("out", net.Output((4,))),
        extra=(("in", "w"),),
    ),
    "maximum pool": chain(
        IMAGE,
        ("c", net.Conv(weights(3, 2, 1, 1))),
        ("n", lif((3, 6, 5), 0.3)),
        ("p", net.Pool("max", (3, 3), (2, 2), (1, 1))),
        ("d", net.Conv(weights(2, 3, 2, 2), weights(2))),
        ("m", lif((2, 2, 2), 0.3)),
        ("out", net.Output((2, 2, 2))),
    ),
    "delays of every element": chain(
        ("in", net.Input((3,))),
        ("d", net.Delay(np.array([3.0, 0.0, 1.0]))),
        ("w", net.Linear(weights(4, 3))),
        ("n", lif((4,), 0.2)),
        ("e", net.Delay(np.array([0.0, 2.0, 0.0, 1.0]))),
        ("m", lif((4,), 0.2)),
        ("out", net.Output((4,))),
    ),
    "gains below zero and zero": chain(
        IMAGE,
        ("c", net.Conv(weights(2, 2, 1, 1), weights(2))),
        ("n", replace(lif((2, 6, 5), 0.3), r=np.broadcast_to(np.array([[[-2.0]], [[0.0]]]), (2, 6, 5)))),
        ("f", net.Flatten((2, 6, 5))),
        ("w", net.Linear(weights(4, 60), weights(4))),
        ("m", replace(cuba(4), w_in=np.array([2.0, -1.0, 0.0, -3.0]), v_leak=np.full(4, 0.1))),
        ("v", net.Linear(weights(3, 4))),
        ("o", net.LI(4 * np.ones(3), np.array([1.0, -1.0, 0.0]), 0.1 * np.ones(3))),
        ("out", net.Output((3,))),
    ),
    "joined": chain(
        ("in", net.Input((3,))),
        ("w", net.Linear(weights(3, 3))),
        ("n", lif((3,), 0.2)),
        ("j", net.Scale(np.ones(3))),
        ("v", net.Linear(weights(4, 3), weights(4))),
        ("m", lif((4,), 0.2)),
        ("out", net.Output((4,))),
        extra=(("in", "j"),),
    ),
}
NETWORKS["recurrent"] = replace(
    NETWORKS["recurrent"], nodes={**NETWORKS["recurrent"].nodes, "r": net.Linear(weights(4, 4), weights(4))}
)


@pytest.mark.parametrize("graded", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_lowered_network_computes_what_its_original_computes(name, graded):
    network = NETWORKS[name]
    (source,) = [n for n, node in network.nodes.items() if isinstance(node, net.Input)]
    shape = network.nodes[source].shape
    x = RNG.integers(0, 3, (2, STEPS, *shape)).astype(float)
    expected = reference.run(network, x, dtype=torch.float64, trace=True)
    lowered = lower(network, STEPS, graded=graded)
    output, _ = lowered.outputs[0]
    for i in range(2):
        got = lowered_float.run(lowered, {source: x[i]})[output]
        (want,) = expected.outputs.values()
        assert np.allclose(got, np.asarray(want)[i], atol=1e-9), name
    assert np.asarray(want).any(), "a silent network shows nothing"


def test_pools_become_relays_where_messages_are_graded_and_fold_where_they_are_not():
    network = NETWORKS["pools before weights"]
    kinds = [type(p.model) for p in lower(network, STEPS, graded=True).populations]
    assert kinds.count(Join) == 2
    folded = lower(network, STEPS, graded=False)
    assert not any(isinstance(p.model, Join) for p in folded.populations)


def test_weights_stay_shared_where_nothing_forces_them_apart():
    lowered = lower(NETWORKS["conv-bias-dense"], STEPS, graded=True)
    assert isinstance(lowered.projections[0].synapses, RealConv)


def test_uneven_delays_store_every_synapse_once():
    lowered = lower(NETWORKS["delays of every element"], STEPS, graded=True)
    delayed = [p for p in lowered.projections if p.target == "n"]
    assert {p.lag for p in delayed} == {0, 1, 3}
    assert sum(p.synapses.weight.size for p in delayed) == 4 * 3


def test_uneven_delays_that_close_a_loop_within_a_step_are_refused_by_name():
    network = chain(
        ("in", net.Input((2,))),
        ("w", net.Linear(np.ones((2, 2)))),
        ("n", lif((2,))),
        ("out", net.Output((2,))),
        extra=(("n", "d"), ("d", "r"), ("r", "n")),
    )
    nodes = {**network.nodes, "d": net.Delay(np.array([0.0, 2.0])), "r": net.Linear(np.ones((2, 2)))}
    with pytest.raises(RefusedError, match=r"'r\.d\.delay0' closes a loop"):
        lower(replace(network, nodes=nodes), STEPS, graded=True)


def test_a_pool_of_a_linear_node_is_refused_by_name():
    network = chain(
        ("in", net.Input((1, 4, 4))),
        ("c", net.Conv(np.ones((1, 1, 1, 1)))),
        ("p", net.Pool("max", (2, 2), (2, 2))),
        ("n", lif((1, 2, 2))),
        ("out", net.Output((1, 2, 2))),
    )
    with pytest.raises(RefusedError, match="'p'"):
        lower(network, STEPS, graded=True)


def test_a_bias_that_a_delay_would_hold_back_is_refused_by_name():
    network = chain(
        ("in", net.Input((2,))),
        ("w", net.Linear(np.ones((1, 2)), np.ones(1))),
        ("d", net.Delay(np.array([1.0]))),
        ("n", lif((1,))),
        ("out", net.Output((1,))),
    )
    with pytest.raises(RefusedError, match="'w'"):
        lower(network, STEPS, graded=True)
