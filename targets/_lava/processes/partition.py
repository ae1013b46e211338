"""A whole Program in one Lava process: the fused mode."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from ndeploy.targets._lava.partition import Partition as Arithmetic

from ndeploy.neurons import Input


class Partition(AbstractProcess):
    """program; samples side by side; files: open trace files by (population, variable).

    All input populations arrive on one port, one after the other, samples first: (samples * all input neurons,).
    """

    def __init__(self, *, program: Any, samples: int, files: dict[tuple[str, str], Any], heartbeat: Any) -> None:
        super().__init__(program=program, samples=samples, files=files, heartbeat=heartbeat)
        size = sum(p.size for p in program.populations if isinstance(p.neuron, Input))
        self.s_in = InPort(shape=(samples * size,))


@implements(proc=Partition, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PartitionModel(PyLoihiProcessModel):
    """Steps all populations once a chip step."""

    s_in = LavaPyType(PyInPort.VEC_DENSE, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._files = proc_params["files"]
        self._samples = proc_params["samples"]
        self._inputs = [p for p in proc_params["program"].populations if isinstance(p.neuron, Input)]
        self._arithmetic = Arithmetic(proc_params["program"], self._samples, self._record)
        self._heartbeat = proc_params["heartbeat"]
        self._last_beat = time.monotonic()

    def _record(self, population: str, variable: str, step: int, value: Any) -> None:
        file = self._files.get((population, variable))
        if file is not None:
            file[:, step] = value

    def run_spk(self) -> None:
        arrived = self.s_in.recv().reshape(self._samples, -1)
        ends = np.cumsum([p.size for p in self._inputs])
        parts = np.split(arrived, ends[:-1], axis=1)
        self._arithmetic.advance(self.time_step - 1, {p.name: m for p, m in zip(self._inputs, parts, strict=True)})
        if time.monotonic() - self._last_beat > 0.5:
            self._last_beat = time.monotonic()
            self._heartbeat.beat(self.time_step)
