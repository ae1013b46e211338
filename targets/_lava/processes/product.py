"""A product of two messages, both dynamic: Lava has none."""

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
from ndeploy.targets._lava.operators import contraction


class Product(AbstractProcess):
    """offsets, updates: of the left and the right operand's population; schedule: of the run; size: the target's
    neurons."""

    def __init__(
        self, *, product: Any, offsets: tuple[int, int], updates: tuple[int, int], schedule: Any, size: int
    ) -> None:
        super().__init__(product=product, offsets=offsets, updates=updates, schedule=schedule, size=size)
        self.left = InPort(shape=(int(np.prod(product.left_view)),))
        self.right = InPort(shape=(int(np.prod(product.right_view)),))
        self.a_out = OutPort(shape=(size,))


@implements(proc=Product, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ProductModel(PyLoihiProcessModel):
    """Multiplies the two messages of a model step once both were sent; keeps the last of one that stands still."""

    left = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    right = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    a_out = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._contract = contraction(proc_params["product"])
        self._delay = proc_params["product"].delay
        self._offsets = proc_params["offsets"]
        self._schedule = proc_params["schedule"]
        self._none = np.zeros(proc_params["size"], dtype=np.int64)
        self._updates = proc_params["updates"]
        self._operands: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
        self._last: list[Any] = [None, None]
        self._in_flight: dict[int, Any] = defaultdict(int)

    def run_spk(self) -> None:
        self.a_out.send(self._none + self._in_flight.pop(self.time_step, 0))
        for side, port in enumerate((self.left, self.right)):
            message = port.recv()
            moment = self._schedule.at(self.time_step - 1, self._offsets[side])
            if moment.active:
                if moment.step < self._updates[side]:
                    self._last[side] = message
                self._operands[side][moment.sample, moment.step] = self._last[side]
        for key in [key for key in self._operands[0] if key in self._operands[1]]:
            left, right = (messages.pop(key).reshape(1, -1) for messages in self._operands)
            at = self.time_step + self._delay
            self._in_flight[at] = self._in_flight[at] + self._contract(left, right)[0]
