"""Nodes, edges and shapes of a Continuous Thought Machine under construction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ndeploy.ir import network as net

from ._weights import FloatArray

Shape = tuple[int, ...]

LAYER_NORM_EPSILON = 1e-5
"""PyTorch's default, which the public code keeps everywhere."""


@dataclass
class Graph:
    """Every method adds one node and returns its name. shapes: what the nodes put out."""

    nodes: dict[str, net.Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def add(self, name: str, node: net.Node, shape: Shape, *sources: str) -> str:
        """Any node, with edges from its sources."""
        self.nodes[name] = node
        self.shapes[name] = shape
        self.edges += [(source, name) for source in sources]
        return name

    def linear(self, name: str, source: str, weight: FloatArray, bias: FloatArray | None = None) -> str:
        """W x + b of the flattened source. weight: (n_out, n_in)."""
        return self.add(name, net.Linear(weight, bias), (weight.shape[0],), source)

    def conv(
        self,
        name: str,
        source: str,
        weight: FloatArray,
        bias: FloatArray | None = None,
        stride: Shape = (),
        padding: Shape = (),
        groups: int = 1,
    ) -> str:
        """A convolution over the source's axes after the first. weight: (C_out, C_in/groups, *kernel)."""
        axes = weight.ndim - 2
        stride, padding = stride or (1,) * axes, padding or (0,) * axes
        node = net.Conv(weight, bias, stride, padding, (1,) * axes, groups)
        given = self.shapes[source][1:]
        sizes = zip(given, weight.shape[2:], stride, padding, strict=True)
        return self.add(name, node, (weight.shape[0], *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)), source)

    def activation(self, name: str, function: str, *sources: str) -> str:
        """f of the sum of the sources."""
        shape = self.shapes[sources[0]]
        return self.add(name, net.Activation(function, shape), shape, *sources)

    def gate(self, name: str, value: tuple[str, ...], gate: tuple[str, ...]) -> str:
        """A gated linear unit of the sums of both sides."""
        shape = self.shapes[value[0]]
        return self.add(name, net.Gate(value, gate, shape), shape, *value, *gate)

    def norm(self, name: str, view: Shape, axis: int, affine: tuple[FloatArray, FloatArray], *sources: str) -> str:
        """Layer norm over `axis` of the sum of the sources, whose shape it keeps. affine: gain and offset."""
        shape = self.shapes[sources[0]]
        return self.add(name, net.LayerNorm(shape, view, axis, *affine, LAYER_NORM_EPSILON), shape, *sources)

    def flatten(self, name: str, source: str, start: int = 0) -> str:
        """Merge the source's axes from `start` on."""
        shape = self.shapes[source]
        merged = (*shape[:start], math.prod(shape[start:]))
        return self.add(name, net.Flatten(shape, start, len(shape) - 1), merged, source)

    def max_pool(self, name: str, source: str) -> str:
        """MaxPool2d(3, stride 2, padding 1) over (C, H, W)."""
        channels, height, width = self.shapes[source]
        node = net.Pool("max", (3, 3), (2, 2), (1, 1))
        return self.add(name, node, (channels, (height + 1) // 2, (width + 1) // 2), source)
