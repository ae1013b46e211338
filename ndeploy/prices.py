"""Prices: the events that are counted, what one of them costs, and tables of such prices. Counts are elsewhere.

A table holds what one source, or one composition of sources, says. Each price has a source and one of `STATUSES` (see
ndeploy/target.py); `faults` says what is wrong with a table, whoever wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

STATUSES = ("code", "abstract", "quoted", "derived", "unverified")
PRICE_UNITS = ("J", "s", "W")
SCOPES = ("incremental", "all-in", "static")

CHIP_EVENTS = (
    "synaptic-op.dense",  # a synapse visited by a non-zero message, of densely stored synapses
    "synaptic-op.sparse",
    "synaptic-op.conv",
    "axon-in",  # a message taken in by a core
    "neuron-update.active",  # an update into which at least one message came, or of a neuron with a bias
    "neuron-update.idle",  # any other update
    "spike",  # a non-zero message made by a neuron of a core
    "message",  # its way to one box of targets on a core: the packet put out
    "hop.east-west",  # a packet's way from one router of the mesh to the next
    "hop.north-south",
    "chip-link",  # a packet's way from one chip to the next
    "payload-bit",  # bits of graded payloads in packets
    "memory-read",  # words of 64 bits read from synaptic and state memory
    "memory-write",
    "barrier",  # a core in use taking part in the end of a chip step
    "embedded-op",  # an arithmetic operation of the embedded processor
)
"""What the chip does for a sample."""
HOST_EVENTS = ("host-byte.in", "host-byte.out")
"""Bytes of messages that the host sends and reads for a sample."""
LOAD_EVENTS = ("configuration-byte",)
"""Bytes that loading the program once takes."""
EVENTS = (*CHIP_EVENTS, *HOST_EVENTS, *LOAD_EVENTS)
"""What is counted and priced. A price named by what stands before the dot prices all that have none of their own."""
EMBEDDED_EVENT = "embedded-op"
PRICED = tuple(dict.fromkeys((*EVENTS, *(event.partition(".")[0] for event in EVENTS))))
"""Names that a price may have."""
STATIC = "static"
"""Static power times time: no event, yet an all-in price may hold it (`covered`)."""


@dataclass(frozen=True)
class Price:
    """What one event costs, in joules, seconds or watts. scope: "incremental" prices add up beside each other;
    an "all-in" price holds everything already and never stands in one sum with an incremental one."""

    name: str
    low: float
    nominal: float
    high: float
    unit: str
    scope: str
    source: str
    status: str
    note: str = ""


@dataclass(frozen=True)
class PriceTable:
    """What events cost according to one source or one composition of sources. Prices are apart from counts.

    name: as in `--model`; node, voltage: of the silicon, "" where unknown; targets: those it speaks of (others may be
    priced with it and are told so). energy, time: by event of `EVENTS` (and, for time, "barrier" once a chip step);
    covered: events that cost nothing of their own because another price holds them already, and which one says so.
    static_power: of a chip, in W.
    """

    name: str
    title: str
    energy: tuple[Price, ...]
    time: tuple[Price, ...] = ()
    static_power: Price | None = None
    covered: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    node: str = ""
    voltage: str = ""
    notes: tuple[str, ...] = ()

    def price(self, event: str) -> Price | None:
        """The energy of an event, None where nobody has published one; "a" prices "a.b" where that has none."""
        return _priced(self.energy, event)

    def duration(self, event: str) -> Price | None:
        """The time of an event (and "barrier"), None where nobody has published one."""
        return _priced(self.time, event)


def _family(event: str) -> str:
    return event.partition(".")[0]


def _priced(prices: tuple[Price, ...], event: str) -> Price | None:
    for name in (event, _family(event)):
        for price in prices:
            if price.name == name:
                return price
    return None


def faults(table: PriceTable) -> Iterator[tuple[str, str]]:
    """What is wrong with a table, as (path, why): "energy.spike", "low 2, nominal 1, high 3 are not in order".

    Checked are names of events, units, scopes (one a table), sources and statuses, bounds (finite, >= 0, in order),
    doubles, and that what is called covered is not priced and is covered by something that is.
    """
    for part, prices, unit in (("energy", table.energy, "J"), ("time", table.time, "s")):
        for price in prices:
            path = f"{part}.{price.name}"
            if price.name not in PRICED:
                yield path, f"unknown event (known: {', '.join(PRICED)})"
            yield from ((path, why) for why in _price_faults(price, unit))
            if price.scope == "static":
                yield path, "scope 'static' is for static power"
        names = [price.name for price in prices]
        yield from ((f"{part}.{name}", "priced twice") for name in sorted({n for n in names if names.count(n) > 1}))
        if len({price.scope for price in prices}) > 1:
            yield part, "all-in and incremental prices in one table"
    if table.static_power is not None:
        yield from (("static_power", why) for why in _price_faults(table.static_power, "W"))
        if table.static_power.scope != "static":
            yield "static_power", f"scope '{table.static_power.scope}' where 'static' is needed"
        if any(price.scope == "all-in" for price in table.energy):
            yield "static_power", "beside all-in prices, which hold it already"
    for event, holder in table.covered.items():
        path = f"covered.{event}"
        if event not in (*PRICED, STATIC):
            yield path, f"unknown event (known: {', '.join((*PRICED, STATIC))})"
        elif table.price(event) is not None or (event == STATIC and table.static_power is not None):
            yield path, "it has a price of its own, and what is covered has none"
        if not any(holder in (price.name, _family(price.name)) for price in table.energy):
            yield path, f"'{holder}' has no price that could hold it"


def _price_faults(price: Price, unit: str) -> Iterator[str]:
    if price.unit not in PRICE_UNITS:
        yield f"unknown unit '{price.unit}' (known: {', '.join(PRICE_UNITS)})"
    elif price.unit != unit:
        yield f"unit '{price.unit}' where '{unit}' is needed"
    if price.scope not in SCOPES:
        yield f"unknown scope '{price.scope}' (known: {', '.join(SCOPES)})"
    values = (price.low, price.nominal, price.high)
    if not all(math.isfinite(value) for value in values) or min(values) < 0:
        yield f"{values} are not three finite numbers >= 0"
    elif not price.low <= price.nominal <= price.high:
        yield f"low {price.low}, nominal {price.nominal}, high {price.high} are not in order"
    yield from source_faults(price.source, price.status, price.note)


def source_faults(source: str, status: str, note: str) -> Iterator[str]:
    """What is wrong with a number's source: none, an unknown status, or an unverified one without a note."""
    if status not in STATUSES:
        yield f"unknown status '{status}' (known: {', '.join(STATUSES)})"
    if not source.strip():
        yield "no source"
    if status == "unverified" and not note.strip():
        yield "unverified without a note that says what it is"


def describe(table: PriceTable) -> dict[str, Any]:
    """The table as JSON-like data: every price beside its source and status."""
    return {**asdict(table), "covered": dict(table.covered)}
