"""The same network without spikes, and with them, under the same rules: whether spiking pays.

Three rows for each set of rules: the dense network in float32; the bit-matched quantised network, with the program's
weight widths and activations of as many bits as the spikes of a sample can tell apart; and the program as it was run,
event by event. The rules are Horowitz's operations alone, and Lemaire's with memory traffic. They say nothing about a
chip: docs/baselines.md lists what each row assumes, and the chip's own estimate stands apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil, log2

from ndeploy.energy import horowitz, lemaire
from ndeploy.energy.horowitz import Arithmetic
from ndeploy.energy.lemaire import Energies, Widths
from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.result import Baseline
from ndeploy.energy.thumbs import thumbs
from ndeploy.energy.workload import POTENTIAL_BITS, Layer, Node, Workload, workload
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity

FLOAT, QUANTISED = "dense float ANN", "quantised ANN"
SPIKING, GRADED = "spiking network", "graded network, event by event"
OPERATIONS = "Horowitz: operations only"
MEMORY = "Lemaire: operations and memory"
DECAY_BITS = 12
"""Width of a decay (docs/program.md), with which a leak multiplies a state."""
FLOAT_WIDTHS = Widths(4.0, 4.0, 4.0, 4.0)

ActivationBits = Callable[[Layer], int]


def baselines(program: Program, activity: Activity, static: bool | None = None) -> tuple[Baseline, ...]:
    """Six rows, joules a sample.

    static: whether a sample is one image shown at every model step, which an ANN evaluates once; None: it is taken to
    be where every input neuron sent equally often at every step.
    """
    work = workload(program, activity, static)
    return (*_by_operations(work), *_by_memory(work))


def _by_operations(work: Workload) -> tuple[Baseline, ...]:
    """Every multiply-accumulation and accumulation; no memory, no neuron."""

    def row(name: str, parts: Iterable[tuple[Range, Range]], macs: float, acs: float, note: str) -> Baseline:
        made = list(parts)
        mac, ac = _sum(m for m, _ in made), _sum(a for _, a in made)
        terms = {"multiply-accumulations": mac.nominal, "accumulations": ac.nominal}
        return Baseline(name, OPERATIONS, macs, acs, mac + ac, horowitz.SOURCE, horowitz.STATUS, note, _present(terms))

    floats = horowitz.floats()
    bits = _activation_bits(work)
    whole = [(floats.mac.times(x.macs * x.passes), floats.add.times(x.adds * x.passes)) for x in work.layers]
    least, nominal = _quantised(work, _fewest_bits(work)), _quantised(work, bits)
    coarse = [(_span(a, b), _span(c, d)) for (a, c), (b, d) in zip(least, nominal, strict=True)]
    events = [_visits(layer) for layer in work.layers]
    macs, adds = _ann_macs(work), sum(x.adds * x.passes for x in work.layers)
    binary = sum(x.macs * x.passes for x in work.layers if bits(x) <= 1)
    dense = row(FLOAT, whole, macs, adds, _passes(work))
    quantised = row(QUANTISED, coarse, macs - binary, adds + binary, f"{_passes(work)} {_widths(work)}")
    acs = sum(x.visits for x in work.layers if x.spikes)
    own = row(SPIKING if work.spiking else GRADED, events, sum(x.visits for x in work.layers if not x.spikes), acs, "")
    note = f"{_against(own, quantised)} Neuron updates cost nothing under these rules. {_thumbs(work)}"
    return dense, quantised, _noted(own, note + _outside(work))


def _by_memory(work: Workload) -> tuple[Baseline, ...]:
    def row(name: str, found: Energies, macs: float, acs: float, note: str) -> Baseline:
        terms = {term: value.nominal for term, value in found.items()}
        energy = _sum(found.values())
        return Baseline(name, MEMORY, macs, acs, energy, lemaire.SOURCE, lemaire.STATUS, note, _present(terms))

    floats = horowitz.floats()
    bits = _activation_bits(work)
    first = {layer.target: layer.name for layer in reversed(work.layers)}
    bias = {first[node.name]: node.bias for node in work.nodes if node.name in first}

    def ann(price: Callable[[Layer], Arithmetic], widths: Callable[[Layer], Widths]) -> dict[str, Range]:
        layers = [lemaire.dense(x, price(x), widths(x), bias.get(x.name, 0)) for x in work.layers if x.macs + x.adds]
        by_target = {x.target: widths(x) for x in work.layers}
        nodes = [lemaire.outputs(n, by_target.get(n.name, FLOAT_WIDTHS)) for n in work.nodes if not n.relayed]
        return lemaire.total([*layers, *nodes])

    def quantised(choose: ActivationBits) -> dict[str, Range]:
        return ann(
            lambda x: horowitz.integers(x.weight_bits, choose(x)),
            lambda x: Widths(x.weight_bits / 8, choose(x) / 8, POTENTIAL_BITS / 8, choose(x) / 8),
        )

    biases = sum(n.size * n.passes for n in work.nodes if n.bias)
    macs, adds = _ann_macs(work), sum(x.adds * x.passes for x in work.layers) + biases
    binary = sum(x.macs * x.passes for x in work.layers if bits(x) <= 1)
    least, nominal = quantised(_fewest_bits(work)), quantised(bits)
    dense = row(FLOAT, ann(lambda _: floats, lambda _: FLOAT_WIDTHS), macs, adds, _passes(work))
    coarse = row(
        QUANTISED,
        {term: _span(least[term], nominal[term]) for term in nominal},
        macs - binary,
        adds + binary,
        f"{_passes(work)} {_widths(work)}",
    )
    leaks = sum(n.size * n.updates for n in work.nodes if n.leak)
    resets = sum(n.sent + (n.size * n.updates if n.bias else 0) for n in work.nodes)
    own = row(
        SPIKING if work.spiking else GRADED,
        lemaire.total([*(_events(x) for x in work.layers), *(_updates(n) for n in work.nodes)]),
        sum(x.visits for x in work.layers if not x.spikes) + leaks,
        sum(x.visits for x in work.layers if x.spikes) + resets,
        "",
    )
    return dense, coarse, _noted(own, _against(own, coarse) + _outside(work))


def _quantised(work: Workload, bits: ActivationBits) -> list[tuple[Range, Range]]:
    """(multiply-accumulations, accumulations) of every layer; with one-bit activations they only accumulate."""
    found = []
    for layer in work.layers:
        price = horowitz.integers(layer.weight_bits, bits(layer))
        plain = bits(layer) <= 1
        macs, adds = layer.macs * layer.passes, layer.adds * layer.passes
        mac, ac = price.mac.times(0 if plain else macs), price.add.times(adds + (macs if plain else 0))
        found.append((mac, ac))
    return found


def _visits(layer: Layer) -> tuple[Range, Range]:
    price = horowitz.integers(layer.weight_bits, layer.payload)
    return (ZERO, price.add.times(layer.visits)) if layer.spikes else (price.mac.times(layer.visits), ZERO)


def _events(layer: Layer) -> Energies:
    address = max(1, ceil(log2(max(2, layer.inputs))))
    message = (address + (0 if layer.spikes else layer.payload)) / 8
    widths = Widths(layer.weight_bits / 8, 0.0, POTENTIAL_BITS / 8, message)
    return lemaire.events(layer, horowitz.integers(layer.weight_bits, layer.payload), widths)


def _updates(node: Node) -> Energies:
    address = max(1, ceil(log2(max(2, node.size))))
    message = (address + (0 if node.spikes else node.payload)) / 8
    widths = Widths(POTENTIAL_BITS / 8, 0.0, POTENTIAL_BITS / 8, message)
    return lemaire.updates(node, horowitz.integers(POTENTIAL_BITS, DECAY_BITS), widths, node.bias)


def _activation_bits(work: Workload) -> ActivationBits:
    """Bits that carry what the messages of one evaluation can: of T spikes there are T + 1 counts; graded messages
    keep theirs; at every step of a sequence a spike stands for a number of as many bits as a weight has."""

    def bits(layer: Layer) -> int:
        if layer.first or not layer.spikes:
            return layer.payload
        return ceil(log2(work.steps + 1)) if work.once else layer.weight_bits

    return bits


def _fewest_bits(work: Workload) -> ActivationBits:
    """As `_activation_bits`, but one bit for a spike of a sequence: the same bit budget at every step."""
    most = _activation_bits(work)
    return most if work.once else lambda layer: 1 if layer.spikes else most(layer)


def _ann_macs(work: Workload) -> float:
    return float(sum(x.macs * x.passes for x in work.layers))


def _sum(ranges: Iterable[Range]) -> Range:
    return sum(ranges, ZERO)


def _span(least: Range, nominal: Range) -> Range:
    return Range(min(least.low, nominal.low), nominal.nominal, nominal.high)


def _present(terms: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in terms.items() if value}


def _noted(row: Baseline, note: str) -> Baseline:
    return Baseline(row.name, row.rules, row.macs, row.acs, row.energy, row.source, row.status, note.strip(), row.terms)


def _passes(work: Workload) -> str:
    if work.once:
        return "One pass a sample: the input is one image and nothing loops."
    return f"A pass at each of {work.steps} model steps: the input is a sequence or the network loops."


def _widths(work: Workload) -> str:
    if work.once:
        bits = ceil(log2(work.steps + 1))
        return (
            f"Weights as the program's; {bits}-bit activations for {work.steps} spikes, graded ones as the program's."
        )
    return (
        "Weights as the program's; activations as wide as weights where the program sends spikes (low: one bit, the "
        "same bit budget), graded ones as the program's."
    )


def _against(own: Baseline, ann: Baseline) -> str:
    """What the two rows together say. They share their constants, so low stands against low and high against high."""
    pairs = [(getattr(own.energy, end), getattr(ann.energy, end)) for end in ("low", "nominal", "high")]
    if ann.energy.nominal <= 0:
        return "The quantised ANN has no priced operation to compare with."
    ratio = own.energy.nominal / ann.energy.nominal
    if all(a < b for a, b in pairs):
        said = "less at either bound"
    elif all(a > b for a, b in pairs):
        said = "more at either bound"
    else:
        said = "less at one bound and more at the other, so neither is known to cost less"
    return f"{ratio:.3g} times the quantised ANN under these rules: {said}."


def _thumbs(work: Workload) -> str:
    found: Sequence[str] = [f"{x.value:.3g} {x.name}: {x.verdict} ({x.source}; {x.status})." for x in thumbs(work)]
    return " ".join(found)


def _outside(work: Workload) -> str:
    if not work.outside:
        return ""
    named = ", ".join(f"'{name}'" for name in work.outside[:4]) + (" and others" if len(work.outside) > 4 else "")
    return f" In no row: what runs on the embedded processor ({named})."
