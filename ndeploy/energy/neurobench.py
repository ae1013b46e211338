"""NeuroBench's metrics of a program, computed from its weights and measured activity.

The definitions are those of the neurobench package 2.3.0 (`neurobench/metrics/`, read as source; Yik et al., "The
neurobench framework", arXiv 2304.04640). tests/test_neurobench.py compares the two on linear and convolutional
networks; docs/baselines.md says which of a program's parts the package has no counterpart for. They are left out here
too, and named in `Metrics.not_counted`.

A synaptic operation of NeuroBench is a non-zero message that meets a non-zero weight. That is fewer than the synaptic
operations of `ndeploy.ir.result.Counts`, where a stored zero is visited as any other weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input, Neuron
from ndeploy.realise import index_sizes
from ndeploy.synapses import Conv, Synapses

LAYERS = ("dense", "conv")
"""Synapse layouts that are layers of the package: Linear and Conv1d to Conv3d."""
SPIKING = ("cuba-lif", "cuba-li", "ternary-lif")
"""Kinds that are snnTorch's spiking neurons, the ones whose membranes the package follows."""
HELPERS = ("relay", "register", "compare", "product", "sigma", "delta", "synchrony", "softmax", "layer-norm", "gate")
"""Kinds that are neither spiking neurons nor one of the package's two activations, ReLU and sigmoid."""
NUMBER_BYTES = 4
"""Bytes of a number that is no weight: an int32, and float32 in the float network."""


@dataclass(frozen=True)
class Metrics:
    """Means a sample where a metric belongs to a run.

    footprint: bytes of parameters and buffers, weights in whole bytes each; footprint_float32: of the same numbers in
    float32. connection_sparsity: zero weights among stored ones, rounded to 4 decimals as the package does.
    activation_sparsity: silent updates among all; by_layer: of each population. effective_macs, effective_acs, dense:
    synaptic operations of graded messages, of binary and ternary ones, and if every message and weight were non-zero.
    membrane_updates: changes of a membrane, None without traces. neuron_updates: updates of spiking neurons, changed or
    not. not_counted: parts of the program that the package has no counterpart for.
    """

    footprint: int
    footprint_float32: int
    connection_sparsity: float
    activation_sparsity: float
    by_layer: Mapping[str, float]
    effective_macs: float
    effective_acs: float
    dense: float
    membrane_updates: float | None
    neuron_updates: float
    not_counted: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data with the package's own names; what the package does not have follows in lower case."""
        return {
            "Footprint": self.footprint,
            "ConnectionSparsity": self.connection_sparsity,
            "ActivationSparsity": self.activation_sparsity,
            "ActivationSparsityByLayer": dict(self.by_layer),
            "SynapticOperations": {
                "Effective_MACs": self.effective_macs,
                "Effective_ACs": self.effective_acs,
                "Dense": self.dense,
            },
            "MembraneUpdates": self.membrane_updates,
            "neuron_updates": self.neuron_updates,
            "footprint_float32": self.footprint_float32,
            "not_counted": list(self.not_counted),
        }


def metrics(program: Program, activity: Activity, traces: Mapping[str, IntArray] | None = None) -> dict[str, Any]:
    """`compute` as plain data with NeuroBench's names, as reports keep it."""
    return compute(program, activity, traces).to_json()


def compute(program: Program, activity: Activity, traces: Mapping[str, IntArray] | None = None) -> Metrics:
    """NeuroBench's metrics of a run of `program`.

    traces: those of the run that start with "state/", for the membrane updates; without them there are none.
    """
    layers = counted(program)
    macs, acs, dense = 0.0, 0.0, 0
    for projection in layers:
        source = program.population(projection.source)
        sent = activity.messages[projection.source].sum(axis=0)
        operations = (sent @ live_fan_out(projection.synapses)).item()  # no int(): estimated activity is not whole
        dense += projection.synapses.count() * made(program, source) * activity.samples
        if of_spikes(source.neuron):
            acs += operations
        else:
            macs += operations
    active = [p for p in program.populations if is_activation(p.neuron)]
    spikes = {p.name: activity.messages[p.name].sum().item() for p in active}
    updates = {p.name: p.size * made(program, p) * activity.samples for p in active}
    weights, small = _numbers(program)
    return Metrics(
        footprint=sum(n * size for n, size in weights) + NUMBER_BYTES * small,
        footprint_float32=NUMBER_BYTES * (sum(n for n, _ in weights) + small),
        connection_sparsity=_connection_sparsity(layers),
        activation_sparsity=_silent(sum(spikes.values()), sum(updates.values())),
        by_layer={name: _silent(n, updates[name]) for name, n in spikes.items()},
        effective_macs=macs / activity.samples,
        effective_acs=acs / activity.samples,
        dense=dense / activity.samples,
        membrane_updates=None if traces is None else membrane_updates(program, traces),
        neuron_updates=float(sum(p.size * made(program, p) for p in program.populations if has_membrane(p.neuron))),
        not_counted=_not_counted(program, activity),
    )


def made(program: Program, population: Population) -> int:
    """Updates that a population makes in a sample."""
    return program.steps if population.updates is None else min(population.updates, program.steps)


def counted(program: Program) -> tuple[Projection, ...]:
    """The projections that are layers of the package: trained weights, stored dense or as a convolution."""
    return tuple(j for j in program.projections if j.synapses.kind in LAYERS and not j.unit)


def of_spikes(neuron: Neuron) -> bool:
    """Whether every message is -1, 0 or 1, so that the package counts accumulations and not multiply-accumulations.

    The package looks at the values of each batch and step: graded values that happen to be all 0 or 1 are spikes to it.
    """
    return neuron.kind == "ternary-lif" or (neuron.message.bits == 1 and not neuron.message.signed)


