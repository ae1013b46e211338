"""A program as a torch network that the neurobench package can measure: its weights in Linear and Conv2d layers, its
messages and membranes replayed from traces. Imports the package, so only what has asked for it imports this."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import snntorch as snn
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import (
    ActivationSparsity,
    ActivationSparsityByLayer,
    MembraneUpdates,
    SynapticOperations,
)
from neurobench.models import TorchModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program, Projection
from ndeploy.synapses import Conv


class Replay(snn.SpikingNeuron):  # type: ignore[misc]
    """A spiking neuron of snnTorch, whose spikes and membranes are those recorded."""

    def __init__(self) -> None:
        super().__init__(init_hidden=True)
        self.mem = torch.zeros(1)

    def forward(self, spikes: Tensor, mem: Tensor) -> Tensor:
        self.mem = mem
        return spikes


class Mirror(nn.Module):
    """forward takes sample numbers, calls every layer and every activation at every model step it works in."""

    def __init__(self, program: Program, traces: Mapping[str, IntArray]) -> None:
        super().__init__()
        self.program, self.traces = program, traces
        self.projections = [j for j in program.projections if not j.unit and j.synapses.kind in ("dense", "conv")]
        self.layers = nn.ModuleList([_layer(j) for j in self.projections])
        spiking = ("cuba-lif", "cuba-li", "ternary-lif")
        self.neurons = [p for p in program.populations if p.neuron.kind in spiking and p.neuron.message.bits]
        self.activations = nn.ModuleDict({_plain(p.name): Replay() for p in self.neurons})

    def _at(self, key: str, samples: Tensor, step: int) -> Tensor:
        return torch.as_tensor(np.asarray(self.traces[key][samples.numpy(), step]), dtype=torch.float64)

    def forward(self, samples: Tensor) -> Tensor:
        for step in range(self.program.steps):
            for projection, layer in zip(self.projections, self.layers, strict=True):
                source = self.program.population(projection.source)
                if step < _updates(self.program, source):
                    x = self._at(f"spikes/{source.name}", samples, step)
                    layer(x.reshape(len(samples), *_shape(projection)))
            for population in self.neurons:
                if step < _updates(self.program, population):
                    spikes = self._at(f"spikes/{population.name}", samples, step)
                    mem = self._at(f"state/{population.name}/v", samples, step)
                    self.activations[_plain(population.name)](spikes, mem)
        return samples


class Numbers(nn.Module):
    """What the program stores, as parameters and buffers: weights in whole bytes, all else in int32."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        names = ("du", "dv", "vth", "bias", "input_bias", "shift", "reset_amount", "reset_value", "refractory")
        for i, projection in enumerate(program.projections):
            weight = torch.as_tensor(projection.synapses.weight.astype(np.int8))
            self.register_parameter(f"weight{i}", nn.Parameter(weight, requires_grad=False))
        for i, population in enumerate(program.populations):
            for name in names:
                if hasattr(population.neuron, name):
                    value = np.asarray(getattr(population.neuron, name), dtype=np.int32)
                    self.register_buffer(f"{name}{i}", torch.as_tensor(value))


def measure(program: Program, traces: Mapping[str, IntArray], batch: int) -> dict[str, Any]:
    """The package's own figures; traces are those of a run with `trace=True`."""
    samples = len(next(iter(traces.values())))
    net = Mirror(program, traces).double()
    numbers = torch.arange(samples)
    loader = DataLoader(TensorDataset(numbers, numbers), batch_size=batch)
    workload = [ActivationSparsity, ActivationSparsityByLayer, MembraneUpdates, SynapticOperations]
    model = TorchModel(net)
    model.add_activation_module(snn.SpikingNeuron)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()):
        found = Benchmark(model, loader, [], [], [[ConnectionSparsity], workload]).run()
    if "Error" in said.getvalue():  # the package reports a metric's failure as a figure of zero
        raise RuntimeError(said.getvalue())
    names = {_plain(p.name): p.name for p in net.neurons}
    by_layer = {names[name]: value for name, value in found["ActivationSparsityByLayer"].items()}
    footprint = Footprint()(TorchModel(Numbers(program)))
    return {**found, "ActivationSparsityByLayer": by_layer, "Footprint": footprint}


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _updates(program: Program, population: Population) -> int:
    return program.steps if population.updates is None else population.updates


def _shape(projection: Projection) -> tuple[int, ...]:
    s = projection.synapses
    return s.in_shape if isinstance(s, Conv) else (s.n_in,)


def _layer(projection: Projection) -> nn.Module:
    s = projection.synapses
    layer: nn.Module
    if isinstance(s, Conv):
        c_out, per_group, *kernel = s.weight.shape
        layer = nn.Conv2d(
            per_group * s.groups,
            c_out,
            tuple(kernel),
            stride=s.stride,
            padding=s.padding,
            dilation=s.dilation,
            groups=s.groups,
        )
    else:
        layer = nn.Linear(s.n_in, s.n_out)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(s.weight.astype(np.float32)))  # type: ignore[operator,union-attr]
    return layer
