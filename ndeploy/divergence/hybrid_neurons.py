"""Neurons of the float64 execution: each rounding and width stands apart and can be left out (`hybrid`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndeploy.divergence.causes import Mix
from ndeploy.divergence.exact import Exact, ExactNeuron
from ndeploy.divergence.integer_mix import mixed_neuron
from ndeploy.fixed import DECAY_ONE, STATE_MAX
from ndeploy.ir.program import Population
from ndeploy.neurons import Compare, CubaLi, CubaLif, Neuron, Relay

NEAR = 1e-9
"""Of a threshold: real numbers closer to it than this share are equal to it, as when thresholds are made integers."""


class Stepped(ABC):
    """A population's neurons with their state. v: the membrane after the last step, where there is one."""

    has_membrane = False

    def __init__(self, population: Population) -> None:
        self.size = population.size
        self.ports = population.neuron.ports
        self.v = torch.zeros(())

    @abstractmethod
    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """One update: input by port, (samples, neurons), message out."""


def stepped(population: Population, exact: Exact, mix: Mix, samples: int) -> Stepped:
    """The population's neurons, cleared, with what the mix mends mended."""
    name, neuron = population.name, population.neuron
    if name in exact.graded:
        from ndeploy.divergence.hybrid_graded import graded

        return graded(population, exact.graded[name], mix, samples)
    if name in exact.integer:
        return _Integer(population, mixed_neuron(neuron, exact.integer[name], mix, name), samples)
    if isinstance(neuron, Relay):
        return _Passing(population, neuron.vth)
    if isinstance(neuron, Compare):
        return _Compared(population, neuron, exact.neurons.get(name), mix)
    if isinstance(neuron, CubaLif | CubaLi):
        return _Leaky(population, neuron, exact.neurons[name], mix, samples)
    raise TypeError(f"a '{neuron.kind}' neuron has no form in float64")


def _flat(value: Any, population: Population) -> Tensor:
    full = np.broadcast_to(np.asarray(value, dtype=np.float64), population.shape)
    return _tensor(full.reshape(-1))


def _tensor(value: Any) -> Tensor:
    """A copy: arrays of artifacts are read-only."""
    return torch.from_numpy(np.array(value, dtype=np.float64))


def _passes(value: Tensor, theta: Tensor, ge: bool) -> Tensor:
    """value > theta, or >=, where what is nearer than rounding can tell is equal."""
    near = NEAR * torch.clamp(theta.abs(), min=1.0)
    return value >= theta - near if ge else value > theta + near


class _Threshold:
    """The test of a neuron: the program's or the network's threshold, compared the program's or the network's way."""

    def __init__(self, exact: ExactNeuron, mix: Mix, name: str) -> None:
        self.theta = _tensor(exact.theta if mix.mends("threshold", name) else exact.program_theta)
        self.tie = float(exact.tie and not mix.mends("compare", name))
        # with a tie in the state, > means >=
        self.ge = exact.ge if mix.mends("compare", name) else exact.program_ge and not exact.tie

    def __call__(self, value: Tensor) -> Tensor:
        return _passes(value, self.theta, self.ge)