def is_activation(neuron: Neuron) -> bool:
    """Whether the package follows the output: of spiking neurons, and of ReLU (an unsigned affine neuron)."""
    if isinstance(neuron, Input) or neuron.kind in HELPERS or neuron.message.bits == 0:
        return False
    return not (neuron.kind in ("affine", "silu") and (neuron.message.signed or neuron.kind == "silu"))


def has_membrane(neuron: Neuron) -> bool:
    """Whether the package follows the membrane: of spiking neurons that send; a silent readout has no layer there."""
    return neuron.kind in SPIKING and neuron.message.bits > 0


def live_fan_out(synapses: Synapses) -> IntArray:
    """Non-zero synapses that leave each source neuron, (n_in,)."""
    if isinstance(synapses, Conv):
        return _conv_fan_out(synapses)
    live = synapses.weight != 0
    if synapses.kind == "dense":
        by_source: IntArray = live.sum(axis=0, dtype=np.int64)
        return by_source
    _, source, index = synapses.to_coo()
    return np.bincount(source[live.reshape(-1)[index]], minlength=synapses.n_in).astype(np.int64)


def membranes(program: Program) -> tuple[str, ...]:
    """Names of the traces that `membrane_updates` reads."""
    return tuple(f"state/{p.name}/v" for p in program.populations if has_membrane(p.neuron))


def membrane_updates(program: Program, traces: Mapping[str, IntArray]) -> float:
    """How often a membrane differs after an update from before it, a sample.

    The first update of a sample counts for every neuron, whether it changed anything or not: so does the package.
    traces: "state/<population>/v", (samples, model steps, *shape). Raises KeyError where one is missing.
    """
    found, samples = 0, 1
    for population in program.populations:
        if has_membrane(population.neuron):
            v = traces[f"state/{population.name}/v"][:, : made(program, population)]
            samples = len(v)
            found += int(np.count_nonzero(v[:, 1:] != v[:, :-1])) + v[:, :1].size
    return found / samples


def _conv_fan_out(synapses: Conv) -> IntArray:
    """By tap: the positions that read it, each times the non-zero weights it has there."""
    c_out, per_group, kh, kw = synapses.weight.shape
    live = (synapses.weight != 0).reshape(synapses.groups, c_out // synapses.groups, per_group, kh, kw)
    by_channel = live.sum(axis=1, dtype=np.int64).reshape(-1, kh, kw)
    found = np.zeros(synapses.in_shape, dtype=np.int64)
    rows = [_reads(synapses, 0, tap) for tap in range(kh)]
    columns = [_reads(synapses, 1, tap) for tap in range(kw)]
    for y in range(kh):
        for x in range(kw):
            found[:, rows[y][:, None], columns[x][None, :]] += by_channel[:, y, x][:, None, None]
    return found.reshape(-1)


def _reads(synapses: Conv, axis: int, tap: int) -> npt.NDArray[np.int64]:
    """Input positions that one tap of the kernel reads along an axis; each stands once, for the stride is positive."""
    at = np.arange(synapses.out_shape[axis + 1]) * synapses.stride[axis]
    at = at - synapses.padding[axis] + tap * synapses.dilation[axis]
    inside: npt.NDArray[np.int64] = at[(at >= 0) & (at < synapses.in_shape[axis + 1])]
    return inside


def _connection_sparsity(layers: tuple[Projection, ...]) -> float:
    stored = sum(j.synapses.weight.size for j in layers)
    zeros = sum(int(np.count_nonzero(j.synapses.weight == 0)) for j in layers)
    return round(zeros / stored, 4) if stored else 0.0


def _silent(spikes: float, updates: int) -> float:
    return (updates - spikes) / updates if updates else 0.0


def _numbers(program: Program) -> tuple[list[tuple[int, int]], int]:
    """(weights, bytes of one) by projection, and how many other numbers: delays and the parameters of neurons."""
    weights = [(j.synapses.weight.size, (j.weight_bits + 7) // 8) for j in program.projections if not j.unit]
    small = sum(int(j.delays.size) for j in program.projections if j.delays is not None)
    return weights, small + sum(_parameters(p.neuron) for p in program.populations)


def _parameters(neuron: Neuron) -> int:
    """Numbers that describe a population's neurons; one that all share counts once."""
    if isinstance(neuron, Input):
        return 0
    values = (getattr(neuron, item.name) for item in fields(neuron))
    return sum(
        int(np.size(value))
        for value in values
        if isinstance(value, (int, np.integer, np.ndarray)) and not isinstance(value, bool)
    )


def _not_counted(program: Program, activity: Activity) -> tuple[str, ...]:
    """Sentences on the products, sparse projections and embedded populations that have operations all the same."""
    said = []
    for product in program.products:
        n = 1
        for length in index_sizes(product).values():
            n *= length
        live = activity.live.get(product.name)
        of = "" if live is None else f", {live.sum() / activity.samples:.6g} of them of two non-zero messages"
        said.append(f"product '{product.name}': {n * program.steps} scalar products a sample{of}")
    for projection in program.projections:
        if projection.synapses.kind not in LAYERS and not projection.unit:
            n = (activity.messages[projection.source].sum(axis=0) @ live_fan_out(projection.synapses)).item()
            said.append(
                f"projection '{projection.name}': {n / activity.samples:.6g} synaptic operations a sample of synapses "
                "listed one by one"
            )
    said.extend(
        f"population '{p.name}': {p.neuron.operations(p.size) * made(program, p)} operations a sample on the embedded "
        "processor"
        for p in program.populations
        if p.neuron.embedded
    )
    return tuple(said)
