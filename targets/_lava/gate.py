"""What our process models, and Lava's own when they run for us, do around their arithmetic: record, wait their turn.

`Gate` is mixed in before a process model. It never computes: it calls the model's own `run_spk`, notes what was sent
and what the state is afterwards and, where the plan says so ("held"), starts the model at its population's offset only,
clears it at the start of every sample, keeps what arrives between two updates and stops it after its last one. No
import of Lava here.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ndeploy.targets._lava.schedule import Moment, Schedule

from ndeploy.fixed import IntArray

KEY = "ndeploy"
"""Process parameter under which a model finds its `Duty`."""


@dataclass(frozen=True)
class Heartbeat:
    """Tells that the run goes on: a line {"event": "step", ...} to a file descriptor, at most twice a second."""

    descriptor: int
    total: int

    def beat(self, chip_step: int) -> None:
        line = f'{{"event": "step", "step": {chip_step}, "total": {self.total}}}\n'
        os.write(self.descriptor, line.encode())


@dataclass(frozen=True)
class Duty:
    """What a population's process model has to do besides computing.

    updates: it stands still after so many in a sample; record: open trace files by name ("message" or a state
    variable), (samples, steps, neurons); ports: in-ports; held: see the module; heartbeat: of the one model that
    reports progress.
    """

    population: str
    offset: int
    schedule: Schedule
    updates: int
    ports: tuple[str, ...]
    variables: tuple[str, ...]
    record: dict[str, IntArray] = field(default_factory=dict)
    held: bool = False
    heartbeat: Heartbeat | None = None


class Gate:
    """Mixed in before a PyLoihiProcessModel that has `s_out` and the in-ports of its duty."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)  # type: ignore[call-arg]
        self._duty: Duty = proc_params[KEY]
        self._sent: Any = None
        self._send: Any = None
        self._waiting: dict[str, Any] = {}
        self._receive: dict[str, Any] = {}
        self._last_beat = time.monotonic()

    def _open(self) -> None:
        """On the first step: the ports exist only now."""
        port: Any = self.s_out  # type: ignore[attr-defined]
        self._send = port.send

        def tap(data: Any) -> None:
            self._sent = np.array(data)
            self._send(data)

        port.send = tap
        if self._duty.held:
            for name in self._duty.ports:
                self._collect(name, getattr(self, name))

    def _collect(self, name: str, port: Any) -> None:
        """Make the port's recv return what waited plus what arrives."""
        receive = port.recv
        self._waiting[name] = 0
        self._receive[name] = receive

        def recv() -> Any:
            value = receive() + self._waiting[name]
            self._waiting[name] = 0
            return value

        port.recv = recv

    def run_spk(self) -> None:
        """One chip step."""
        if self._send is None:
            self._open()
        now: int = self.time_step - 1  # type: ignore[attr-defined]
        moment = self._duty.schedule.at(now, self._duty.offset)
        still = moment.active and moment.step >= self._duty.updates
        if self._duty.held and still:
            self._stand_still(moment)
        elif self._duty.held and not moment.active:
            self._idle(moment)
        else:
            if self._duty.held and moment.step == 0:
                self._clear()
            super().run_spk()  # type: ignore[misc]
            if moment.active:
                self._record(moment)
        beat = self._duty.heartbeat
        if beat is not None and time.monotonic() - self._last_beat > 0.5:
            self._last_beat = time.monotonic()
            beat.beat(now + 1)

    def _idle(self, moment: Moment) -> None:
        for name in self._duty.ports:
            arrived = self._receive[name]()
            if moment.keep:
                self._waiting[name] = self._waiting[name] + arrived
        self._silence()

    def _stand_still(self, moment: Moment) -> None:
        """An update it no longer makes: what has arrived is lost, so that the next sample does not find it."""
        for name in self._duty.ports:
            self._receive[name]()
            self._waiting[name] = 0
        self._silence()
        self._record(moment)

    def _silence(self) -> None:
        self._sent = np.zeros(self.s_out._shape, dtype=np.int64)  # type: ignore[attr-defined]
        self._send(self._sent)

    def _clear(self) -> None:
        for name in self._duty.variables:
            setattr(self, name, np.zeros_like(getattr(self, name)))

    def _record(self, moment: Moment) -> None:
        for name, file in self._duty.record.items():
            value = self._sent if name == "message" else getattr(self, name)
            file[moment.sample, moment.step] = np.asarray(value).reshape(-1)
