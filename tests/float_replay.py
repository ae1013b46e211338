"""A second float execution of a Network in torch, independent of ndeploy.graph.reference: for converter tests only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ndeploy.ir import network as net


def replay(network: net.Network, x: npt.NDArray[np.float64], steps: int) -> tuple[Tensor, dict[str, float]]:
    """Sum over steps of the output of x (samples, *shape) or (samples, steps, *shape); mean value by LIF node.

    Knows the nodes that spiking transformers are made of, with forward Euler, reset to zero and spikes on >=.
    """
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for source in network.sources(name):
                visit(source)
            order.append(name)

    for name in network.nodes:
        visit(name)
    data = torch.tensor(x, dtype=torch.float64)
    state: dict[str, Tensor] = {}
    rates: dict[str, float] = {}
    total = torch.zeros(())
    for step in range(steps):
        values: dict[str, Tensor] = {}
        for name in order:
            node = network.nodes[name]
            if isinstance(node, net.Input):
                values[name] = data[:, step] if data.ndim == len(node.shape) + 2 else data
            elif isinstance(node, net.Product):
                left, right = values[node.left], values[node.right]
                operands, result = node.subscripts.split("->")
                equation = ",".join(f"z{o}" for o in operands.split(",")) + f"->z{result}"
                out = torch.einsum(equation, left.reshape(-1, *node.left_view), right.reshape(-1, *node.right_view))
                values[name] = (out * node.scale).reshape(-1, *node.output_shape)
            else:
                value = sum((values[s] for s in network.sources(name)), torch.zeros(()))
                values[name] = _apply(network, name, node, value, state)
                if isinstance(node, net.LIF):
                    rates[name] = rates.get(name, 0.0) + float(values[name].mean()) / steps
        total = total + values[order[-1]]
    return total, rates


def _apply(network: net.Network, name: str, node: net.Node, y: Tensor, state: dict[str, Tensor]) -> Tensor:
    if isinstance(node, net.Conv):
        conv = F.conv2d if node.weight.ndim == 4 else F.conv1d
        bias = None if node.bias is None else torch.tensor(node.bias)
        return conv(y, torch.tensor(node.weight), bias, stride=node.stride, padding=node.padding)
    if isinstance(node, net.Linear):
        return F.linear(y.flatten(1), torch.tensor(node.weight), torch.tensor(node.bias))
    if isinstance(node, net.Scale):
        return y * torch.tensor(node.scale)
    if isinstance(node, net.Pool):
        return F.max_pool2d(y, node.kernel, node.stride, node.padding)
    if isinstance(node, net.Flatten):
        return y.flatten(node.start + 1, node.end + 1)
    if isinstance(node, net.Reduce):
        return y.sum(dim=tuple(axis + 1 for axis in node.axes))
    if isinstance(node, net.LIF):
        v = state.get(name, torch.zeros_like(y))
        v = v + network.semantics.dt / torch.tensor(node.tau) * (torch.tensor(node.r) * y - v)
        spike = (v >= torch.tensor(node.v_threshold)).to(y.dtype)
        state[name] = v * (1 - spike)
        return spike
    if isinstance(node, net.Output):
        return y
    raise TypeError(type(node).__name__)
