"""Network -> Network: a graded network where every value that becomes a message has a node of its own.

Observation of calibration data sees nodes, so what lowering needs to hold must be one before it is observed:
- a sum or a weighed value that a register, a trace or a synchronisation takes as it is: Activation `<name>.in`;
- a join that several use, and a pool or mean before weights: Activation `<name>`, Activation `<name>.relay`;
- a maximum pool of graded values: rectified differences, see `max_pool`.
Values of nodes that keep their name are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ndeploy.graph.discrete import NEURON_NODES
from ndeploy.graph.shapes import infer
from ndeploy.ir import network as net
from ndeploy.passes.max_pool import expand_max_pools
from ndeploy.passes.models import GRADED_NODES, WIRED, consumers, is_graded, is_ones

_SENDING = (net.Input, *GRADED_NODES, *NEURON_NODES, net.IntegerNeuron)
"""Nodes that are populations whatever surrounds them."""


def graded_form(network: net.Network) -> net.Network:
    """The network itself where it has no graded nodes. Doing it twice changes nothing more.

    Raises what `max_pool.expand_max_pools` and `shapes.infer` raise.
    """
    if not is_graded(network):
        return network
    return _formed(expand_max_pools(_formed(network, _Form.before_pools)), _Form.take)


def _formed(network: net.Network, take: Callable[[_Form, str, net.Node], None]) -> net.Network:
    made = _Form(network, dict(infer(network)), {}, list(network.edges))
    for name, node in network.nodes.items():
        take(made, name, node)
    return replace(network, nodes=made.nodes, edges=tuple(made.edges))


@dataclass
class _Form:
    """The network under construction: nodes taken so far, all edges."""

    network: net.Network
    shapes: dict[str, tuple[int, ...]]
    nodes: dict[str, net.Node]
    edges: list[tuple[str, str]]

    def before_pools(self, name: str, node: net.Node) -> None:
        """One node; a maximum of sums or of what the host sends is taken of messages."""
        if isinstance(node, net.Pool) and node.kind == "max":
            source = self.carrier(name)
            if source is None or isinstance(self.network.nodes[source], net.Input):
                self.hold(name)
        self.nodes[name] = node

    def take(self, name: str, node: net.Node) -> None:
        """One node of the network, with what it needs."""
        users = consumers(self.network, name)
        if isinstance(node, WIRED) and self.carrier(name) is None:
            self.hold(name)
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

    def hold(self, name: str) -> None:
        """An Activation before `name` that holds what arrives there."""
        sources = self.network.sources(name)
        if not sources:
            return
        held = self.free(f"{name}.in")
        self.nodes[held] = net.Activation("identity", self.shapes[sources[0]])
        self.edges = [(a, held if b == name else b) for a, b in self.edges] + [(held, name)]

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


def _summed_by(users: list[net.Node]) -> bool:
    """Whether a sum has one user that takes it by itself."""
    return len(users) == 1 and isinstance(users[0], net.Activation | net.Gate | net.LayerNorm | net.Softmax)