class _Leaky(Stepped):
    """`CubaLif` and `CubaLi`."""

    has_membrane = True

    def __init__(
        self, population: Population, neuron: CubaLif | CubaLi, exact: ExactNeuron, mix: Mix, samples: int
    ) -> None:
        super().__init__(population)
        name = population.name
        self.neuron, self.spiking = neuron, isinstance(neuron, CubaLif)
        self.rounds = not mix.mends("decay", name)
        self.keep_u = self._decay(exact.alpha, DECAY_ONE - 1 - np.asarray(neuron.du), population)
        self.keep_v = self._decay(exact.beta, DECAY_ONE - np.asarray(neuron.dv), population)
        self.scale = 2.0**neuron.shift
        self.narrow = not mix.mends("saturation", name)
        self.whole = not mix.mends("activation", name)
        if mix.mends("bias", name):
            self.bias, self.input_bias = _tensor(exact.bias), _tensor(exact.input_bias)
        else:
            self.bias = _flat(neuron.bias, population) - float(exact.tie)
            self.input_bias = _flat(neuron.input_bias, population)
        self.reset, self.refractory = "none", 0
        if isinstance(neuron, CubaLif):
            self.test = _Threshold(exact, mix, name)
            self.bias = self.bias + self.test.tie
            self._resets(neuron, exact, mix.mends("reset", name), population)
        self.u = torch.zeros((samples, self.size), dtype=torch.float64)
        self.v = torch.zeros_like(self.u)
        self.spiked = torch.zeros_like(self.u)
        self.wait = torch.zeros_like(self.u)

    def _resets(self, neuron: CubaLif, exact: ExactNeuron, mended: bool, population: Population) -> None:
        if mended:
            self.reset, self.refractory = exact.reset, exact.refractory
            self.amount, self.value = _tensor(exact.reset_amount), _tensor(exact.reset_value)
        else:
            self.reset, self.refractory = neuron.reset, neuron.refractory
            self.amount, self.value = _flat(neuron.reset_amount, population), _flat(neuron.reset_value, population)

    def _decay(self, share: Any, factor: Any, population: Population) -> Tensor:
        return _flat(factor, population) if self.rounds else _tensor(share)

    def _kept(self, x: Tensor, factor: Tensor) -> Tensor:
        return torch.trunc(x * factor / DECAY_ONE) if self.rounds else x * factor

    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        a = inputs["in"]
        u = self._kept(self.u, self.keep_u) + (a + self.input_bias) * self.scale
        if self.narrow:
            u = torch.where(u > STATE_MAX + 1, u - 2.0**24, u)
            u = torch.where(u < -STATE_MAX, u + 2.0**24, u)
        v = self._kept(self.v, self.keep_v) + u + self.bias
        self.u = u
        if self.reset == "zero-next":
            v = torch.where(self.spiked > 0, self.value, v)
        elif self.reset == "subtract-next":
            v = v - self.spiked * self.amount
        if self.narrow:
            v = v.clamp(-STATE_MAX, STATE_MAX)
        if not self.spiking:
            self.v = v
            return self._emitted(v)
        if self.refractory:
            v = torch.where(self.wait > 0, self.value, v)
        spike = self.test(v).to(v.dtype)
        if self.refractory:
            self.wait = torch.where(spike > 0, float(self.refractory), (self.wait - 1).clamp(min=0.0))
        if self.reset == "zero":
            v = torch.where(spike > 0, self.value, v)
        elif self.reset == "subtract":
            v = v - spike * self.amount
        self.spiked, self.v = spike, v
        return spike

    def _emitted(self, v: Tensor) -> Tensor:
        neuron = self.neuron
        if not isinstance(neuron, CubaLi) or not neuron.emit_bits:
            return torch.zeros_like(v)
        value = v / 2.0**neuron.emit_shift
        return torch.floor(value).clamp(neuron.message.low, neuron.message.high) if self.whole else value


class _Compared(Stepped):
    """`Compare`. exact: None for the maximum of binary spikes, which rounds nothing."""

    def __init__(self, population: Population, neuron: Compare, exact: ExactNeuron | None, mix: Mix) -> None:
        super().__init__(population)
        self.bias = _flat(neuron.bias, population)
        self.level = _flat(neuron.vth, population)
        self.test = None if exact is None else _Threshold(exact, mix, population.name)
        if exact is not None and mix.mends("bias", population.name):
            self.bias = _tensor(exact.input_bias)

    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        a = inputs["in"]
        value = a + self.bias
        return (value > self.level if self.test is None else self.test(value)).to(a.dtype)


class _Passing(Stepped):
    """`Relay`."""

    def __init__(self, population: Population, vth: int) -> None:
        super().__init__(population)
        self.vth = vth

    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        a = inputs["in"]
        return torch.where(a.abs() > self.vth, a, 0.0)


class _Integer(Stepped):
    """A neuron that comes as integers: its own update, on what arrives rounded to whole numbers."""

    def __init__(self, population: Population, neuron: Neuron, samples: int) -> None:
        super().__init__(population)
        self.neuron, self.shape = neuron, population.shape
        self.state = {
            name: np.array(np.broadcast_to(value, (samples, *self.shape)))
            for name, value in neuron.initial(self.shape).items()
        }
        self.has_membrane = "v" in neuron.state

    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        whole = {port: np.rint(a.numpy()).astype(np.int64).reshape(-1, *self.shape) for port, a in inputs.items()}
        self.state, message = self.neuron.step(self.state, whole)
        if self.has_membrane:
            self.v = torch.from_numpy(self.state["v"].reshape(len(message), -1).astype(np.float64))
        return torch.from_numpy(message.reshape(len(message), -1).astype(np.float64))
