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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ndeploy.errors import UsageError
from ndeploy.prices import (
    CHIP_EVENTS,
    EMBEDDED_EVENT,
    EVENTS,
    HOST_EVENTS,
    LOAD_EVENTS,
    PRICE_UNITS,
    PRICED,
    SCOPES,
    STATIC,
    STATUSES,
    Price,
    PriceTable,
    faults,
    source_faults,
)

__all__ = [
    "CHIP_EVENTS",
    "EMBEDDED_EVENT",
    "EVENTS",
    "FEATURES",
    "HOST_EVENTS",
    "LOAD_EVENTS",
    "PRICED",
    "PRICE_UNITS",
    "SCOPES",
    "STATIC",
    "STATUSES",
    "UNITS",
    "CoreLimits",
    "Limit",
    "Mesh",
    "Packing",
    "Price",
    "PriceTable",
    "Support",
    "System",
    "Target",
    "Widths",
    "describe",
    "limits",
    "unknown_limits",
    "validate",
]

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
        return self.table.price(event)

    def duration(self, event: str) -> Price | None:
        """The time of an event (those of `EVENTS`, and "barrier"), None where nobody has published one."""
        return self.table.duration(event)


def limits(target: Target) -> Iterator[tuple[str, Limit]]:
    """Every limit with its path in the target, as "core.neurons"."""
    for group in ("core", "widths", "packing"):
        held = getattr(target, group)
        for item in fields(held):
            value = getattr(held, item.name)
            if isinstance(value, Limit) or item.type == "Limit":
                yield f"{group}.{item.name}", value
    yield "cores_per_chip", target.cores_per_chip
    if target.mesh is not None:
        yield from ((f"mesh.{item.name}", getattr(target.mesh, item.name)) for item in fields(target.mesh))
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


def _validate_source(target: Target, path: str, item: Limit | Support | Packing) -> None:
    for why in source_faults(item.source, item.status, item.note):
        raise _refuse(target, path, why)


def _validate_mesh(target: Target, mesh: Mesh) -> None:
    sizes = [getattr(mesh, name).value for name in ("width", "height", "cores_per_router")]
    for name in ("width", "height", "cores_per_router", "chips_wide"):
        value = getattr(mesh, name).value
        if (value is None and name != "chips_wide") or (value is not None and value < 1):
            raise _refuse(target, f"mesh.{name}", f"{value} where a number >= 1 is needed")
    cores, room = target.cores_per_chip.value, sizes[0] * sizes[1] * sizes[2]
    if cores is not None and cores > room:
        raise _refuse(target, "mesh", f"room for {room} cores, and cores_per_chip is {cores}")


def validate(target: Target) -> None:
    """Check that a target's data are whole.

    Raises UsageError ND410 naming the field: a missing limit, a negative value, an unknown unit, status, scope,
    feature or event, a number without a source, prices out of order, all-in and incremental prices mixed, an event
    called covered by a price that is not there, or a mesh without room for the chip's cores.
    """
    for path, limit in limits(target):
        _validate_limit(target, path, limit)
    for name in ("neuron_kinds", "resets", "features"):
        _validate_source(target, name, getattr(target, name))
    _validate_source(target, "packing", target.packing)
    for feature in target.features.values:
        if feature not in FEATURES:
            raise _refuse(target, "features", f"unknown feature '{feature}' (known: {', '.join(FEATURES)})")
    for path, why in faults(target.table):
        raise _refuse(target, path, why)
    if target.mesh is not None:
        _validate_mesh(target, target.mesh)


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
        "covered": dict(target.covered),
        "unknown_limits": list(unknown_limits(target)),
        "notes": list(target.notes),
    }
