"""Energy by hand, and what an honest report must not leave out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ndeploy import oracle
from ndeploy.energy import EnergyReport, Range, estimate
from ndeploy.errors import UsageError
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.ir.result import Counts
from ndeploy.neurons import CubaLif, Input
from ndeploy.place import place
from ndeploy.plugins import targets
from ndeploy.synapses import Dense
from ndeploy.target import Target

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
SYNOPS, UPDATES = 23.6e-12, 81e-12


def counts(**changes: Any) -> Counts:
    """Two samples: means of 20 and 9 synaptic operations, 5 input spikes, 3 of a, 1 of b."""
    made = Counts(
        {"1": np.array([16, 24]), "2": np.array([8, 10])},
        {"in": np.array([4, 6]), "a": np.array([2, 4]), "b": np.array([1, 1])},
        {"in": np.array([20, 20]), "a": np.array([15, 15]), "b": np.array([10, 10])},
    )
    return replace(made, **changes)


def of(name: str, program: Program = PROGRAM, counted: Counts | None = None) -> EnergyReport:
    target = targets()[name]
    return estimate(program, place(program, target), target, counted or counts())


def test_terms_are_counts_times_prices() -> None:
    report = of("loihi1")
    terms = {term.name: term for term in report.terms}
    assert terms["synaptic-op.dense"].count == 29
    assert terms["synaptic-op.dense"].energy == Range(29 * SYNOPS, 29 * SYNOPS, 29 * 35.5e-12)
    assert terms["neuron-update"].count == 25  # the host's inputs are no neurons
    assert terms["neuron-update"].energy == Range(25 * 52e-12, 25 * UPDATES, 25 * UPDATES)
    assert terms["spike"].count == 4
    assert terms["message"].count == 5 + 3  # each spike goes to one core; b has no targets
    assert report.energy is not None
    for bound in ("low", "nominal", "high"):
        assert getattr(report.energy, bound) == pytest.approx(sum(getattr(t.energy, bound) for t in report.terms))
    assert all(term.source and term.status for term in report.terms)
    assert "rough estimate" in report.label


def test_latency_is_steps_times_barrier_and_the_busiest_core() -> None:
    report = of("loihi1")  # everything on one core
    work = 29 * 3.5e-9 + 25 * 8.4e-9 + 3 * 5.1e-9  # nominal; the host sends the inputs' messages
    steps = 5 + 2
    assert report.latency is not None
    assert report.latency.nominal == pytest.approx(steps * (465e-9 + work / PROGRAM.chip_steps_per_sample))
    assert report.latency.low < report.latency.nominal < report.latency.high


def test_loihi2_prices_are_wide_and_unverified() -> None:
    report = of("loihi2")
    assert report.energy is not None
    assert report.energy.high > 20 * report.energy.low
    assert {term.status for term in report.terms} == {"unverified"}


def test_what_has_no_price_is_listed_and_not_in_the_total() -> None:
    target = targets()["loihi1"]
    without: Target = replace(target, energy=tuple(p for p in target.energy if p.name != "neuron-update"))
    whole, part = of("loihi1"), estimate(PROGRAM, place(PROGRAM, without), without, counts())
    assert any(line.startswith("neuron-update: 25") for line in part.unpriced)
    assert whole.energy is not None
    assert part.energy is not None
    assert whole.energy.nominal - part.energy.nominal == pytest.approx(25 * UPDATES)
    for report in (whole, part):
        assert any(line.startswith("host") for line in report.unpriced)
        assert any("static power" in line for line in report.unpriced)
    assert "0.104 W" in next(line for line in whole.unpriced if "static power" in line)


def test_embedded_products_are_listed_with_their_multiplies() -> None:
    product = Product("x", "a", "a", "b", (3,), (3,), "i,j->ij", realisation="embedded", delay=2)
    program = replace(
        PROGRAM,
        populations=(*PROGRAM.populations[:2], replace(PROGRAM.populations[2], shape=(9,), offset=3)),
        projections=PROGRAM.projections[:1],
        products=(product,),
    )
    messages = {"in": np.ones((2, 5, 4), dtype=np.int64)}
    report = of("loihi2", program, oracle.run(program, messages).counts)
    assert any("'x': 45 multiply-accumulates" in line for line in report.unpriced)


def test_lava_has_no_energy() -> None:
    report = of("lava")
    assert report.energy is None
    assert report.latency is None
    assert report.terms == ()
    assert report.to_json()["energy_joules"] == {"low": None, "nominal": None, "high": None}
    assert any(line.startswith("synaptic-op.dense: 29") for line in report.unpriced)


def test_counts_of_another_program_are_refused() -> None:
    with pytest.raises(UsageError) as refused:
        of("loihi1", counted=counts(spikes={"elsewhere": np.array([1])}))
    assert refused.value.code == "ND430"
    assert "elsewhere" in refused.value.message


def test_json_has_the_contract_fields() -> None:
    made = of("loihi1").to_json()
    assert made["energy_joules"].keys() == made["latency_seconds"].keys() == {"low", "nominal", "high"}
    assert {"name", "count", "low", "nominal", "high", "source"} <= made["terms"][0].keys()
    assert isinstance(made["unpriced"], list)


def test_more_cores_share_the_work() -> None:
    weight = np.ones((1000, 100), dtype=np.int16)
    populations = (Population("in", (100,), Input()), Population("a", (1000,), CubaLif(du=0, dv=0, vth=64), offset=1))
    program = Program(
        "wide", populations, (Projection("1", "in", "a", Dense(weight)),), (InputPort("in"),), (OutputPort("a"),), 4
    )
    target = targets()["loihi1"]
    halved = replace(target, core=replace(target.core, neurons=replace(target.core.neurons, value=500)))
    counted = Counts({"1": np.array([100_000])}, {"in": np.array([100]), "a": np.array([0])}, {"a": np.array([4000])})
    one, two = (estimate(program, place(program, t), t, counted) for t in (target, halved))
    assert one.latency is not None
    assert two.latency is not None
    assert two.latency.nominal < one.latency.nominal
    ones, twos = ({t.name: t.count for t in report.terms} for report in (one, two))
    assert twos["message"] == 2 * ones["message"] == 200
