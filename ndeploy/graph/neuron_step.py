"""The step of a neuron on batches of floats, exactly as `discrete.DiscreteNeuron` states it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.graph.operations import tensor
from ndeploy.ir.network import FloatArray


class FloatNeuron:
    """A `DiscreteNeuron` on tensors. Factors of exactly one and additions of exactly zero are left out."""

    def __init__(self, neuron: DiscreteNeuron, dtype: torch.dtype) -> None:
        self.neuron = neuron

        def full(value: FloatArray | None) -> Tensor:
            return tensor(np.zeros(()) if value is None else np.asarray(value, dtype=np.float64), dtype)

        def unless(value: FloatArray, neutral: float) -> Tensor | None:
            return None if bool((np.asarray(value) == neutral).all()) else full(value)

        self.alpha, self.beta = full(neuron.alpha), unless(neuron.beta, 1.0)
        self.input_gain, self.gain = unless(neuron.input_gain, 1.0), unless(neuron.gain, 1.0)
        self.bias = unless(neuron.bias, 0.0)
        self.threshold, self.v_reset, self.reset_amount = (
            full(neuron.threshold),
            full(neuron.v_reset),
            full(neuron.reset_amount),
        )
        self.dtype = dtype

    def start(self, samples: int, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """The cleared state."""
        state = {"v": torch.zeros((samples, *shape), dtype=self.dtype)}
        if self.neuron.has_current:
            state["i"] = torch.zeros_like(state["v"])
        if self.neuron.reset.startswith("delayed"):
            state["spiked"] = torch.zeros_like(state["v"], dtype=torch.bool)
        if self.neuron.refractory:
            state["wait"] = torch.zeros_like(state["v"], dtype=torch.int64)
        return state

    def step(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        """One step; `state` is replaced entry by entry. Returns what the neuron puts out."""
        n = self.neuron
        drive = x if self.input_gain is None else self.input_gain * x
        if n.has_current:
            before = state["i"]
            state["i"] = before * self.alpha + drive
            drive = state["i"] if n.synapse_first else before
        v = state["v"] if self.beta is None else self.beta * state["v"]
        v = v + (drive if self.gain is None else self.gain * drive)
        if self.bias is not None:
            v = v + self.bias
        if not n.spiking:
            state["v"] = v
            return v
        if n.reset == "delayed-zero":
            v = torch.where(state["spiked"], self.v_reset, v)
        elif n.reset == "delayed-subtract":
            v = v - state["spiked"] * self.reset_amount
        if n.refractory:
            v = torch.where(state["wait"] > 0, self.v_reset, v)
        spike = v > self.threshold if n.compare == "gt" else v >= self.threshold
        if n.refractory:
            spike = spike & (state["wait"] == 0)
            state["wait"] = torch.where(spike, n.refractory, torch.clamp(state["wait"] - 1, min=0))
        if n.reset == "zero":
            v = torch.where(spike, self.v_reset, v)
        elif n.reset == "subtract":
            v = v - spike * self.reset_amount
        elif n.reset.startswith("delayed"):
            state["spiked"] = spike
        state["v"] = v
        return spike.to(self.dtype)
