"""The protocol of trainable neurons, and the registry that finds one for an integer neuron.

A trainable neuron computes what the integer neuron computes, bit for bit, in floats that hold whole numbers, and passes
gradients straight through every rounding (ndeploy/train/straight.py has the operations). Forms are listed by type of
the integer neuron in the FORMS of spiking.py and graded.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ndeploy.errors import RefusedError
from ndeploy.neurons import Neuron
from ndeploy.target import Target

State = dict[str, Tensor]
Shape = tuple[int, ...]


class TrainableNeuron(torch.nn.Module, ABC):
    """One population's neuron.

    Inputs and messages are tensors (samples, *shape) of whole numbers in float32 or float64: float32 only where the
    magnitude is proven to stay below 2^24, so a neuron goes to float64 by itself where its own products may be larger.
    Parameters that are trained are `Latent`s (ndeploy/train/latent.py), kept as attributes so that torch finds them.
    """

    stateless: ClassVar[bool] = False
    """Whether an update depends on its inputs alone: then all model steps are computed in one call, as more samples,
    and a static input is computed once."""

    @abstractmethod
    def start(self, samples: int, shape: Shape) -> State:
        """State before the first update, (samples, *shape) by name; the names hold those of the integer neuron.

        Called once a forward pass, before anything else: rounded parameters may be kept from here on.
        """

    @abstractmethod
    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        """One update at model step `step`: synaptic input by port in, (state, message) out. Nothing in place."""

    @abstractmethod
    def integer(self) -> Neuron:
        """The integer neuron with its trained parameters rounded and clipped to their fields."""

    def over_steps(self, inputs: Mapping[str, Tensor], keep: tuple[str, ...] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """All updates of a sample: (samples, steps, *shape) by port in, messages of the same shape out.

        keep: state variables that are wanted too, (samples, steps, *shape) each. What an update costs is what a
        neuron may save by overriding this; the values are those of `forward` step by step.
        """
        first = next(iter(inputs.values()))
        samples, steps = first.shape[:2]
        if self.stateless and not keep:
            flat = {port: x.flatten(0, 1) for port, x in inputs.items()}
            _, message = self(self.start(samples * steps, tuple(first.shape[2:])), flat, 0)
            return message.unflatten(0, (samples, steps)), {}
        state = self.start(samples, tuple(first.shape[2:]))
        messages: list[Tensor] = []
        kept: dict[str, list[Tensor]] = {name: [] for name in keep}
        for k in range(steps):
            state, message = self(state, {port: x[:, k] for port, x in inputs.items()}, k)
            messages.append(message)
            for name in keep:
                kept[name].append(state[name])
        return torch.stack(messages, 1), {name: torch.stack(values, 1) for name, values in kept.items()}


class Form(Protocol):
    """How a trainable neuron is made.

    bounds: largest magnitude of the summed input of every port, with any weights that training may reach; a port that
    is not there has no known bound. target: whose fields parameters must fit, None for the widths of Loihi's states.
    """

    def __call__(
        self, neuron: Any, shape: Shape, bounds: Mapping[str, int], target: Target | None
    ) -> TrainableNeuron: ...


def trainable(
    neuron: Neuron, shape: Shape, bounds: Mapping[str, int] | None = None, target: Target | None = None
) -> TrainableNeuron:
    """The trainable form of an integer neuron of a population of that shape.

    Raises RefusedError ND320 for a kind that has none.
    """
    from ndeploy.train import graded, spiking

    forms: dict[type[Neuron], Callable[..., TrainableNeuron]] = {**spiking.FORMS, **graded.FORMS}
    form = forms.get(type(neuron))
    if form is None:
        raise RefusedError(
            "ND320",
            f"neuron kind '{neuron.kind}' cannot be trained; others can: {', '.join(sorted(k.kind for k in forms))}",
            help="compile without --finetune; the search of --method bit-budget needs no gradients",
        )
    return form(neuron, shape, {} if bounds is None else bounds, target)
