"""Builds the Network of a spiking transformer from layers: convolution + batch norm + LIF, joins, attention, head."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ndeploy.ir import network as net

from ._weights import FloatArray

DT = 1e-4
"""Seconds a model step stands for in the graph. Only tau / dt matters; tau is given in steps."""


@dataclass(frozen=True)
class Lif:
    """SpikingJelly's LIF neuron. tau: in steps; decay_input: whether the input is divided by tau as well."""

    tau: float
    v_threshold: float
    decay_input: bool = True

    def node(self, shape: tuple[int, ...], v_threshold: float | None = None) -> net.LIF:
        """The NIR node of that shape: v <- v + (r x - v) / tau, reset to zero."""
        full = np.full(shape, 1.0)
        return net.LIF(
            tau=full * self.tau * DT,
            r=full * (1.0 if self.decay_input else self.tau),
            v_leak=full * 0.0,
            v_threshold=full * (self.v_threshold if v_threshold is None else v_threshold),
            v_reset=full * 0.0,
        )


@dataclass
class Graph:
    """Nodes and edges under construction; every method returns the name of the node it added."""

    lif: Lif
    nodes: dict[str, net.Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, name: str, node: net.Node, shape: tuple[int, ...], *sources: str) -> str:
        """Add a node with edges from its sources. shape: of what it puts out."""
        self.nodes[name] = node
        self.shapes[name] = shape
        self.edges += [(source, name) for source in sources]
        return name

    def conv(self, name: str, source: str, weight: FloatArray, bias: FloatArray) -> str:
        """A convolution of stride 1 that keeps the size. weight: (C_out, C_in, *kernel), kernels of odd size."""
        axes = weight.ndim - 2
        padding = tuple(k // 2 for k in weight.shape[2:])
        node = net.Conv(weight, bias, (1,) * axes, padding, (1,) * axes)
        return self.add(name, node, (weight.shape[0], *self.shapes[source][1:]), source)

    def neuron(self, name: str, source: str, v_threshold: float | None = None) -> str:
        """A LIF population behind a node."""
        shape = self.shapes[source]
        return self.add(name, self.lif.node(shape, v_threshold), shape, source)

    def max_pool(self, name: str, source: str) -> str:
        """MaxPool2d(3, stride 2, padding 1) over (C, H, W)."""
        channels, height, width = self.shapes[source]
        node = net.Pool("max", (3, 3), (2, 2), (1, 1))
        return self.add(name, node, (channels, (height + 1) // 2, (width + 1) // 2), source)

    def join(self, name: str, left: str, right: str) -> str:
        """left + right: a Scale of ones that both enter."""
        shape = self.shapes[left]
        return self.add(name, net.Scale(np.ones(shape)), shape, left, right)

    def tokens(self, name: str, source: str) -> str:
        """(C, H, W) -> (C, N), tokens in row order."""
        channels, height, width = self.shapes[source]
        return self.add(name, net.Flatten((channels, height, width), 1, 2), (channels, height * width), source)

    def attention(self, name: str, q: str, k: str, v: str, heads: int, scale: float, v_threshold: float) -> str:
        """LIF(scale * q (k^T v)) for (C, N) operands; channel c of head h is channel h * (C / heads) + c.

        k^T v is contracted over tokens j first: integers, so the order of the two products does not matter.
        """
        channels, tokens = self.shapes[q]
        width = channels // heads
        view = (heads, width, tokens)
        state = net.Product(k, v, view, view, "hcj,hdj->hcd", (heads, width, width), 1.0, "j")
        self.add(f"{name}.kv", state, (heads, width, width), k, v)
        context = net.Product(
            q, f"{name}.kv", view, (heads, width, width), "hcn,hcd->hdn", (channels, tokens), scale, "c"
        )
        self.add(f"{name}.qkv", context, (channels, tokens), q, f"{name}.kv")
        return self.neuron(f"{name}.attn_lif", f"{name}.qkv", v_threshold)

    def mean_head(self, name: str, source: str, weight: FloatArray, bias: FloatArray, steps: int) -> str:
        """A linear head on the mean over tokens and model steps; the sum of its value over the steps is the answer."""
        channels, tokens = self.shapes[source]
        reduced = self.add("token_sum", net.Reduce((channels, tokens), (1,), "sum"), (channels,), source)
        self.add(name, net.Linear(weight / (tokens * steps), bias / steps), (weight.shape[0],), reduced)
        return self.add("output", net.Output((weight.shape[0],)), (weight.shape[0],), name)
