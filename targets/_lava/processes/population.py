"""A population whose neuron Lava lacks: our neuron's `step` as a Lava process."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from ndeploy.targets._lava.gate import Gate


class Population(AbstractProcess):
    """neuron: ndeploy's definition; neurons are flat, its parameters broadcast to `shape`."""

    def __init__(self, *, neuron: Any, shape: tuple[int, ...]) -> None:
        super().__init__(neuron=neuron, population_shape=shape)
        size = int(np.prod(shape))
        self.a_in = InPort(shape=(size,))
        self.a_in2 = InPort(shape=(size,))
        self.s_out = OutPort(shape=(size,))


class _NeuronModel(PyLoihiProcessModel):
    a_in = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    a_in2 = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    s_out = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._neuron = proc_params["neuron"]
        self._shape = proc_params["population_shape"]
        self._state = self._neuron.initial(self._shape)

    def __getattr__(self, name: str) -> Any:
        """State variables, for the recorder."""
        state = self.__dict__.get("_state", {})
        if name in state:
            return state[name]
        raise AttributeError(name)

    def run_spk(self) -> None:
        arrived = (self.a_in.recv(), self.a_in2.recv())
        inputs = {port: value.reshape(self._shape) for port, value in zip(self._neuron.ports, arrived, strict=False)}
        self._state, message = self._neuron.step(self._state, inputs)
        self.s_out.send(message.reshape(-1))


@implements(proc=Population, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PopulationModel(Gate, _NeuronModel):
    """Steps the neuron at its updates."""

    def _clear(self) -> None:
        self._state = self._neuron.initial(self._shape)
