"""Network -> Network: a graded network where every value that becomes a message has a node of its own.

Observation of calibration data sees nodes, so what lowering needs to hold must be one before it is observed:
- a sum or a weighed value that a register, a trace or a synchronisation takes as it is: Activation `<name>.in`;
- a join that several use, and a pool or mean before weights: Activation `<name>`, Activation `<name>.relay`;
- a maximum pool of graded values: rectified differences, see `_max_pool`.
Values of nodes that keep their name are unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.graph.discrete import NEURON_NODES
from ndeploy.graph.shapes import infer
from ndeploy.ir import network as net
from ndeploy.passes.models import GRADED_NODES, WIRED, consumers, is_graded, is_ones

_SENDING = (net.Input, *GRADED_NODES, *NEURON_NODES, net.IntegerNeuron)
"""Nodes that are populations whatever surrounds them."""


def graded_form(network: net.Network) -> net.Network:
    """The network itself where it has no graded nodes. Doing it twice changes nothing more.

    Raises RefusedError ND201 for a padded maximum pool of values that may be negative, and what `shapes.infer` raises.
    """
    if not is_graded(network):
        return network
    made = _Form(network, dict(infer(network)), {}, list(network.edges))
    for name, node in network.nodes.items():
        made.take(name, node)
    return replace(network, nodes=made.nodes, edges=tuple(made.edges))


@dataclass
class _Form:
    """The network under construction: nodes taken so far, all edges."""

    network: net.Network
    shapes: dict[str, tuple[int, ...]]
    nodes: dict[str, net.Node]
    edges: list[tuple[str, str]]

    def take(self, name: str, node: net.Node) -> None:
        """One node of the network, with what it needs."""
        users = consumers(self.network, name)
        if isinstance(node, WIRED) and self.carrier(name) is None:
            self.hold(name)
        if isinstance(node, net.Pool) and node.kind == "max":
            source = self.carrier(name)
            if source is None or not isinstance(self.network.nodes[source], NEURON_NODES):
                _max_pool(self, name, node)
                return
        if is_ones(node) and len(self.network.sources(name)) > 1 and not _summed_by(users):
            node = net.Activation("identity", self.shapes[name])
        self.nodes[name] = node
        sums = isinstance(node, net.Reduce) or (isinstance(node, net.Pool) and node.kind != "max")
        if sums and any(isinstance(c, net.Linear | net.Conv) for c in users):
            self._relay(name)

    def carrier(self, name: str) -> str | None:
        """The one node whose message arrives unchanged, seen through reshapes; None where there is none."""
        sources = self.network.sources(name)
        while len(sources) == 1:
            (source,) = sources
            node = self.network.nodes[source]
            is_join = is_ones(node) and len(self.network.sources(source)) > 1
            pools = isinstance(node, net.Product) or (isinstance(node, net.Pool) and node.kind == "max")
            if isinstance(node, _SENDING) or pools or (is_join and not _summed_by(consumers(self.network, source))):
                return source
            if not (isinstance(node, net.Flatten) or is_ones(node)):
                return None
            sources = self.network.sources(source)
        return None

    def hold(self, name: str) -> str:
        """An Activation before `name` that holds what arrives there."""
        held = self.free(f"{name}.in")
        sources = self.network.sources(name)
        if not sources:
            return held
        self.nodes[held] = net.Activation("identity", self.shapes[sources[0]])
        self.edges = [(a, held if b == name else b) for a, b in self.edges] + [(held, name)]
        return held

    def _relay(self, name: str) -> None:
        """An Activation behind `name` that those who weigh it read."""
        relay = self.free(f"{name}.relay")
        self.nodes[relay] = net.Activation("identity", self.shapes[name])
        weighing = {t for t in self.network.targets(name) if isinstance(self.network.nodes[t], net.Linear | net.Conv)}
        weighing |= {t for t in self.network.targets(name) if isinstance(self.network.nodes[t], net.Flatten)}
        self.edges = [(relay if a == name and b in weighing else a, b) for a, b in self.edges] + [(name, relay)]

    def free(self, name: str) -> str:
        """A name that no node has."""
        while name in self.network.nodes or name in self.nodes:
            name += "'"
        return name

    def add(self, name: str, node: net.Node, *sources: str) -> str:
        """A node with its edges; returns its name, which is made free."""
        name = self.free(name)
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name


def _summed_by(users: list[net.Node]) -> bool:
    """Whether a sum has one user that takes it by itself."""
    return len(users) == 1 and isinstance(users[0], net.Activation | net.Gate | net.LayerNorm | net.Softmax)


def _max_pool(form: _Form, name: str, node: net.Pool) -> None:
    """max(a, b) = b + relu(a - b), exactly: the maximum over columns, then over rows.

    Of columns x_0 .. x_n: v_1 = relu(x_0 - x_1), v_j = relu(x_{j-1} + v_{j-1} - x_j), maximum x_n + v_n. Chips add what
    arrives, they take no maximum. Zero padding equals the padding with minus infinity where nothing is negative.
    """
    shape = form.shapes[form.network.sources(name)[0]]
    if len(shape) != 3:
        raise RefusedError(
            "ND201",
            f"node '{name}' takes the maximum over windows of a value of shape {shape}",
            help="values that are pooled have three axes: channels, rows, columns",
        )
    if any(node.padding) and not _never_negative(form.network, name):
        raise RefusedError(
            "ND201",
            f"node '{name}' takes the maximum over padded windows of values that may be negative",
            help="pool behind a ReLU, or without padding",
        )
    channels, height, _ = shape
    source = form.network.sources(name)[0] if form.carrier(name) else form.hold(name)
    form.edges = [(a, b) for a, b in form.edges if b != name]
    kernel, stride, padding = node.kernel, node.stride, node.padding
    after = form.shapes[name]

    def taps(part: str, of: str, window: net.FloatArray, steps: tuple[int, int], zeros: tuple[int, int]) -> str:
        weight = np.tile(window.astype(np.float64), (channels, 1, 1, 1))
        return form.add(f"{name}.{part}", net.Conv(weight, None, steps, zeros, (1, 1), channels), of)

    columns = None
    for j in range(1, kernel[1]):
        window = (_one(kernel[1], j - 1) - _one(kernel[1], j))[None]
        difference = taps(f"columns{j}.x", source, window, (1, stride[1]), (0, padding[1]))
        sources = [difference] if columns is None else [difference, columns]
        columns = form.add(f"{name}.columns{j}", net.Activation("relu", (channels, height, after[2])), *sources)

    def rows(part: str, window: net.FloatArray) -> list[str]:
        """The sum over rows, weighed by `window`, of the maxima over columns."""
        last = np.outer(window, _one(kernel[1], kernel[1] - 1))
        found = [taps(f"{part}x", source, last, stride, padding)]
        if columns is not None:
            found.append(taps(f"{part}v", columns, window[:, None], (stride[0], 1), (padding[0], 0)))
        return found

    above: list[str] = []
    for i in range(1, kernel[0]):
        window = _one(kernel[0], i - 1) - _one(kernel[0], i)
        above = [form.add(f"{name}.rows{i}", net.Activation("relu", after), *rows(f"rows{i}.", window), *above)]
    ends = [*rows("", _one(kernel[0], kernel[0] - 1)), *above]
    form.nodes[name] = net.Activation("identity", after)
    form.edges += [(end, name) for end in ends]


def _one(size: int, at: int) -> net.FloatArray:
    found = np.zeros(size)
    found[at] = 1.0
    return found


def _never_negative(network: net.Network, name: str) -> bool:
    """Whether what arrives at the node is a rectified value, or a maximum of such."""
    sources = network.sources(name)
    if len(sources) != 1:
        return False
    (source,) = sources
    node = network.nodes[source]
    if isinstance(node, net.Pool) and node.kind == "max":
        return _never_negative(network, source)
    return isinstance(node, net.Softmax) or (isinstance(node, net.Activation) and node.function == "relu")
