"""Trainable layer norm and softmax: neurons whose update mixes a population."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ndeploy.fixed import FRACTION_BITS
from ndeploy.neurons import LayerNorm, Neuron, Softmax
from ndeploy.neurons.layer_norm import ALIGNED_BITS
from ndeploy.target import Target
from ndeploy.train.graded_step import TYPICAL, GradedNeuron, bias, factor, present, sum_for, within
from ndeploy.train.neuron import Shape, State
from ndeploy.train.straight import clip

OFFSET_MAX = 1 << 40
ALIGNED_MAX = (1 << ALIGNED_BITS) - 1


class TrainableLayerNorm(GradedNeuron[LayerNorm]):
    """message = clip((4096 gain (x - mean x) / sqrt(var x + epsilon) + offset) / 2^gain_shift),
    x = (a + bias) multiplier / 2^shift. Bias, multiplier, gain and offset are trained.
    """

    stateless = True

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        neuron = self.neuron
        x = (inputs["in"] + self.part("bias")) * (self.part("multiplier") * self.power("shift"))
        viewed = clip(x, -ALIGNED_MAX, ALIGNED_MAX).reshape(-1, *neuron.view)
        axis = neuron.axis - len(neuron.view)
        centred = viewed - viewed.mean(axis, keepdim=True)
        spread = centred.square().mean(axis, keepdim=True) + neuron.epsilon
        y = (centred * (spread.rsqrt() * (1 << FRACTION_BITS))).reshape(x.shape)
        value = (y * self.part("gain") + self.part("offset")) * self.power("gain_shift")
        return {}, within(value, neuron.message)


class TrainableSoftmax(GradedNeuron[Softmax]):
    """message = softmax(a multiplier ln 2 / 2^(shift + 12)) (2^bits - 1); the multiplier is trained."""

    stateless = True

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        x = inputs["in"] * (self.part("multiplier") * self.power("shift") * (math.log(2) / (1 << FRACTION_BITS)))
        shares = torch.softmax(x.reshape(-1, *self.neuron.view), -1)
        return {}, shares.reshape(x.shape) * self.neuron.message.high


def layer_norm(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableLayerNorm:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, LayerNorm):
        raise TypeError(f"no layer norm: {neuron.kind}")
    # x keeps room above: calibrated sums reach about an eighth of its range
    aligned = sum_for(TYPICAL * (ALIGNED_MAX >> 3), neuron.multiplier, neuron.shift)
    return TrainableLayerNorm(
        neuron,
        present(
            bias=bias(neuron.bias, aligned, bounds.get("in")),
            multiplier=factor(neuron.multiplier),
            gain=factor(neuron.gain, signed=True),
            offset=bias(neuron.offset, np.ldexp(TYPICAL * neuron.message.high, neuron.gain_shift), 0, OFFSET_MAX),
        ),
    )


def softmax(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableSoftmax:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Softmax):
        raise TypeError(f"no softmax: {neuron.kind}")
    return TrainableSoftmax(neuron, present(multiplier=factor(neuron.multiplier)))
