"""Trainable affine, gate and SiLU neurons: a sum times a number, the sigmoid of another, or of itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ndeploy.fixed import FRACTION_BITS
from ndeploy.neurons import Affine, Gate, Neuron, Silu
from ndeploy.target import Target
from ndeploy.train.graded_step import TYPICAL, GradedNeuron, bias, factor, present, sum_for, within
from ndeploy.train.latent import FloatArray
from ndeploy.train.neuron import Shape, State

ARGUMENT = 2.0**-FRACTION_BITS
"""Sigmoid's argument of one unit of g."""


class TrainableAffine(GradedNeuron[Affine]):
    """message = clip((a + bias) multiplier / 2^shift); bias and multiplier are trained."""

    stateless = True

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        a = inputs["in"] + self.part("bias")
        return {}, within(a * (self.part("multiplier") * self.power("shift")), self.neuron.message)


class TrainableGate(GradedNeuron[Gate]):
    """message = clip(v s(g) multiplier / 2^shift) with the real sigmoid s; both biases and multipliers are trained."""

    stateless = True

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        v = inputs["in"] + self.part("bias")
        g = (inputs["gate"] + self.part("gate_bias")) * (
            self.part("gate_multiplier") * self.power("gate_shift") * ARGUMENT
        )
        value = v * torch.sigmoid(g) * (self.part("multiplier") * self.power("shift"))
        return {}, within(value, self.neuron.message)


class TrainableSilu(GradedNeuron[Silu]):
    """message = clip(v s(g) multiplier / 2^shift), g from v itself; bias and both multipliers are trained."""

    stateless = True

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        v = inputs["in"] + self.part("bias")
        g = v * (self.part("gate_multiplier") * self.power("gate_shift") * ARGUMENT)
        value = v * torch.sigmoid(g) * (self.part("multiplier") * self.power("shift"))
        return {}, within(value, self.neuron.message)


def affine(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableAffine:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Affine):
        raise TypeError(f"no affine neuron: {neuron.kind}")
    return TrainableAffine(
        neuron,
        present(
            bias=bias(neuron.bias, _size(neuron), bounds.get("in")),
            multiplier=factor(neuron.multiplier),
        ),
    )


def gate(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableGate:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Gate):
        raise TypeError(f"no gate: {neuron.kind}")
    one = sum_for(1 << FRACTION_BITS, neuron.gate_multiplier, neuron.gate_shift)
    return TrainableGate(
        neuron,
        present(
            bias=bias(neuron.bias, _size(neuron), bounds.get("in")),
            gate_bias=bias(neuron.gate_bias, one, bounds.get("gate")),
            gate_multiplier=factor(neuron.gate_multiplier),
            multiplier=factor(neuron.multiplier),
        ),
    )


def silu(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableSilu:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Silu):
        raise TypeError(f"no SiLU: {neuron.kind}")
    return TrainableSilu(
        neuron,
        present(
            bias=bias(neuron.bias, _size(neuron), bounds.get("in")),
            gate_multiplier=factor(neuron.gate_multiplier),
            multiplier=factor(neuron.multiplier),
        ),
    )


def _size(neuron: Affine | Gate | Silu) -> FloatArray:
    """The sum that becomes a message of a usual size."""
    return sum_for(TYPICAL * neuron.message.high, neuron.multiplier, neuron.shift)
