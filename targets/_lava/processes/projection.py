"""A projection that Lava's own synapse processes would not compute exactly."""

from __future__ import annotations

from collections import defaultdict
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
from ndeploy.targets._lava.operators import deliveries


class Projection(AbstractProcess):
    """projection: an ndeploy Projection, any synapses, exponent and delays."""

    def __init__(self, *, projection: Any) -> None:
        super().__init__(projection=projection)
        self.s_in = InPort(shape=(projection.synapses.n_in,))
        self.a_out = OutPort(shape=(projection.synapses.n_out,))


@implements(proc=Projection, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ProjectionModel(PyLoihiProcessModel):
    """Sends what arrives now, then takes in what was sent now, as Lava's own synapses do."""

    s_in = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    a_out = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        projection = proc_params["projection"]
        self._deliver = deliveries(projection)
        self._none = np.zeros(projection.synapses.n_out, dtype=np.int64)
        self._in_flight: dict[int, Any] = defaultdict(int)

    def run_spk(self) -> None:
        self.a_out.send(self._none + self._in_flight.pop(self.time_step, 0))
        message = self.s_in.recv()
        if message.any():
            for delay, value in self._deliver(message.reshape(1, -1)).items():
                self._in_flight[self.time_step + delay] = self._in_flight[self.time_step + delay] + value[0]
