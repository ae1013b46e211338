"""Trainable forms of graded neurons with a memory: synchrony, register, sigma, delta, sigma-delta.

None has parameters that are trained: tables and decays are what the machine is, starts are its initial state. Gradients
pass through the states from update to update.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ndeploy.fixed import DECAY_ONE, STATE_MAX
from ndeploy.neurons import Delta, Neuron, Register, Sigma, SigmaDelta, Synchrony
from ndeploy.target import Target
from ndeploy.train.graded_step import GradedNeuron, real, within
from ndeploy.train.neuron import Shape, State
from ndeploy.train.straight import clip


class TrainableSynchrony(GradedNeuron[Synchrony]):
    """alpha <- clip(alpha factor / 4096 + left right / 2^exponent); message = clip(alpha table / 2^shift)."""

    def __init__(self, neuron: Synchrony) -> None:
        super().__init__(neuron, {})
        self.table = torch.from_numpy(np.asarray(neuron.table, dtype=np.float64))
        factor = real(neuron.factor)
        self.keep = factor / DECAY_ONE

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        product = inputs["left"] * inputs["right"] * 2.0**-self.neuron.exponent
        alpha = clip(state["alpha"] * self.keep + product, -STATE_MAX - 0.5, STATE_MAX + 0.5)
        # all samples are at the same update
        row = min(int(state["tick"].reshape(-1)[0]), len(self.table) - 1)
        entry = self.table[row].reshape(alpha.shape[1:])
        return {"alpha": alpha}, within(alpha * (entry * self.power("shift")), self.neuron.message)


class TrainableRegister(GradedNeuron[Register]):
    """message = a + held."""

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        return {}, inputs["in"] + state["held"]


class TrainableSigma(GradedNeuron[Sigma]):
    """sigma <- sigma + a, sent as it is."""

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        sigma = state["sigma"] + inputs["in"]
        return {"sigma": sigma}, sigma


class TrainableDelta(GradedNeuron[Delta]):
    """message = (x - act) / 2^state_exp, as if every change were sent: the receivers' sum then has the gradient of x,
    whenever what was held back is sent."""

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        x = inputs["in"] * 2.0 ** (self.neuron.spike_exp + self.neuron.state_exp)
        return {"act": x}, (x - state["act"]) * 2.0**-self.neuron.state_exp


class TrainableSigmaDelta(GradedNeuron[SigmaDelta]):
    """As `TrainableDelta`, of x = f(sigma + bias)."""

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        sigma = state["sigma"] + inputs["in"]
        x = sigma + self.part("bias")
        x = torch.relu(x) if self.neuron.relu else x
        return {"sigma": sigma, "act": x}, (x - state["act"]) * 2.0**-self.neuron.state_exp


def synchrony(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableSynchrony:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Synchrony):
        raise TypeError(f"no synchrony: {neuron.kind}")
    return TrainableSynchrony(neuron)


def register(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableRegister:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Register):
        raise TypeError(f"no register: {neuron.kind}")
    return TrainableRegister(neuron, {})


def sigma(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableSigma:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Sigma):
        raise TypeError(f"no sigma neuron: {neuron.kind}")
    return TrainableSigma(neuron, {})


def delta(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableDelta:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, Delta):
        raise TypeError(f"no delta neuron: {neuron.kind}")
    return TrainableDelta(neuron, {})


def sigma_delta(neuron: Neuron, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> TrainableSigmaDelta:
    """See `ndeploy.train.neuron.Form`."""
    if not isinstance(neuron, SigmaDelta):
        raise TypeError(f"no sigma-delta neuron: {neuron.kind}")
    return TrainableSigmaDelta(neuron, {})
