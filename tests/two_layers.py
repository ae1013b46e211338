"""Two dense layers, small enough to count by hand, and a table of round prices."""

from __future__ import annotations

import numpy as np

from ndeploy import oracle
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import CubaLif, Input
from ndeploy.synapses import Dense
from ndeploy.target import CHIP_EVENTS, HOST_EVENTS, Price, PriceTable

PROGRAM = Program(
    "test",
    (
        Population("in", (4,), Input()),
        Population("a", (3,), CubaLif(du=4095, dv=0, vth=64), offset=1),
        Population("b", (2,), CubaLif(du=4095, dv=0, vth=64), offset=2),
    ),
    (
        Projection("1", "in", "a", Dense(np.full((3, 4), 2, dtype=np.int16))),
        Projection("2", "a", "b", Dense(np.full((2, 3), 2, dtype=np.int16))),
    ),
    (InputPort("in"),),
    (OutputPort("b"),),
    steps=5,
)


def activity(program: Program = PROGRAM, messages: np.ndarray | None = None) -> Activity:  # type: ignore[type-arg]
    """What two samples sent, by default one in which three of four inputs send at first, and one that is silent."""
    if messages is None:
        messages = np.zeros((2, 5, 4), dtype=np.int64)
        messages[0, 0, :3] = 1
    found = oracle.run(program, {"in": messages}, activity=True).activity
    if found is None:
        raise AssertionError("no activity")
    return found


def price(name: str, nominal: float, unit: str = "J") -> Price:
    """A price with bounds of half and twice."""
    return Price(name, nominal / 2, nominal, nominal * 2, unit, "incremental", "a test", "code")


def table(**changes: float) -> PriceTable:
    """One joule for every event of the chip, two for those of the host; one second for synaptic operations and updates,
    ten for a barrier. changes: by event, "_" for "." and "-"; 0 leaves the event unpriced."""
    prices = dict.fromkeys(CHIP_EVENTS, 1.0) | dict.fromkeys(HOST_EVENTS, 2.0) | {"configuration-byte": 3.0}
    for name, value in changes.items():
        found = [event for event in prices if event.replace(".", "_").replace("-", "_") == name]
        prices[found[0]] = value
    energy = tuple(price(name, value) for name, value in prices.items() if value)
    time = (price("synaptic-op", 1.0, "s"), price("neuron-update", 1.0, "s"), price("barrier", 10.0, "s"))
    power = Price("static", 0.5, 1.0, 2.0, "W", "static", "a test", "code")
    return PriceTable("round", "round numbers", energy, time, power)
