"""The chip contract: what a target can hold and do, what an event costs, and who says so.

A target is data: one file in targets/ that defines `TARGET`. It is not a compiler option and not a board: nothing here
says how a program is laid out (ndeploy/place) or whether it is allowed (ndeploy/check). Every number is a `Limit`, a
`Support` or a `Price` with its source and one of the status words

    code        read in a public tool's source
    abstract    a paper's abstract
    quoted      a third party quoting the primary
    derived     arithmetic on numbers of the other kinds, given in the source
    unverified  from memory, assumed, or not published: the note says which

A limit whose value is None is no limit where its status is not "unverified", and an unknown limit where it is:
`unknown_limits` lists those, and the compiler says that it did not check them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ndeploy.errors import UsageError

STATUSES = ("code", "abstract", "quoted", "derived", "unverified")
UNITS = (
    "bits",
    "bytes",
    "neurons",
    "axons",
    "configurations",
    "cores",
    "chips",
    "chip steps",
    "exponent",
    "synapses",
    "routers",
)
PRICE_UNITS = ("J", "s", "W")
SCOPES = ("incremental", "all-in", "static")

FEATURES = (
    "input-bias",  # a constant added to the synaptic current
    "any-input-shift",  # synaptic input aligned to the state by any shift, not the fixed one
    "any-threshold",  # any value of the state's width as a threshold, not mantissa * 2^shift
    "any-bias",  # any value of the state's width as a bias, not mantissa * 2^exponent
    "reset-value",  # the membrane is set to a value other than zero
    "coincidence",  # products of binary messages (neurons that fire when both inputs do)
    "graded-product",  # products of graded messages
    "hold-and-release",  # neurons that keep a message and send (or multiply) it any number of chip steps later
    "stop",  # neurons that count their updates and stop after some
    "embedded-processor",  # a processor on the chip that reads and injects messages
)
"""What a program may need beyond neuron kinds, resets and widths."""

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


@dataclass(frozen=True)
class Limit:
    """The largest (or, in fields that end in _low, smallest) value allowed; None: see the module's docstring."""

    value: int | None
    unit: str
    source: str
    status: str
    note: str = ""

    @property
    def unknown(self) -> bool:
        """True where nobody has published the value, so nothing can be checked."""
        return self.value is None and self.status == "unverified"


@dataclass(frozen=True)
class Support:
    """Which of several named things the target has."""

    values: tuple[str, ...]
    source: str
    status: str
    note: str = ""

    def __contains__(self, name: str) -> bool:
        return name in self.values


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


def _priced(prices: tuple[Price, ...], event: str) -> Price | None:
    for name in (event, event.partition(".")[0]):
        for price in prices:
            if price.name == name:
                return price
    return None


@dataclass(frozen=True)
class Mesh:
    """Where a chip's cores are: width x height routers with `cores_per_router` cores each. Core c of chip k has number
    k * cores_per_chip + c, and is at router c // cores_per_router, counted along x first. Packets go along x, then
    along y. chips_wide: chips beside each other on a board (a grid, row by row); packets to other chips leave over the
    edge of the mesh."""

    width: Limit
    height: Limit
    cores_per_router: Limit
    chips_wide: Limit


@dataclass(frozen=True)
class CoreLimits:
    """What one core holds. A configuration is a distinct (decay, decay, refractory) or a distinct threshold."""

    neurons: Limit
    synaptic_memory: Limit
    in_axons: Limit
    out_axons: Limit
    neuron_configurations: Limit
    threshold_configurations: Limit
    state_memory: Limit


@dataclass(frozen=True)
class Widths:
    """Bit widths and ranges of parameters. delay: stored chip steps beyond the one that every projection takes;
    refractory: updates without a spike after one; payload: bits of a message, 1 is a binary spike."""

    weight: Limit
    weight_exponent_low: Limit
    weight_exponent_high: Limit
    delay: Limit
    decay: Limit
    state: Limit
    threshold_mantissa: Limit
    threshold_shift: Limit
    bias_mantissa: Limit
    bias_exponent: Limit
    refractory: Limit
    payload: Limit


@dataclass(frozen=True)
class Packing:
    """How synapses are laid down in a core's synaptic memory.

    The synapses of one axon are written in blocks of `block_synapses`; a block is `header` bits plus, for each
    synapse, its weight, delay, tag and (unless the axon reaches a run of neurons) index bits, rounded up to
    `allocation_unit`. weight_widths, index_widths: the field widths that exist; empty means any.
    """

    allocation_unit: Limit
    header: Limit
    block_synapses: Limit
    tag: Limit
    weight_widths: tuple[int, ...]
    index_widths: tuple[int, ...]
    conv_weight_sharing: bool
    source: str
    status: str
    note: str = ""


@dataclass(frozen=True)
class System:
    """A product the chip comes in."""

    name: str
    chips: Limit


@dataclass(frozen=True)
class Target:
    """A chip, or an executor without chip limits. placed: whether programs are laid out on cores at all."""

    name: str
    title: str
    placed: bool
    core: CoreLimits
    widths: Widths
    packing: Packing
    cores_per_chip: Limit
    systems: tuple[System, ...]
    neuron_kinds: Support
    resets: Support
    features: Support
    energy: tuple[Price, ...] = ()
    time: tuple[Price, ...] = ()
    static_power: Price | None = None
    notes: tuple[str, ...] = field(default=())
    covered: Mapping[str, str] = field(default_factory=dict)
    mesh: Mesh | None = None

    @property
    def table(self) -> PriceTable:
        """The target's own prices, composed of what is known."""
        return PriceTable(
            "default",
            f"composed for {self.name}",
            self.energy,
            self.time,
            self.static_power,
            self.covered,
            (self.name,),
        )

    def price(self, event: str) -> Price | None:
        """The energy of an event, None where nobody has published one."""
        return _priced(self.energy, event)

    def duration(self, event: str) -> Price | None:
        """The time of an event (those of `EVENTS`, and "barrier"), None where nobody has published one."""
        return _priced(self.time, event)


