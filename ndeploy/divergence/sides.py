"""What a program is compared with: the float network, a runner, another artifact, or a recorded trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ndeploy import data as samples
from ndeploy import sim
from ndeploy.data import Data
from ndeploy.decode import encode, split_inputs
from ndeploy.divergence.causes import REFERENCE
from ndeploy.divergence.engines import FloatEngine
from ndeploy.divergence.signals import FloatArray, Signals, carriers, from_traces
from ndeploy.errors import UsageError
from ndeploy.ir.network import Network
from ndeploy.ir.program import Program
from ndeploy.neurons import Input
from ndeploy.printable import printable
from ndeploy.runners import Runner, RunnerOptions
from ndeploy.ticks import _traced

Array = npt.NDArray[Any]


class Side(Protocol):
    """One of two executions."""

    @property
    def exact(self) -> bool:
        """Whether it computes in integers, so that any difference is one."""

    def signals(self, part: Data, start: int) -> Signals:
        """Of the samples `part`, the first of which is sample `start`."""


@dataclass(frozen=True, eq=False)
class Executed:
    """A program on a runner."""

    program: Program
    runner: Runner
    options: RunnerOptions
    exact: bool = True

    def signals(self, part: Data, start: int) -> Signals:
        """Raises RunnerError ND691 where the runner leaves a trace out, and what it raises."""
        messages = encode(self.program, part.x, part.x_scale)
        traces = self.runner(self.program, messages, trace=True, options=self.options).traces
        for p in self.program.populations:
            if not isinstance(p.neuron, Input):
                for key in _keys(p.name, p.neuron.state):
                    _traced(self.program, p, key, traces)
        return from_traces(self.program, traces)


@dataclass(frozen=True, eq=False)
class Mended:
    """The float network as the program with everything mended: every layer of the program has its values."""

    engine: FloatEngine
    exact: bool = False

    def signals(self, part: Data, start: int) -> Signals:
        """In float64."""
        found = self.engine.run(part, REFERENCE)
        assert found is not None  # the network's own order has no loop within a step
        return found


@dataclass(frozen=True, eq=False)
class Floats:
    """The float network by its reference execution: the layers whose names the two share."""

    network: Network
    program: Program
    exact: bool = False

    def signals(self, part: Data, start: int) -> Signals:
        """In float64. Raises what the reference raises."""
        import torch

        from ndeploy.graph import reference

        x: Any = part.x if len(self.program.inputs) == 1 else split_inputs(self.program, part.x)
        found = reference.run(
            self.network, x, self.program.steps, x_scale=part.x_scale, dtype=torch.float64, trace=True
        )
        output = next(iter(found.outputs.values()))
        return shared(self.program, dict(found.values), dict(found.membranes), output)


@dataclass(frozen=True, eq=False)
class Recorded:
    """Float values from a file. recorder: "", for it says no runner."""

    program: Program
    values: dict[str, Array]
    output: Array | None
    exact: bool = False
    recorder: str = ""

    def signals(self, part: Data, start: int) -> Signals:
        """The recorded values of these samples."""
        own = slice(start, start + len(part))
        output = None if self.output is None else self.output[own]
        return shared(self.program, {name: value[own] for name, value in self.values.items()}, {}, output)


@dataclass(frozen=True, eq=False)
class Traced:
    """Integers that a run has recorded (`ndeploy run --trace --output`). recorder: ", recorded from RUNNER" where the
    file says it."""

    program: Program
    traces: dict[str, Array]
    exact: bool = True
    recorder: str = ""

    def signals(self, part: Data, start: int) -> Signals:
        """The recorded values of these samples."""
        own = slice(start, start + len(part))
        return from_traces(self.program, {key: value[own].astype(np.int64) for key, value in self.traces.items()})


def shared(program: Program, values: dict[str, Array], membranes: dict[str, Array], output: Array | None) -> Signals:
    """Float values of the program's populations; `output` as the program's first port shows it."""
    found: dict[str, FloatArray] = {}
    states: dict[str, FloatArray] = {}
    for name in carriers(program):
        population = program.population(name)
        for source, into in ((values, found), (membranes, states)):
            value = source.get(name)
            if value is not None and value.shape[1:] == (program.steps, *population.shape):
                into[name] = np.asarray(value, dtype=np.float64).reshape(*value.shape[:2], -1)
        if not population.neuron.message.bits and name not in states:
            found.pop(name, None)
    port = program.outputs[0]
    shape = program.population(port.population).shape
    if output is None:
        flat = found.get(port.population)
        if flat is None:
            flat = np.zeros((len(next(iter(found.values()), np.zeros((1,)))), program.steps, int(np.prod(shape))))
        output = flat
    real = np.asarray(output, dtype=np.float64).reshape(len(output), program.steps, *shape)
    if port.variable == "v" and port.population not in values:
        # a readout that the compiler added holds the sum of what arrived
        real = np.cumsum(real, axis=1)
        states[port.population] = real.reshape(*real.shape[:2], -1)
    elif port.variable == "v":
        states[port.population] = real.reshape(*real.shape[:2], -1)
    return Signals(found, states, real)


def _keys(name: str, state: tuple[str, ...]) -> list[str]:
    return [f"spikes/{name}", *(f"state/{name}/{variable}" for variable in state)]


RUNNER = "runner"
"""The array of a recorded run that names its runner: the bytes of its UTF-8, uint8."""


def _recorder(arrays: dict[str, Array]) -> str:
    """ ", recorded from board", "" where the file does not say."""
    told = arrays.get(RUNNER)
    if told is None or told.dtype != np.uint8 or told.ndim != 1 or not 0 < len(told) <= 64:
        return ""
    return f", recorded from {printable(told.tobytes().decode('utf-8', 'replace'))}"


def recorded(path: Path, program: Program, data: Data) -> Recorded | Traced:
    """A trace from a file: of a run, or of float values (`tick_sources.load_trace`).

    Raises UsageError ND652 (another program's, or of other or fewer samples), and what reading raises.
    """
    from ndeploy import tick_sources

    arrays = samples.arrays(path)
    if not any(name.startswith("spikes/") for name in arrays):
        trace = tick_sources.load_trace(path)
        tick_sources.trace_data(trace, path, data, None)
        return Recorded(program, dict(trace.signals), trace.output)
    wanted: dict[str, Array] = {}
    for p in program.populations:
        if isinstance(p.neuron, Input):
            continue
        for key in _keys(p.name, p.neuron.state):
            shape = (program.steps, *p.shape)
            value = arrays.get(key)
            if value is None or value.shape[1:] != shape or value.dtype.kind not in "biu":
                what = "lacks" if value is None else f"holds {value.dtype} {value.shape[1:]} for"
                raise UsageError(
                    "ND652",
                    f"'{path}' {what} '{key}'; the program shows integers, {shape} a sample",
                    help="record it with `ndeploy run ARTIFACT --data D.npz --trace --output TRACE.npz`",
                )
            if len(value) < len(data):
                raise UsageError(
                    "ND652",
                    f"'{path}' holds {len(value)} samples, {len(data)} are compared",
                    help=f"give --limit {len(value)}",
                )
            wanted[key] = value
    return Traced(program, wanted, recorder=_recorder(arrays))


def plain_simulator(program: Program, threads: int | None) -> Executed:
    """The program on the simulator."""

    def run(program: Program, messages: Any, *, trace: bool, options: RunnerOptions) -> Any:
        return sim.run(program, messages, trace=trace, counts=False, threads=threads)

    return Executed(program, run, RunnerOptions())
