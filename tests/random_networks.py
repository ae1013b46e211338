"""Small random Networks of every node class, for round trips and executions."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from ndeploy.graph import shapes
from ndeploy.ir import network as ir
from ndeploy.neurons import CubaLif, Relay, SigmaDelta

SEMANTICS = st.builds(
    ir.Semantics,
    dt=st.sampled_from([1e-4, 1e-3]),
    integrator=st.sampled_from(ir.INTEGRATORS),
    reset=st.sampled_from(ir.RESETS),
    compare=st.sampled_from(ir.COMPARES),
    recurrent_delay=st.integers(1, 3),
    synapse_first=st.booleans(),
    synapse_gain=st.sampled_from(ir.SYNAPSE_GAINS),
    membrane_gain=st.sampled_from(ir.MEMBRANE_GAINS),
    if_gain=st.sampled_from(["ode", "unit"]),
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)


def _array(draw, shape, low, high):
    seed = draw(st.integers(0, 2**16))
    return np.random.default_rng(seed).uniform(low, high, shape)


def _neuron(draw, shape):
    kind = draw(st.sampled_from(["Threshold", "Integrator", "IF", "LI", "LIF", "CubaLI", "CubaLIF", "IntegerNeuron"]))
    tau, r = _array(draw, shape, 2e-3, 9e-3), _array(draw, shape, 0.5, 2)
    leak, threshold, reset = _array(draw, shape, -0.1, 0.1), _array(draw, shape, 0.2, 1), _array(draw, shape, -0.2, 0)
    own = draw(st.none() | SEMANTICS)
    if kind == "Threshold":
        return ir.Threshold(threshold, own)
    if kind == "Integrator":
        return ir.Integrator(r, own)
    if kind == "IF":
        return ir.IF(r, threshold, reset, own)
    if kind == "LI":
        return ir.LI(tau, r, leak, own)
    if kind == "LIF":
        return ir.LIF(tau, r, leak, threshold, reset, draw(st.sampled_from([0.0, 2e-3])), own)
    if kind == "CubaLI":
        return ir.CubaLI(tau, tau[..., ::-1].copy(), r, leak, r * 2, own)
    if kind == "CubaLIF":
        refractory = draw(st.sampled_from([0.0, 3e-3]))
        return ir.CubaLIF(tau, tau * 2, r, leak, threshold, reset, r * 2, refractory, own)
    vth = (threshold * 100).astype(np.int64)
    neuron = draw(st.sampled_from([CubaLif(4095, 128, 64 * 30), Relay(8), SigmaDelta(vth=6), CubaLif(10, 20, vth)]))
    return ir.IntegerNeuron(neuron, shape)


def _linear(draw, shape):
    """A node that fits an input of that shape."""
    choices = ["Scale", "Flatten", "Linear", "Delay"]
    choices += ["Reduce"] if len(shape) > 1 else []
    choices += ["Conv"] * 2 + ["Pool"] if len(shape) == 3 else []
    choices += ["Conv"] if len(shape) == 2 else []
    kind = draw(st.sampled_from(choices))
    if kind == "Scale":
        return ir.Scale(_array(draw, shape, -1, 1))
    if kind == "Delay":
        return ir.Delay(np.round(_array(draw, shape, 0, 3)) * 1e-3)
    if kind == "Flatten":
        start = draw(st.integers(0, len(shape) - 1))
        return ir.Flatten(shape, start, draw(st.sampled_from([-1, len(shape) - 1])))
    if kind == "Reduce":
        axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1, max_size=len(shape) - 1))
        return ir.Reduce(shape, tuple(sorted(axes)), draw(st.sampled_from(["sum", "mean"])))
    if kind == "Pool":
        return ir.Pool(draw(st.sampled_from(["sum", "average", "max"])), (2, 1), (1, 2), (1, 0))
    if kind == "Linear":
        out = draw(st.integers(1, 4))
        weight = np.round(_array(draw, (out, math.prod(shape)), -9, 9))
        integer = draw(st.sampled_from([None, None, ir.IntegerWeights(4, -1), ir.IntegerWeights(8, 2)]))
        if integer is not None and draw(st.booleans()):
            delays = np.round(_array(draw, weight.shape, 0, 2)).astype(np.int64)
            integer = ir.IntegerWeights(integer.bits, integer.exponent, integer.sign, delays)
        return ir.Linear(weight, draw(st.sampled_from([None, _array(draw, out, -1, 1)])), integer)
    axes = len(shape) - 1
    kernel = tuple(draw(st.integers(1, min(3, n))) for n in shape[1:])
    weight = _array(draw, (2, shape[0], *kernel), -1, 1)
    bias = draw(st.sampled_from([None, _array(draw, 2, -1, 1)]))
    return ir.Conv(weight, bias, (draw(st.integers(1, 2)),) * axes, (1,) * axes, (1,) * axes)


@st.composite
def networks(draw, max_nodes: int = 7) -> ir.Network:
    """A chain with neurons, linear nodes, joins, products, a loop now and then, one or two inputs and outputs."""
    names = draw(st.lists(NAMES, min_size=max_nodes + 6, max_size=max_nodes + 6, unique=True))
    fresh = iter(names)
    shape = draw(st.sampled_from([(3,), (2, 4), (2, 3, 4), (1, 4, 2)]))
    nodes: dict[str, ir.Node] = {}
    edges: list[tuple[str, str]] = []
    last = next(fresh)
    nodes[last] = ir.Input(shape)
    for _ in range(draw(st.integers(1, max_nodes))):
        known = shapes.infer(ir.Network("", nodes, tuple(edges)))
        what = draw(st.sampled_from(["neuron", "linear", "linear", "join", "product"]))
        name = next(fresh)
        same = [n for n in nodes if known[n] == known[last] and n != last]
        if what == "neuron":
            nodes[name] = _neuron(draw, known[last])
            if draw(st.booleans()):
                edges.append((name, name))
        elif what == "join" and same:
            nodes[name] = ir.Scale(np.ones(known[last]))
            edges.append((draw(st.sampled_from(same)), name))
        elif what == "product" and same:
            size = math.prod(known[last])
            scale = draw(st.sampled_from([1.0, 0.125]))
            other = draw(st.sampled_from(same))
            stream = draw(st.sampled_from(["", "i"]))
            nodes[name] = ir.Product(last, other, (size,), (1, size), "i,ji->ij", (size, 1), scale, stream)
            edges.append((other, name))
        else:
            nodes[name] = _linear(draw, known[last])
        edges.append((last, name))
        last = name
    known = shapes.infer(ir.Network("", nodes, tuple(edges)))
    for source in {last, draw(st.sampled_from(list(nodes)))}:
        name = next(fresh)
        nodes[name] = ir.Output(known[source])
        edges.append((source, name))
    return ir.Network(
        name=draw(NAMES),
        nodes=nodes,
        edges=tuple(draw(st.permutations(edges))),
        semantics=draw(SEMANTICS),
        steps=draw(st.none() | st.integers(1, 9)),
        decode=draw(st.sampled_from(["sum", "last", "max", "none"])),
        settings={"dt": {"value": 1e-4, "from": "preset snntorch"}, "heads": {"value": [1, 2], "from": "args"}},
        family=draw(st.sampled_from(["nir", "spikformer", ""])),
    )