def limits(target: Target) -> Iterator[tuple[str, Limit]]:
    """Every limit with its path in the target, as "core.neurons"."""
    for group in ("core", "widths", "packing"):
        held = getattr(target, group)
        for item in fields(held):
            value = getattr(held, item.name)
            if isinstance(value, Limit) or item.type == "Limit":
                yield f"{group}.{item.name}", value
    yield "cores_per_chip", target.cores_per_chip
    for system in target.systems:
        yield f"systems.{system.name}", system.chips


def unknown_limits(target: Target) -> tuple[str, ...]:
    """Paths of the limits that nobody has published: what a fit cannot vouch for."""
    return tuple(path for path, limit in limits(target) if limit.unknown)


def _refuse(target: Target, path: str, why: str) -> UsageError:
    return UsageError(
        "ND410",
        f"target '{target.name}', {path}: {why}",
        help="mend the target's file; docs/targets.md describes every field",
    )


def _validate_limit(target: Target, path: str, limit: Any) -> None:
    if not isinstance(limit, Limit):
        raise _refuse(target, path, f"missing: a Limit is needed, found {limit!r}")
    if limit.unit not in UNITS:
        raise _refuse(target, path, f"unknown unit '{limit.unit}' (known: {', '.join(UNITS)})")
    if limit.value is not None and limit.value < 0 and limit.unit != "exponent":
        raise _refuse(target, path, f"negative value {limit.value}")
    _validate_source(target, path, limit)


def _validate_source(target: Target, path: str, item: Limit | Support | Price | Packing) -> None:
    if item.status not in STATUSES:
        raise _refuse(target, path, f"unknown status '{item.status}' (known: {', '.join(STATUSES)})")
    if not item.source.strip():
        raise _refuse(target, path, "no source")
    if item.status == "unverified" and not item.note.strip():
        raise _refuse(target, path, "unverified without a note that says what it is")


def _validate_price(target: Target, path: str, price: Price) -> None:
    if price.unit not in PRICE_UNITS:
        raise _refuse(target, path, f"unknown unit '{price.unit}' (known: {', '.join(PRICE_UNITS)})")
    if price.scope not in SCOPES:
        raise _refuse(target, path, f"unknown scope '{price.scope}' (known: {', '.join(SCOPES)})")
    values = (price.low, price.nominal, price.high)
    if not all(math.isfinite(value) for value in values) or min(values) < 0:
        raise _refuse(target, path, f"{values} are not three finite numbers >= 0")
    if not price.low <= price.nominal <= price.high:
        raise _refuse(target, path, f"low {price.low}, nominal {price.nominal}, high {price.high} are not in order")
    _validate_source(target, path, price)


def validate(target: Target) -> None:
    """Check that a target's data are whole.

    Raises UsageError ND410 naming the field: a missing limit, a negative value, an unknown unit, status, scope,
    feature or event, a number without a source, prices out of order, or all-in and incremental prices mixed.
    """
    for path, limit in limits(target):
        _validate_limit(target, path, limit)
    for name in ("neuron_kinds", "resets", "features"):
        _validate_source(target, name, getattr(target, name))
    _validate_source(target, "packing", target.packing)
    for feature in target.features.values:
        if feature not in FEATURES:
            raise _refuse(target, "features", f"unknown feature '{feature}' (known: {', '.join(FEATURES)})")
    for table, prices, known, unit in (
        ("energy", target.energy, PRICED, "J"),
        ("time", target.time, PRICED, "s"),
    ):
        for price in prices:
            path = f"{table}.{price.name}"
            if price.name not in known:
                raise _refuse(target, path, f"unknown event (known: {', '.join(known)})")
            if price.unit != unit:
                raise _refuse(target, path, f"unit '{price.unit}' where '{unit}' is needed")
            _validate_price(target, path, price)
        if len({price.scope for price in prices}) > 1:
            raise _refuse(target, table, "all-in and incremental prices in one table")
    if target.static_power is not None:
        _validate_price(target, "static_power", target.static_power)


def describe(target: Target) -> Mapping[str, Any]:
    """The target as JSON-like data for `ndeploy targets show`: every number beside its source and status."""

    def plain(item: Limit | Support | Price) -> dict[str, Any]:
        return {f.name: getattr(item, f.name) for f in fields(item)}

    packing = {
        name: getattr(target.packing, name)
        for name in ("weight_widths", "index_widths", "conv_weight_sharing", "source", "status", "note")
    }
    return {
        "name": target.name,
        "title": target.title,
        "placed": target.placed,
        "limits": {path: plain(limit) for path, limit in limits(target)},
        "packing": packing,
        "neuron_kinds": plain(target.neuron_kinds),
        "resets": plain(target.resets),
        "features": plain(target.features),
        "energy": [plain(price) for price in target.energy],
        "time": [plain(price) for price in target.time],
        "static_power": plain(target.static_power) if target.static_power else None,
        "unknown_limits": list(unknown_limits(target)),
        "notes": list(target.notes),
    }
