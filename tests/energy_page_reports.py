"""Energy reports made by hand: a small one whose sums are right, and large ones."""

from __future__ import annotations

from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.result import Baseline, CoreCost, EnergyReport, LayerCost, LinkLoad, StepCost, Term

DAVIES = "Davies 2018, Table 2, 0.75 V, pre-silicon simulation"
SANAFE = "SANA-FE loihi.yaml, fitted on Nahuku"
UNIT = {
    "synaptic-op.dense": Range(15e-12, 23.6e-12, 35.5e-12),
    "neuron-update.active": Range(60e-12, 81e-12, 142e-12),
    "neuron-update.idle": Range(30e-12, 52e-12, 52e-12),
    "message": Range(0.5e-10, 1.11e-10, 2e-10),
    "hop.east-west": Range(2e-12, 3e-12, 6e-12),
}
"""Joules an event."""


def term(name: str, count: float, each: Range | None, group: str = "chip", status: str = "quoted") -> Term:
    source = (DAVIES if status == "quoted" else SANAFE) if each is not None else ""
    energy = None if each is None else each.times(count)
    return Term(name, group, count, energy, each, "incremental", source, status if each is not None else "", "")


def summed(parts: list[Range]) -> Range:
    return sum(parts, ZERO)


def priced(counts: dict[str, float]) -> Range:
    return summed([UNIT[event].times(n) for event, n in counts.items() if event in UNIT])


def layer(name: str, neurons: int, cores: int, rate: float, fan_in: int, steps: int) -> LayerCost:
    updates = float(neurons * steps)
    counts = {
        "synaptic-op.dense": rate * updates * fan_in,
        "neuron-update.active": rate * updates,
        "neuron-update.idle": (1 - rate) * updates,
        "message": rate * updates,
        "hop.east-west": 2.5 * rate * updates,
        "spike": rate * updates,
    }
    energy = priced(counts)
    profile = [1.0 + (i % 5) for i in range(steps)]
    share = [energy.nominal * p / sum(profile) for p in profile]
    return LayerCost(name, "cuba-lif", neurons, cores, counts, updates * fan_in, rate, energy, tuple(share))


def made(layers: int = 3, cores: int = 8, steps: int = 16, name: str = "digits") -> EnergyReport:
    """A report that adds up: layers, cores and steps each hold all of the dynamic energy but the barriers'."""
    rows = tuple(
        layer(f"{'conv' if i % 2 else 'dense'}{i}", 128 * (i + 1), 1 + i, 0.3 / (i + 1), 100, steps)
        for i in range(layers)
    )
    counts: dict[str, float] = {}
    for row in rows:
        for event, n in row.counts.items():
            counts[event] = counts.get(event, 0.0) + n
    barrier = Range(1e-11, 2e-11, 4e-11)
    terms = [term(event, n, UNIT[event]) for event, n in counts.items() if event in UNIT]
    terms.append(Term("spike", "chip", counts["spike"], ZERO, ZERO, covered="neuron-update"))
    terms.append(term("barrier", float(cores * steps), barrier, status="code"))
    energy = summed([t.energy for t in terms if t.energy is not None])
    per_core = summed([row.energy for row in rows if row.energy is not None])
    weight = [1.0 / (i + 1) for i in range(cores)]
    on_cores = tuple(
        CoreCost(
            i,
            i // 128,
            (i // 4) % 8,
            (i // 32) % 4,
            (rows[i % layers].name,),
            256,
            65536 - 50 * i,
            0.5 - i / 5000,
            0.25,
            {event: n * weight[i] / sum(weight) for event, n in counts.items()},
            per_core.times(weight[i] / sum(weight)) + barrier.times(steps),
            Range(1e-6, 2e-6, 5e-6).times(weight[i]),
        )
        for i in range(cores)
    )
    profile = [1.0 + 0.5 * (i % 4) for i in range(steps)]
    by_step = tuple(
        StepCost(i, {"spike": counts["spike"] * p / sum(profile)}, per_core.times(p / sum(profile)))
        for i, p in enumerate(profile)
    )
    static = Range(0.1, 0.232, 0.3)
    latency = Range(40e-6, 90e-6, 200e-6)
    power = Range(static.low * latency.low, static.nominal * latency.nominal, static.high * latency.high)
    host = [
        term("host-byte.in", 784.0, Range(1e-11, 5e-11, 3e-10), "host", "code"),
        term("host-byte.out", 40.0, ZERO, "host"),
    ]
    load = term("configuration-byte", 125000.0, None, "load")
    return EnergyReport(
        target="loihi2",
        program=name,
        model="default",
        model_title="composed for loihi2",
        label="estimate from exact counts and cited prices: dynamic energy of the chip",
        samples=64,
        mode="fall-through",
        model_steps=steps,
        chip_steps=2 * steps,
        terms=(
            *terms,
            Term("static", "static", 1.0, power, static, "static", "lava-dl notebook, Oheo Gulch", "code", "1 chip"),
            *host,
            load,
        ),
        energy=energy,
        bound=None,
        static=power,
        host=summed([t.energy for t in host if t.energy is not None]),
        latency=latency,
        interval=latency,
        layers=rows,
        cores=on_cores,
        steps=by_step,
        links=(LinkLoad(0, 0, 0, "east", 120.0, 14.0),),
        unpriced=("configuration-byte: 125000 once, no price known",),
        not_modelled=("queues in the mesh: latency is a lower bound", "the host's own processor and its board"),
        baselines=(
            against("dense float ANN", "Horowitz 2014", 1e6, 0, 4.6e-12),
            against("quantised ANN", "Horowitz 2014", 1e6, 0, 0.23e-12),
            against("spiking network", "Horowitz 2014", 0, 9e5, 0.03e-12),
            against("quantised ANN", "Lemaire 2022", 1e6, 0, 6.6e-12),
            against("spiking network", "Lemaire 2022", 0, 9e5, 9.5e-12),
        ),
        neurobench={"footprint": 125000, "connection_sparsity": 0.12, "synaptic_operations": {"Effective_ACs": 9e5}},
        placement={"cores": cores, "cores_lower_bound": cores - 1, "bound_by": "synaptic memory", "notes": []},
        provenance={"command": f"ndeploy energy {name}.ndp --data x.npy", "artifact_sha256": "ab" * 32},
        accuracy=0.9625,
    )


def against(name: str, rules: str, macs: float, acs: float, each: float) -> Baseline:
    nominal = (macs + acs) * each
    energy = Range(nominal / 1.5, nominal, nominal * 1.5)
    terms = {"operations": 0.2 * nominal, "parameters": 0.8 * nominal}
    return Baseline(
        name, rules, macs, acs, energy, f"{rules}, as spikingjelly has it", "code", "one pass a sample", terms
    )
