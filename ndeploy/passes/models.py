"""Which population a node becomes, and which nodes dissolve into the synapses between populations."""

from __future__ import annotations

import numpy as np

from ndeploy.graph.discrete import discretise
from ndeploy.ir import network as net
from ndeploy.ir.lowered import (
    Compare,
    FloatArray,
    Gated,
    Graded,
    Join,
    Model,
    Normed,
    Or,
    Registered,
    Softmaxed,
    Source,
    Synchronised,
)

NEURONS = (net.Integrator, net.IF, net.LI, net.LIF, net.CubaLI, net.CubaLIF)
GRADED_NODES = (
    net.Activation,
    net.Gate,
    net.LayerNorm,
    net.Softmax,
    net.Register,
    net.Trace,
    net.Synchronisation,
)
"""Nodes that keep a graded value; a network that has one needs graded messages."""

WIRED = (net.Register, net.Trace, net.Synchronisation)
"""Nodes that take messages as they are, over unit synapses from one population: their scale is their source's."""

_SUMMING = (net.Activation, net.LayerNorm, net.Softmax)
"""Graded nodes that a product can end on directly, if nothing else does: the units of a product are its operands'."""


def is_ones(node: net.Node) -> bool:
    """Whether the node passes its input on: a Scale of ones (a residual join where several edges enter)."""
    return isinstance(node, net.Scale) and bool((node.scale == 1).all())


def is_graded(network: net.Network) -> bool:
    """Whether the network computes with graded nodes; what it joins and pools then has scales of its own."""
    return any(isinstance(node, GRADED_NODES) for node in network.nodes.values())


def consumers(network: net.Network, name: str) -> list[net.Node]:
    """Nodes that use a value, seen through reshapes."""
    found: list[net.Node] = []
    for target in network.targets(name):
        node = network.nodes[target]
        found += consumers(network, target) if isinstance(node, net.Flatten) else [node]
    return found


def model_of(network: net.Network, name: str, graded: bool) -> Model | None:
    """The population a node becomes, or None where it dissolves into synapses.

    graded: whether messages may carry integers. Networks with graded nodes come in the form of `graded_form`.
    """
    node = network.nodes[name]
    if isinstance(node, net.Input):
        return Source()
    if isinstance(node, net.IntegerNeuron):
        return node.neuron
    if isinstance(node, net.Threshold):
        semantics = node.semantics or network.semantics
        return Compare(node.threshold, semantics.compare == "ge")
    if isinstance(node, NEURONS):
        return discretise(node, network.semantics, name)
    if isinstance(node, GRADED_NODES):
        return _graded(node)
    if isinstance(node, net.Pool) and node.kind == "max":
        return Or()
    users = consumers(network, name)
    if is_ones(node) and len(network.sources(name)) > 1:
        if len(users) == 1 and isinstance(users[0], net.Activation | net.Gate | net.LayerNorm | net.Softmax):
            return None  # the sum is taken by the one who uses it
        # without graded messages the branches' synapses end side by side on what follows
        return Join() if graded else None
    if isinstance(node, net.Product):
        if _ends_on_neurons(network, name, users):
            return None
        # in graded networks every population has a scale of its own
        return Graded() if is_graded(network) else Join()
    if isinstance(node, net.Pool | net.Reduce) and graded:
        # a relay keeps the weights that follow shared; without graded messages the two fold into one matrix
        return Join() if any(isinstance(c, net.Linear | net.Conv) for c in users) else None
    return None


def _ends_on_neurons(network: net.Network, name: str, users: list[net.Node]) -> bool:
    """Whether a product's only use is the sum of one population that can take it."""
    targets = network.targets(name)
    if len(users) != 1 or len(targets) != 1 or users[0] is not network.nodes[targets[0]]:
        return False
    user = users[0]
    if isinstance(user, net.Gate):
        return user.value == (name,)
    alone = len(network.sources(targets[0])) == 1
    return isinstance(user, NEURONS) or (isinstance(user, _SUMMING) and alone)


def _graded(node: net.Node) -> Model:
    if isinstance(node, net.Activation):
        return Graded(node.function)
    if isinstance(node, net.LayerNorm):
        return Normed(node.view, node.axis, _floats(node.gain), _floats(node.offset), node.epsilon)
    if isinstance(node, net.Softmax):
        return Softmaxed(node.shape)
    if isinstance(node, net.Synchronisation):
        return Synchronised(_floats(node.decay), _floats(node.alpha), _floats(node.beta))
    if isinstance(node, net.Register):
        return Registered(_floats(node.start))
    if isinstance(node, net.Trace):
        # the first step shifts what is remembered by one; the input of the step comes last
        start = np.zeros_like(_floats(node.start))
        start[:, :-1] = node.start[:, 1:]
        return Registered(start)
    return Gated()


def _floats(value: FloatArray) -> FloatArray:
    return np.asarray(value, dtype=np.float64)
