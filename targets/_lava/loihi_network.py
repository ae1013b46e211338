"""Builds a Program's Lava network for a Loihi, runs it there, and leaves what came back in files. Worker side.

The calls, in their order, are those of published programs: docs/loihi.md says which program each was read in. No part
of it has been run on a board.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs
from lava.magma.compiler.exceptions import NoProcessModelFound
from lava.magma.core.model.py.model import AbstractPyProcessModel
from lava.magma.core.process.process import ProcessServer
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2HwCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import PySendModelFixed
from lava.proc.io.source import RingBuffer as Source
from lava.proc.prodneuron.process import ProdNeuron
from ndeploy.targets._lava import network
from ndeploy.targets._lava.gate import Heartbeat
from ndeploy.targets._lava.loihi_meter import METER, Meter
from ndeploy.targets._lava.loihi_plan import PAYLOAD_BITS, ChipPlan, Refusal, binary, chip_plan, full_word, refused
from ndeploy.targets._lava.loihi_readout import KEY, Readout, states
from ndeploy.targets._lava.plan import Assignment
from ndeploy.targets._lava.processes.loihi_sink import SinkModel
from ndeploy.targets._lava.schedule import updates_of
from ndeploy.targets._lava.traces import Files

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Input

Tell = Callable[..., None]
HOST = {Sink: SinkModel, Source: PySendModelFixed}
"""Processes that run on the host, and Lava's fixed-point models for them."""


class ChipNetwork:
    """The processes of some consecutive samples, for one run of the chip.

    late: chip steps that the adapters take, into the chip and out of it; files: of these samples. Raises ImportError
    where lava-loihi cannot read states and these are wanted.
    """

    def __init__(
        self,
        program: Program,
        plan: ChipPlan,
        messages: Mapping[str, IntArray],
        files: Files,
        late: tuple[int, int],
        descriptor: int,
    ) -> None:
        self._program, self._plan, self._files, self._late = program, plan, files, late
        samples = len(next(iter(messages.values())))
        self._schedule = plan.schedule(program, samples)
        self._total = self._schedule.total(program.latency) + sum(late)
        self._heartbeat: Heartbeat | None = Heartbeat(descriptor, self._total)
        self._adapters = importlib.import_module("lava.proc.embedded_io.spike")
        self._processes: dict[str, Any] = {}
        self._on_chip: dict[int, str] = {}
        self._links: dict[int, list[Any]] = {}
        self._outlets: dict[str, Any] = {}
        self._probes: dict[tuple[str, str], Any] = {}
        for population in program.populations:
            self._add(population, messages)
        for projection in program.projections:
            connection = network.connection_process(plan.projections[projection.name], projection)
            self._on_chip[connection.id] = projection.name
            self._link(self._outlets[projection.source], connection.s_in)
            self._link(connection.a_out, self._port(projection.target, projection.port))

    # -- building ---------------------------------------------------------------------------------------------------

    def _link(self, out_port: Any, in_port: Any) -> None:
        out_port.connect(in_port)
        one, other = out_port.process, in_port.process
        self._links.setdefault(one.id, []).append(other)
        self._links.setdefault(other.id, []).append(one)

    def _port(self, target: str, port: str) -> Any:
        process = self._processes[target]
        if isinstance(process, ProdNeuron):
            return (process.a_in1, process.a_in2)[self._program.population(target).neuron.ports.index(port)]
        return process.a_in

    def _add(self, population: Population, messages: Mapping[str, IntArray]) -> None:
        if isinstance(population.neuron, Input):
            self._add_input(population, messages[population.name])
            return
        process = self._neurons(population, self._plan.populations[population.name])
        self._processes[population.name] = process
        self._on_chip[process.id] = population.name
        self._outlets[population.name] = process.s_out
        for name, variable in self._files:
            if name == population.name and variable != "message":
                probes = importlib.import_module("lava.utils.loihi2_state_probes")
                self._probes[name, variable] = probes.StateProbe(getattr(process, variable))
        if (population.name, "message") in self._files and population.neuron.message.bits:
            self._add_sink(population, process)

    def _neurons(self, population: Population, assignment: Assignment) -> Any:
        if assignment.process == "LIFReset":
            # Lava counts from 1
            start = population.offset + self._late[0] + 1
            return network.neurons(population, assignment, reset_interval=self._interval(), reset_offset=start)
        return network.neurons(population, assignment)

    def _interval(self) -> int:
        """Power of two; beyond the run where the run is one sample's."""
        if not self._plan.apart:
            return self._plan.window
        return 1 << max(1, (self._total + 1).bit_length())

    def _add_input(self, population: Population, messages: IntArray) -> None:
        flat = np.array(messages).reshape(self._schedule.samples, self._program.steps, -1)
        flat[:, updates_of(self._program, population) :] = 0
        source = network.source_process(population, self._schedule, self._total, flat)
        adapter = self._adapters.PyToNxAdapter(shape=(population.size,), num_message_bits=_bits(population))
        self._processes[population.name] = source
        self._link(source.s_out, adapter.inp)
        self._outlets[population.name] = adapter.out

    def _add_sink(self, population: Population, process: Any) -> None:
        shape = (population.size,)
        adapter = self._adapters.NxToPyAdapter(shape=shape, num_message_bits=_bits(population))
        sink = Sink(shape=shape, buffer=1)
        heartbeat, self._heartbeat = self._heartbeat, None
        sink.proc_params[KEY] = Readout(
            population.name,
            population.offset,
            self._schedule,
            sum(self._late),
            updates_of(self._program, population),
            binary(population),
            not full_word(population),
            self._files[population.name, "message"],
            heartbeat,
        )
        self._link(process.s_out, adapter.inp)
        self._link(adapter.out, sink.a_in)

    # -- running ----------------------------------------------------------------------------------------------------

    def connected(self) -> Iterator[list[Any]]:
        """Parts of the network that nothing connects with each other; without inputs that nobody listens to."""
        done: set[int] = set()
        for process in self._processes.values():
            if process.id in done:
                continue
            part, todo = {process.id: process}, [process]
            while todo:
                for other in self._links.get(todo.pop().id, ()):
                    if other.id not in part:
                        part[other.id] = other
                        todo.append(other)
            done |= part.keys()
            if any(p.id in part and n not in self._inputs for n, p in self._processes.items()):
                yield list(part.values())

    @property
    def _inputs(self) -> set[str]:
        return {p.name for p in self._program.populations if isinstance(p.neuron, Input)}

    def run(self, tell: Tell, *, meter: bool) -> list[tuple[float, float] | str]:
        """Every connected part, from the first chip step to the last: (J, s) of each, or why they are not known.

        Raises RefusedError ND676 before anything reaches the board, and whatever Lava and lava-loihi raise.
        """
        read: list[tuple[float, float] | str] = []
        for part in self.connected():
            inside = {process.id for process in part}
            own = {key for key in self._probes if self._processes[key[0]].id in inside}
            configuration = Loihi2HwCfg(
                exception_proc_model_map=dict(HOST), callback_fxs=[self._probes[key] for key in sorted(own)]
            )
            self._insist(configuration, part)
            power = Meter(configuration, self._total, wanted=meter)
            process = part[0]
            tell(event="stage", text=f"compiling {len(part)} processes for the chip")
            executable = process.compile(configuration)
            tell(event="stage", text="configuring the chip")
            process.create_runtime(configuration, executable)
            tell(event="stage", text=f"running {self._total} chip steps")
            # what fails ends the worker, and with it every process of Lava's: a stop would wait for what has failed
            process.run(condition=RunSteps(num_steps=self._total), run_cfg=configuration)
            for name, variable in sorted(own):
                self._keep(name, variable)
            process.stop()
            read.append(power.read() or power.reason)
        ProcessServer().processes.clear()
        return read

    def _keep(self, name: str, variable: str) -> None:
        population = self._program.population(name)
        series = self._probes[name, variable].time_series
        self._files[name, variable][:] = states(
            series, self._schedule, population.offset, self._late[0], self._total, population.size
        )

    def _insist(self, configuration: Any, part: list[Any]) -> None:
        """Lava takes a model for the CPU where it has none for the chip: refused here, and once more as it compiles."""
        select = configuration.select
        refusals: list[Refusal] = []
        for process in part:
            if process.id in self._on_chip:
                refusals += self._on_host(process, lambda p: select(p, ProcGroupDiGraphs._find_proc_models(p)))
        if refusals:
            raise refused(refusals)

        def chosen(process: Any, models: Any) -> Any:
            model = select(process, models)
            if found := self._on_host(process, lambda _: model):
                raise refused(found)
            return model

        configuration.select = chosen

    def _on_host(self, process: Any, model_of: Callable[[Any], Any]) -> list[Refusal]:
        """Whether Lava would compute a process that belongs on the chip, or a part of it, on the host."""
        top = process
        while getattr(top, "parent_proc", None) is not None:
            top = top.parent_proc
        name = self._on_chip.get(top.id)
        if name is None:
            return []
        try:
            model = model_of(process)
        except (AssertionError, NotImplementedError, NoProcessModelFound) as error:
            return [Refusal(name, f"Lava has no model for {type(process).__name__} ({error})")]
        if issubclass(model, AbstractPyProcessModel):
            return [Refusal(name, f"Lava has only {model.__name__} for {type(process).__name__}, on the host")]
        return []


