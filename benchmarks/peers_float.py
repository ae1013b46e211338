"""The benchmark's networks in float32 PyTorch frameworks: same weights, same leak, same thresholds.

Each framework is used in its fastest plain form: a layer's linear part over all steps at once, then its neuron.
A peer that is not installed is reported by name with the command that installs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLif
from ndeploy.synapses import Conv, Dense

Neuron = Callable[[torch.Tensor], torch.Tensor]
"""(T, B, ...) input to (T, B, ...) spikes."""


@dataclass(frozen=True)
class Peer:
    """make: neuron of that framework from (leak a step, threshold)."""

    name: str
    module: str
    install: str
    make: Callable[[float, float], Neuron]

    def present(self) -> bool:
        try:
            importlib.import_module(self.module)
        except ImportError:
            return False
        return True


def _snntorch(leak: float, threshold: float) -> Neuron:
    import snntorch

    cell: Any = snntorch.Leaky(beta=leak, threshold=threshold, reset_mechanism="zero", reset_delay=False)

    def scan(x: torch.Tensor) -> torch.Tensor:
        membrane = torch.zeros_like(x[0])
        spikes = []
        for step in x:
            spike, membrane = cell(step, membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    return scan


def _norse(leak: float, threshold: float) -> Neuron:
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.lif_box import LIFBoxCell

    # v <- v + dt tau_mem_inv (x - v): the input is scaled by 1 - leak, and so is the threshold
    parameters = LIFBoxParameters(
        tau_mem_inv=torch.as_tensor((1 - leak) / 0.001), v_th=torch.as_tensor(threshold * (1 - leak))
    )
    cell: Any = LIFBoxCell(p=parameters, dt=0.001)

    def scan(x: torch.Tensor) -> torch.Tensor:
        state = None
        spikes = []
        for step in x:
            spike, state = cell(step, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return scan


def _spikingjelly(leak: float, threshold: float) -> Neuron:
    from spikingjelly.activation_based import functional, neuron

    cell: Any = neuron.LIFNode(tau=1 / (1 - leak), decay_input=False, v_threshold=threshold, v_reset=0.0, step_mode="m")

    def scan(x: torch.Tensor) -> torch.Tensor:
        functional.reset_net(cell)
        spikes: torch.Tensor = cell(x)
        return spikes

    return scan


PEERS = (
    Peer("snnTorch", "snntorch", "pip install --no-deps snntorch==1.0.0", _snntorch),
    Peer("Norse", "norse.torch", "pip install norse==1.1.0", _norse),
    Peer(
        "SpikingJelly",
        "spikingjelly.activation_based.neuron",
        "pip install --no-deps spikingjelly==2.0.0 loguru tqdm",
        _spikingjelly,
    ),
)


def float_network(program: Program, peer: Peer) -> Callable[[torch.Tensor], tuple[torch.Tensor, float]]:
    """The network in that framework: (T, B, *shape) float spikes to (output spikes, mean rate of all layers)."""
    linear: list[Callable[[torch.Tensor], torch.Tensor]] = []
    neurons: list[Neuron] = []
    for projection in program.projections:
        target = program.population(projection.target).neuron
        if not isinstance(target, CubaLif):
            raise TypeError(f"the benchmark's layers are cuba-lif, not {target.kind}")
        leak, threshold = 1 - int(target.dv) / 4096, int(target.vth) / 64
        linear.append(_linear(projection.synapses))
        neurons.append(peer.make(leak, threshold))

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, float]:
        rates = []
        with torch.inference_mode():
            for synapses, neuron in zip(linear, neurons, strict=True):
                steps, batch = x.shape[:2]
                y = synapses(x.flatten(0, 1))
                x = neuron(y.unflatten(0, (steps, batch)))
                rates.append(float(x.mean()))
        return x, sum(rates) / len(rates)

    return forward


def _linear(synapses: object) -> Callable[[torch.Tensor], torch.Tensor]:
    if isinstance(synapses, Dense):
        matrix = torch.from_numpy(synapses.weight).float()
        return lambda x: torch.nn.functional.linear(x.flatten(1), matrix)
    if isinstance(synapses, Conv):
        kernel = torch.from_numpy(synapses.weight).float()
        stride, padding = synapses.stride, synapses.padding
        return lambda x: torch.nn.functional.conv2d(x, kernel, None, stride, padding)
    raise TypeError("the benchmark's layers are dense or convolutions")
