"""What comes off the chip, chip step by chip step, into the traces of samples and model steps. numpy only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ndeploy.targets._lava.gate import Heartbeat
from ndeploy.targets._lava.schedule import Schedule

from ndeploy.fixed import IntArray

KEY = "ndeploy"
"""Process parameter under which a sink finds its `Readout`."""
WORD = 24
"""Bits of a graded message as the adapters hand it over, its sign not extended: lava-nc 0.10.0,
lava/networks/gradedvecnetwork.py (OutputVec.get_data) and lava-dl's pilotnet_snn/utils.py."""


class BadAnswerError(Exception):
    """The chip sent what it cannot have computed."""


@dataclass
class Readout:
    """One population's messages. record: (samples of the run, steps, neurons); late: chip steps from sending to here;
    heartbeat: of the one sink that tells how far the chip is."""

    population: str
    offset: int
    schedule: Schedule
    late: int
    updates: int
    spikes: bool
    signed: bool
    record: IntArray
    heartbeat: Heartbeat | None = None
    beaten: float = 0.0

    def take(self, chip_step: int, arrived: Any) -> None:
        """What arrived at a chip step, from 0. Raises BadAnswerError."""
        moment = self.schedule.at(chip_step - self.late, self.offset)
        if moment.active and moment.step < self.updates:
            self.record[moment.sample, moment.step] = self._value(np.asarray(arrived).reshape(-1))
        if self.heartbeat is not None and time.monotonic() - self.beaten > 0.5:
            self.beaten = time.monotonic()
            self.heartbeat.beat(chip_step + 1)

    def _value(self, raw: Any) -> IntArray:
        value: IntArray = raw.astype(np.int64)
        if self.spikes:
            if ((value != 0) & (value != 1)).any():
                odd = int(value[(value != 0) & (value != 1)][0])
                raise BadAnswerError(f"the chip sent {odd} for a spike of population '{self.population}'")
            return value
        value &= (1 << WORD) - 1
        return value - ((value >> (WORD - 1)) << WORD) if self.signed else value


def states(series: Any, schedule: Schedule, offset: int, early: int, total: int, neurons: int) -> IntArray:
    """A state probe's series as (samples, steps, neurons). early: chip steps that the samples start late; total: of
    the run. Raises BadAnswerError where it has not a value a neuron and chip step."""
    values = np.asarray(series)
    if values.size != neurons * total:
        raise BadAnswerError(f"a state probe holds {values.size} values, not {neurons} neurons x {total} chip steps")
    table = values.reshape(neurons, total)
    found = np.empty((schedule.samples, schedule.steps, neurons), dtype=np.int64)
    for sample in range(schedule.samples):
        first = early + schedule.time(sample, 0, offset)
        found[sample] = table[:, first : first + schedule.steps].T
    return found