def _bits(population: Population) -> int:
    """num_message_bits of an adapter: 0 for spikes."""
    return 0 if binary(population) else PAYLOAD_BITS


def run(
    program: Program,
    messages: Mapping[str, IntArray],
    files: Files,
    request: Mapping[str, Any],
    descriptor: int,
    tell: Tell,
) -> dict[str, Any]:
    """All samples, in one run or a run each. request: "late" (chip steps of the adapters) and "meter" (whether to read
    the energy). Returns "power", [J, s] or None, and "meter", what showed it or why nothing did.

    Raises what `ChipNetwork.run` raises.
    """
    plan = chip_plan(program)
    samples = len(next(iter(messages.values())))
    parts = [slice(i, i + 1) for i in range(samples)] if plan.apart else [slice(0, samples)]
    late = (int(request["late"][0]), int(request["late"][1]))
    read: list[tuple[float, float] | str] = []
    for number, part in enumerate(parts):
        if len(parts) > 1:
            tell(event="stage", text=f"sample {number + 1} of {samples}, on a chip configured anew")
        chip = ChipNetwork(
            program,
            plan,
            {name: message[part] for name, message in messages.items()},
            {key: file[part] for key, file in files.items()},
            late,
            descriptor,
        )
        read += chip.run(tell, meter=bool(request["meter"]))
    reasons = [entry for entry in read if isinstance(entry, str)]
    if reasons or not read:
        return {"power": None, "meter": reasons[0] if reasons else "nothing ran on the chip"}
    readings = [entry for entry in read if not isinstance(entry, str)]
    return {"power": [sum(entry[i] for entry in readings) for i in (0, 1)], "meter": METER}
