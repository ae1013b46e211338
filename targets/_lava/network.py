"""Builds the Lava network of a plan, runs it, and leaves its traces in files. Worker side: imports Lava."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lava.magma.core.process.process import ProcessServer
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.graded.process import GradedVec
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF, LIFReset, TernaryLIF
from lava.proc.prodneuron.process import ProdNeuron
from lava.proc.sdn.process import ActivationMode, Delta, Sigma, SigmaDelta
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from ndeploy.targets._lava.gate import KEY, Duty, Heartbeat
from ndeploy.targets._lava.plan import Assignment, Plan
from ndeploy.targets._lava.processes import observed
from ndeploy.targets._lava.processes.partition import Partition, PartitionModel
from ndeploy.targets._lava.processes.population import Population as OwnPopulation
from ndeploy.targets._lava.processes.population import PopulationModel
from ndeploy.targets._lava.processes.product import Product as OwnProduct
from ndeploy.targets._lava.processes.product import ProductModel
from ndeploy.targets._lava.processes.projection import Projection as OwnProjection
from ndeploy.targets._lava.processes.projection import ProjectionModel
from ndeploy.targets._lava.schedule import Schedule, updates_of
from ndeploy.targets._lava.traces import Files
from scipy.sparse import csr_matrix

from ndeploy import synapses
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program, Projection
from ndeploy.neurons import CubaLi, CubaLif, Input

MODELS = {
    LIF: observed.ObservedLif,
    LIFReset: observed.ObservedLifReset,
    TernaryLIF: observed.ObservedTernaryLif,
    GradedVec: observed.ObservedGradedVec,
    ProdNeuron: observed.ObservedProdNeuron,
    Sigma: observed.ObservedSigma,
    Delta: observed.ObservedDelta,
    SigmaDelta: observed.ObservedSigmaDelta,
    Dense: observed.RestingDense,
    Sparse: observed.RestingSparse,
    DelayDense: observed.RestingDelayDense,
    DelaySparse: observed.RestingDelaySparse,
    observed.FlatConv: observed.FlatConvModel,
    OwnPopulation: PopulationModel,
    OwnProjection: ProjectionModel,
    OwnProduct: ProductModel,
    Partition: PartitionModel,
}
VARIABLES = {
    "LIF": ("u", "v"),
    "LIFReset": ("u", "v"),
    "TernaryLIF": ("u", "v"),
    "Sigma": ("sigma",),
    "Delta": ("act", "residue", "error"),
    "SigmaDelta": ("sigma", "act", "residue", "error"),
}
"""What a held process of Lava's must be cleared of at the start of a sample."""
NEURONS = {
    "LIF": LIF,
    "LIFReset": LIFReset,
    "TernaryLIF": TernaryLIF,
    "GradedVec": GradedVec,
    "ProdNeuron": ProdNeuron,
    "Sigma": Sigma,
    "Delta": Delta,
    "SigmaDelta": SigmaDelta,
}


def source_process(population: Population, schedule: Schedule, total: int, messages: IntArray) -> Any:
    """RingBuffer that sends messages (samples, steps, neurons) at the population's updates and zero otherwise."""
    data = np.zeros((population.size, total), dtype=np.int32)
    for sample in range(schedule.samples):
        start = schedule.time(sample, 0, population.offset)
        end = schedule.time(sample, schedule.steps - 1, population.offset) + 1
        data[:, start : end : schedule.period] = messages[sample].T
    return RingBuffer(data=data)


def compressed(layout: synapses.Synapses, values: Any) -> Any:
    """(n_out, n_in) csr matrix of a value per stored weight."""
    if isinstance(layout, synapses.Conv):
        return _compressed_conv(layout, values)
    target, source, index = layout.to_coo()
    return csr_matrix((values.reshape(-1)[index], (target, source)), shape=(layout.n_out, layout.n_in))


