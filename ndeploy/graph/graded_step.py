"""What graded nodes compute on batches of floats, as PyTorch does. Values are (batch, *shape)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ndeploy.graph.operations import tensor
from ndeploy.ir import network as ir

State = dict[str, Tensor]


def function(node: ir.Activation | ir.LayerNorm | ir.Softmax, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The function of a graded node without state and with one sum of inputs."""
    if isinstance(node, ir.Softmax):
        return lambda x: torch.softmax(x, -1)
    if isinstance(node, ir.LayerNorm):
        return _layer_norm(node, dtype)
    return {"identity": _identity, "relu": torch.relu, "silu": F.silu}[node.function]


def gate(value: Tensor, by: Tensor) -> Tensor:
    """A gated linear unit: value sigmoid(by)."""
    return value * torch.sigmoid(by)


def _identity(x: Tensor) -> Tensor:
    return x


def _layer_norm(node: ir.LayerNorm, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    gain, offset = tensor(node.gain, dtype), tensor(node.offset, dtype)
    axis, size = node.axis + 1, node.view[node.axis]

    def norm(x: Tensor) -> Tensor:
        viewed = x.reshape(-1, *node.view).movedim(axis, -1)
        return F.layer_norm(viewed, (size,), gain, offset, node.epsilon).movedim(-1, axis).reshape(-1, *node.shape)

    return norm


class TraceCell:
    """A Trace: the last M inputs of every neuron, the current one last."""

    def __init__(self, node: ir.Trace, dtype: torch.dtype) -> None:
        self.first = tensor(node.start, dtype)

    def start(self, samples: int) -> State:
        """What is remembered before the first step."""
        return {"trace": self.first.expand(samples, *self.first.shape)}

    def step(self, state: State, x: Tensor) -> Tensor:
        """(batch, D) to (batch, D, M); `state` is replaced."""
        state["trace"] = torch.cat([state["trace"][..., 1:], x[..., None]], dim=-1)
        return state["trace"]


class SynchronisationCell:
    """A Synchronisation: decaying sums of products of pairs, over the root of their decaying count."""

    def __init__(self, node: ir.Synchronisation, dtype: torch.dtype) -> None:
        self.left, self.right = torch.from_numpy(node.left.copy()), torch.from_numpy(node.right.copy())
        self.decay, self.alpha, self.beta = (tensor(v, dtype) for v in (node.decay, node.alpha, node.beta))

    def start(self, samples: int) -> State:
        """alpha (batch, S); beta (S,), which no data enter."""
        return {"alpha": self.alpha.expand(samples, -1), "beta": self.beta}

    def step(self, state: State, x: Tensor) -> Tensor:
        """(batch, ...) to (batch, S); `state` is replaced."""
        flat = x.flatten(1)
        state["alpha"] = self.decay * state["alpha"] + flat[:, self.left] * flat[:, self.right]
        state["beta"] = self.decay * state["beta"] + 1
        return state["alpha"] / torch.sqrt(state["beta"])
