"""Maximum pools of graded values, exactly: max(a, b) = b + relu(a - b), a tap at a time.

Of binary spikes the maximum is an OR, which needs one neuron. Graded values have no maximum of sums, but a difference
has a ReLU. A window of n values takes n - 1 ReLU populations an axis, rows first, then columns:

    r1 = relu(x0 - x1);  r2 = relu(x1 + r1 - x2);  ...;  max = x_last + r_last

Taps in the padding count as zero, which is exact after a ReLU and is refused elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.graph.shapes import infer, input_shape
from ndeploy.ir import network as net


def expand_max_pools(network: net.Network) -> net.Network:
    """The network with every maximum pool of graded values as convolutions and ReLUs; itself where it has none.

    Raises RefusedError ND203 for a padded pool whose input may be negative.
    """
    for name, node in network.nodes.items():
        if isinstance(node, net.Pool) and node.kind == "max" and _graded(network, name):
            network = _expanded(network, name, node)
    return network


def _graded(network: net.Network, name: str) -> bool:
    """Whether what is pooled comes from graded nodes of the network's own kind."""
    sources = network.sources(name)
    nodes = [network.nodes[s] for s in sources]
    if any(isinstance(n, net.Flatten | net.Pool | net.Conv | net.Scale | net.Linear) for n in nodes):
        return any(_graded(network, s) for s in sources)
    return any(isinstance(n, net.Activation | net.Gate | net.LayerNorm | net.Softmax) for n in nodes)


def _expanded(network: net.Network, name: str, node: net.Pool) -> net.Network:
    shape = input_shape(network, name, infer(network))
    sources = network.sources(name)
    padded = any(node.padding)
    relu = [isinstance(n, net.Activation) and n.function == "relu" for n in (network.nodes[s] for s in sources)]
    if padded and not (len(sources) == 1 and all(relu)):
        raise RefusedError(
            "ND203",
            f"maximum pool '{name}' is padded and its input may be negative: a tap in the padding would count as 0",
            help="pool after a ReLU, or without padding",
        )
    # the maximum of what is never negative is never negative: its message needs no sign
    plain = "relu" if len(sources) == 1 and all(relu) else "identity"
    nodes = dict(network.nodes)
    edges = [edge for edge in network.edges if name not in edge]
    after = [target for source, target in network.edges if source == name]
    del nodes[name]

    def add(key: str, made: net.Node, *above: str) -> str:
        nodes[key] = made
        edges.extend((source, key) for source in above)
        return key

    heads = list(sources)
    for axis, letter in ((1, "columns"), (0, "rows")):
        size = node.kernel[axis]
        stride, padding = (_on(axis, v[axis], d) for v, d in ((node.stride, 1), (node.padding, 0)))
        channels, spatial = shape[0], list(shape[1:])
        spatial[axis] = (spatial[axis] + 2 * node.padding[axis] - size) // node.stride[axis] + 1
        if size == 1 and node.stride[axis] == 1:
            continue
        shape = (channels, *spatial)
        window = _Window(channels, size, axis, stride, padding)
        last: str | None = None
        for tap in range(1, size):
            key = f"{name}.{letter}{tap}"
            difference = add(f"{key}.taps", _taps({tap - 1: 1.0, tap: -1.0}, window), *heads)
            above = (difference,) if last is None else (difference, last)
            last = add(key, net.Activation("relu", shape), *above)
        chosen = add(f"{name}.{letter}.last", _taps({size - 1: 1.0}, window), *heads)
        key = name if axis == 0 or node.kernel[0] == 1 == node.stride[0] else f"{name}.{letter}"
        heads = [add(key, net.Activation(plain, shape), chosen, *([last] if last else []))]
    edges += [(source, target) for target in after for source in (heads if name not in nodes else [name])]
    return replace(network, nodes=nodes, edges=tuple(edges))


@dataclass(frozen=True)
class _Window:
    """Taps along one axis of every channel by itself."""

    channels: int
    size: int
    axis: int
    stride: tuple[int, int]
    padding: tuple[int, int]


def _taps(values: dict[int, float], window: _Window) -> net.Conv:
    """The convolution that sums taps with these weights."""
    kernel = np.zeros(window.size)
    for tap, value in values.items():
        kernel[tap] = value
    sides = (1, window.size) if window.axis else (window.size, 1)
    weight = np.broadcast_to(kernel.reshape(sides), (window.channels, 1, *sides)).copy()
    return net.Conv(weight, None, window.stride, window.padding, (1, 1), window.channels)


def _on(axis: int, value: int, other: int) -> tuple[int, int]:
    return (other, value) if axis else (value, other)