def _compressed_conv(layout: synapses.Conv, values: Any) -> Any:
    """All output channels of a group meet the same inputs: the pattern is worked out once."""
    c_out, out_h, out_w = layout.out_shape
    per_group = layout.weight.shape[1]
    one = synapses.Conv(
        layout.weight[:1], (per_group, *layout.in_shape[1:]), layout.stride, layout.padding, layout.dilation
    )
    target, source, index = one.to_coo()
    order = np.lexsort((source, target))
    source, index = source[order], index[order]
    length = np.bincount(target, minlength=out_h * out_w)
    group = np.arange(c_out) // (c_out // layout.groups)
    columns = source[None] + (group * per_group * layout.in_shape[1] * layout.in_shape[2])[:, None]
    data = values.reshape(c_out, -1)[:, index]
    starts = np.concatenate(([0], np.cumsum(np.tile(length, c_out))))
    return csr_matrix((data.reshape(-1), columns.reshape(-1), starts), shape=(layout.n_out, layout.n_in))


def connection_process(assignment: Assignment, projection: Projection) -> Any:
    """Lava's synapse process, or ours."""
    if not assignment.native:
        return OwnProjection(projection=projection)
    arguments = dict(assignment.arguments)
    up = arguments.pop("up")
    layout = projection.synapses
    weight = layout.weight.astype(np.int32) << up
    if "sign_mode" in arguments:
        arguments["sign_mode"] = SignMode[arguments["sign_mode"]]
    if assignment.process == "Conv":
        assert isinstance(layout, synapses.Conv)
        # Lava convolves, which turns the kernel round, and orders (x, y) before channels
        return observed.FlatConv(
            weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
            input_shape=layout.in_shape[::-1],
            stride=layout.stride[::-1],
            padding=layout.padding[::-1],
            dilation=layout.dilation[::-1],
            groups=layout.groups,
            **arguments,
        )
    if assignment.process == "Dense":
        return Dense(weights=weight, **arguments)
    if assignment.process == "Sparse":
        return Sparse(weights=compressed(layout, weight), **arguments)
    extra = np.zeros(layout.weight.shape, dtype=int) if projection.delays is None else projection.delays
    delays = (extra + projection.delay - 1).astype(int)
    if assignment.process == "DelayDense":
        return DelayDense(weights=weight, delays=delays, **arguments)
    return DelaySparse(weights=compressed(layout, weight), delays=compressed(layout, delays), **arguments)


def neurons(population: Population, assignment: Assignment, **more: Any) -> Any:
    """Lava's neuron process. more: arguments that the assignment does not have."""
    arguments = dict(assignment.arguments)
    if assignment.process == "SigmaDelta":
        arguments["act_mode"] = ActivationMode.RELU if arguments.pop("relu") else ActivationMode.UNIT
    return NEURONS[assignment.process](shape=(population.size,), **arguments, **more)


