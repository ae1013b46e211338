"""EnergyReport: what a deployment costs a sample, as data. Reports (terminal, HTML, CSV, JSON) only show this.

All numbers are means over the samples run, per sample, in joules, seconds and events. `energy` is the dynamic energy of
the chip; static and host energy stand beside it, each with its own sum, because published measurements separate them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ndeploy.energy.ranges import Range, plain

GROUPS = ("chip", "static", "host", "load")
"""chip: dynamic energy of neurocores, mesh and embedded processor; static: power that flows whatever happens, times the
latency; host: messages in and out; load: once when the program is loaded, in no sum."""


@dataclass(frozen=True)
class Term:
    """One kind of event. name: as in `ndeploy.target.EVENTS`, or "static"; count: events a sample; energy: None where
    it has no price; unit_energy: the price of one event; source, status, node and note: the price's; covered: the name
    of the price that holds it already, so that its own energy is zero."""

    name: str
    group: str
    count: float
    energy: Range | None
    unit_energy: Range | None = None
    scope: str = ""
    source: str = ""
    status: str = ""
    note: str = ""
    covered: str = ""


@dataclass(frozen=True)
class LayerCost:
    """A population or product. counts: by event, those that fall on its own cores and packets; dense_synaptic_ops: what
    they would be if every neuron sent at every update; rate: messages a neuron and update; steps: nominal J by model
    step; energy: dynamic."""

    name: str
    kind: str
    neurons: int
    cores: int
    counts: Mapping[str, float]
    dense_synaptic_ops: float
    rate: float
    energy: Range | None
    steps: tuple[float, ...] = ()


@dataclass(frozen=True)
class CoreCost:
    """A core in use. chip, x, y: of its router on the mesh (-1 where the target has none); layers: what it holds;
    memory_share, neuron_share: of the core's limits, None where unlimited; busy: seconds of work a sample."""

    core: int
    chip: int
    x: int
    y: int
    layers: tuple[str, ...]
    neurons: int
    memory_bytes: int
    memory_share: float | None
    neuron_share: float | None
    counts: Mapping[str, float]
    energy: Range | None
    busy: Range | None


@dataclass(frozen=True)
class StepCost:
    """A model step (a tick of a CTM): counts by event, dynamic energy."""

    step: int
    counts: Mapping[str, float]
    energy: Range | None


@dataclass(frozen=True)
class LinkLoad:
    """A directed link of the mesh, from the router at (x, y) of a chip towards "east", "west", "north" or "south";
    packets a sample, and in its busiest model step."""

    chip: int
    x: int
    y: int
    towards: str
    packets: float
    peak: float


@dataclass(frozen=True)
class Baseline:
    """The same network without spikes. name: "dense float ANN" or "quantised ANN"; rules: whose accounting; macs,
    acs: operations a sample (`steps` passes of the network a sample); energy: J a sample; note: what it assumes."""

    name: str
    rules: str
    macs: float
    acs: float
    energy: Range
    source: str
    status: str
    note: str = ""
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EnergyReport:
    """What a sample costs.

    model: name of the price table; energy: dynamic energy of the chip, None where a used term has no price; bound: the
    sum of what is priced, when unpriced terms were allowed; static, host: their own sums; latency: from a sample's
    first input to its last output; interval: between the starts of two samples (1 / throughput); unpriced: what has no
    price, in sentences; not_modelled: what nobody counts; neurobench: NeuroBench's metrics by its names; placement:
    the placement's summary; provenance: the command, hashes and versions that reproduce the report; accuracy: fraction
    of labelled samples that were right.
    """

    target: str
    program: str
    model: str
    model_title: str
    label: str
    samples: int
    mode: str
    model_steps: int
    chip_steps: int
    terms: tuple[Term, ...]
    energy: Range | None
    bound: Range | None
    static: Range | None
    host: Range | None
    latency: Range | None
    interval: Range | None
    layers: tuple[LayerCost, ...]
    cores: tuple[CoreCost, ...]
    steps: tuple[StepCost, ...]
    links: tuple[LinkLoad, ...]
    unpriced: tuple[str, ...]
    not_modelled: tuple[str, ...]
    baselines: tuple[Baseline, ...] = ()
    neurobench: Mapping[str, Any] = field(default_factory=dict)
    placement: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    accuracy: float | None = None

    @property
    def total(self) -> Range | None:
        """Dynamic, static and host energy together, None unless each is known."""
        if self.energy is None or self.static is None or self.host is None:
            return None
        return self.energy + self.static + self.host

    @property
    def throughput(self) -> Range | None:
        """Samples a second: low is that of the longest interval."""
        if self.interval is None or self.interval.low <= 0:
            return None
        return Range(1 / self.interval.high, 1 / self.interval.nominal, 1 / self.interval.low)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the fields of the command line's contract."""
        found = asdict(self)
        for name in ("energy", "bound", "static", "host", "latency", "interval", "terms"):
            del found[name]
        return {
            "energy_joules": plain(self.energy),
            "bound_joules": plain(self.bound),
            "static_joules": plain(self.static),
            "host_joules": plain(self.host),
            "total_joules": plain(self.total),
            "latency_seconds": plain(self.latency),
            "interval_seconds": plain(self.interval),
            "throughput_per_second": plain(self.throughput),
            "terms": [_term(term) for term in self.terms],
            **{name: _lists(value) for name, value in found.items()},
        }


def _lists(value: Any) -> Any:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, list | tuple):
        return [_lists(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _lists(item) for name, item in value.items()}
    return value


def _term(term: Term) -> dict[str, Any]:
    found = asdict(term)
    del found["energy"], found["unit_energy"]
    each = term.unit_energy
    return {**found, **plain(term.energy), "unit": "J", "unit_joules": None if each is None else each.to_json()}