class Network:
    """The Lava processes of a Program in native mode. `run` may be called once."""

    def __init__(
        self, program: Program, plan: Plan, messages: Mapping[str, IntArray], files: Files, descriptor: int
    ) -> None:
        self._program = program
        self._plan = plan
        samples = len(next(iter(messages.values())))
        self._schedule = Schedule(program.steps, program.period, plan.window, samples)
        self._total = self._schedule.total(program.latency)
        self._files = files
        self._heartbeat = Heartbeat(descriptor, self._total)
        self._processes: dict[str, Any] = {}
        self._neighbours: dict[int, list[Any]] = {}
        for population in program.populations:
            self._add_population(population, messages)
        for projection in program.projections:
            assignment = plan.projections[projection.name]
            connection = connection_process(assignment, projection)
            self._link(self._processes[projection.source].s_out, connection.s_in)
            self._link(connection.a_out, self._port(projection.target, projection.port))
        for product in program.products:
            left, right = program.population(product.left), program.population(product.right)
            updates = updates_of(program, left), updates_of(program, right)
            size = program.population(product.target).size
            offsets = left.offset, right.offset
            process = OwnProduct(product=product, offsets=offsets, updates=updates, schedule=self._schedule, size=size)
            self._link(self._processes[product.left].s_out, process.left)
            self._link(self._processes[product.right].s_out, process.right)
            self._link(process.a_out, self._port(product.target, product.port))

    def _link(self, out_port: Any, in_port: Any) -> None:
        out_port.connect(in_port)
        one, other = out_port.process, in_port.process
        self._neighbours.setdefault(one.id, []).append(other)
        self._neighbours.setdefault(other.id, []).append(one)

    def _port(self, target: str, port: str) -> Any:
        process = self._processes[target]
        names = self._program.population(target).neuron.ports
        if isinstance(process, ProdNeuron):
            return (process.a_in1, process.a_in2)[names.index(port)]
        return process.a_in if names.index(port) == 0 else process.a_in2

    def _add_population(self, population: Population, messages: Mapping[str, IntArray]) -> None:
        assignment = self._plan.populations[population.name]
        if isinstance(population.neuron, Input):
            samples = self._schedule.samples
            flat = messages[population.name].reshape(samples, self._program.steps, -1).copy()
            flat[:, updates_of(self._program, population) :] = 0
            self._processes[population.name] = source_process(population, self._schedule, self._total, flat)
            return
        if assignment.native:
            process = self._native(population, assignment)
        else:
            process = OwnPopulation(neuron=population.neuron, shape=population.shape)
        ports = {"ProdNeuron": ("a_in1", "a_in2")}.get(assignment.process, ("a_in",))
        own = not assignment.native
        duty = Duty(
            population=population.name,
            offset=population.offset,
            schedule=self._schedule,
            updates=updates_of(self._program, population),
            ports=("a_in", "a_in2") if own else ports,
            variables=VARIABLES.get(assignment.process, ()),
            record={variable: file for (name, variable), file in self._files.items() if name == population.name},
            held=own or assignment.held,
            heartbeat=self._heartbeat,
        )
        process.proc_params[KEY] = duty
        self._processes[population.name] = process
        if assignment.native and isinstance(population.neuron, CubaLif | CubaLi):
            self._add_input_bias(population, population.neuron)

    def _native(self, population: Population, assignment: Assignment) -> Any:
        if assignment.process == "LIFReset":
            # Lava counts from 1
            return neurons(population, assignment, reset_interval=self._plan.window, reset_offset=population.offset + 1)
        return neurons(population, assignment)

    def _add_input_bias(self, population: Population, neuron: CubaLif | CubaLi) -> None:
        """Lava's LIF adds its bias to v; one that belongs to u comes from a source of its own."""
        bias = np.broadcast_to(np.asarray(neuron.input_bias, dtype=np.int64), population.shape).reshape(-1)
        if bias.any():
            shape = (self._schedule.samples, self._program.steps, population.size)
            source = source_process(population, self._schedule, self._total, np.broadcast_to(bias, shape))
            self._link(source.s_out, self._processes[population.name].a_in)

    def run(self) -> None:
        """Run every connected part of the network from the first chip step to the last."""
        done: set[int] = set()
        for process in self._processes.values():
            if process.id in done or (isinstance(process, RingBuffer) and process.id not in self._neighbours):
                continue
            part, todo = {process.id}, [process]
            while todo:
                for other in self._neighbours.get(todo.pop().id, ()):
                    if other.id not in part:
                        part.add(other.id)
                        todo.append(other)
            done |= part
            execute(process, self._total)


def run_fused(program: Program, messages: Mapping[str, IntArray], files: Files, descriptor: int) -> None:
    """The whole Program in one process, samples side by side, fed by one source."""
    samples = len(next(iter(messages.values())))
    schedule = Schedule(program.steps, program.period, program.steps * program.period + program.latency + 1, 1)
    total = schedule.total(program.latency)
    inputs = [p for p in program.populations if isinstance(p.neuron, Input)]
    data = np.zeros((samples, sum(p.size for p in inputs), total), dtype=np.int32)
    first = 0
    for population in inputs:
        for step in range(updates_of(program, population)):
            at = schedule.time(0, step, population.offset)
            data[:, first : first + population.size, at] = messages[population.name][:, step].reshape(samples, -1)
        first += population.size
    source = RingBuffer(data=data.reshape(-1, total))
    heartbeat = Heartbeat(descriptor, total)
    partition = Partition(program=program, samples=samples, files=files, heartbeat=heartbeat)
    source.s_out.connect(partition.s_in)
    execute(partition, total)


def execute(process: Any, chip_steps: int) -> None:
    """Compile, run and stop the network that `process` belongs to."""
    configuration = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=MODELS)
    process.run(condition=RunSteps(num_steps=chip_steps), run_cfg=configuration)
    process.stop()
    # Lava's register keeps every process, with its weights, for ever
    ProcessServer().processes.clear()
