"""Energy by hand, and what an honest report must not leave out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from two_layers import PROGRAM, activity, table

from ndeploy import oracle
from ndeploy.energy.coarse import energy_of_counts
from ndeploy.energy.estimate import estimate
from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport
from ndeploy.errors import UsageError
from ndeploy.ir.program import Product, Program
from ndeploy.ir.result import Counts
from ndeploy.place import place
from ndeploy.plugins import targets
from ndeploy.target import PriceTable

TARGET = targets()["loihi1"]


def of(prices: PriceTable | None = None, program: Program = PROGRAM, allow_unpriced: bool = False) -> EnergyReport:
    placed = place(program, TARGET)
    return estimate(program, placed, TARGET, activity(program), prices or table(), allow_unpriced=allow_unpriced)


def test_terms_are_counts_times_prices() -> None:
    report = of()
    terms = {term.name: term for term in report.terms}
    fired = int(activity().messages["a"].sum())
    assert fired > 0
    # means of two samples, one of which is silent: three spikes to three neurons, then a's to two of b
    assert terms["synaptic-op.dense"].count == (9 + 2 * fired) / 2
    assert terms["axon-in"].count == terms["message"].count == (3 + fired) / 2
    updates = terms["neuron-update.active"].count + terms["neuron-update.idle"].count
    assert updates == 5 * (3 + 2)
    assert terms["spike"].count == int(activity().messages["a"].sum() + activity().messages["b"].sum()) / 2
    assert terms["barrier"].count == PROGRAM.chip_steps_per_sample  # one core
    assert terms["host-byte.in"].count == 3 * 4 / 2
    assert terms["host-byte.in"].energy == Range(6.0, 12.0, 24.0)
    assert terms["neuron-rest"].count == 5 * 2  # two chip steps in which a waits for its start, or has ended, or b
    for term in report.terms:
        if term.group == "chip":
            assert term.energy == Range(0 if term.name == "neuron-rest" else term.count / 2, term.count, term.count * 2)
    assert report.energy is not None
    assert report.energy.nominal == pytest.approx(sum(t.count for t in report.terms if t.group == "chip"))
    assert all(term.source and term.status for term in report.terms)


def test_static_host_and_load_stand_beside_the_dynamic_energy() -> None:
    report = of()
    assert report.energy is not None
    assert report.static is not None
    assert report.host is not None
    assert report.interval is not None
    assert report.static.nominal == pytest.approx(report.interval.nominal)  # 1 W
    assert report.static.low == pytest.approx(report.interval.low / 2)
    assert report.total is not None
    assert report.total.nominal == pytest.approx(report.energy.nominal + report.static.nominal + report.host.nominal)
    load = next(term for term in report.terms if term.group == "load")
    assert load.count == report.placement["weight_memory_bytes"] + report.placement["state_memory_bytes"]


def test_latency_is_the_barriers_and_the_work_of_the_busiest_core() -> None:
    report = of()  # everything on one core: work is that of all events
    terms = {term.name: term.count for term in report.terms}
    work = terms["synaptic-op.dense"] + terms["neuron-update.active"] + terms["neuron-update.idle"]
    rest = terms["neuron-rest"]
    chip_steps = PROGRAM.chip_steps_per_sample
    assert report.latency == report.interval
    assert report.latency is not None
    assert report.latency.nominal == pytest.approx(10 * chip_steps + work + rest)
    assert report.latency.low == pytest.approx((10 * chip_steps + work) / 2)
    assert report.cores[0].busy is not None
    assert report.cores[0].busy.nominal == pytest.approx(work + rest)


def test_a_pipelined_program_takes_samples_faster_than_it_answers() -> None:
    report = of(program=replace(PROGRAM, mode="pipelined"))
    assert report.latency is not None
    assert report.interval is not None
    # five chip steps, and two more to the last layer's last update: those in which the next sample starts
    start = 2 * (10 + 5) + 9 / 2 + 2 * 3 / 2  # barriers and five updates; what the mean sample sends to a, then to b
    assert report.latency.nominal == pytest.approx(report.interval.nominal + start)
    assert all(term.name != "neuron-rest" for term in report.terms)


def test_no_total_where_a_used_event_has_no_price() -> None:
    prices = table(neuron_update_idle=0)
    report = of(prices)
    assert report.energy is None
    assert report.bound is None
    assert report.total is None
    assert any(line.startswith("neuron-update.idle: ") for line in report.unpriced)
    bounded = of(prices, allow_unpriced=True)
    assert bounded.energy is None
    whole = of()
    idle = next(term for term in whole.terms if term.name == "neuron-update.idle")
    assert bounded.bound is not None
    assert whole.energy is not None
    assert bounded.bound.nominal == pytest.approx(whole.energy.nominal - idle.count - 10)  # and who rests


def test_what_another_price_holds_costs_nothing_of_its_own() -> None:
    covered = replace(table(memory_read=0), covered={"memory-read": "in the synaptic operation"})
    term = next(term for term in of(covered).terms if term.name == "memory-read")
    assert (term.energy, term.covered) == (Range(0.0, 0.0, 0.0), "in the synaptic operation")
    assert of(covered).energy is not None


def test_layers_cores_and_steps_add_up_to_the_total() -> None:
    report = of()
    assert report.energy is not None
    barrier, rest = (next(t.count for t in report.terms if t.name == name) for name in ("barrier", "neuron-rest"))
    of_layers = [layer.energy.nominal for layer in report.layers if layer.energy is not None]
    assert len(of_layers) == 2
    assert sum(of_layers) == pytest.approx(report.energy.nominal - barrier)
    assert sum(c.energy.nominal for c in report.cores if c.energy) == pytest.approx(report.energy.nominal)
    by_step = report.energy.nominal - barrier - rest
    assert sum(s.energy.nominal for s in report.steps if s.energy) == pytest.approx(by_step)
    assert sum(sum(layer.steps) for layer in report.layers) == pytest.approx(by_step)
    a = report.layers[0]
    assert a.rate == int(activity().messages["a"].sum()) / (2 * 3 * 5)
    assert a.dense_synaptic_ops == 4 * 3 * 5


def test_embedded_products_are_charged_to_the_processor() -> None:
    product = Product("x", "a", "a", "b", (3,), (3,), "i,j->ij", realisation="embedded", delay=2)
    program = replace(
        PROGRAM,
        populations=(*PROGRAM.populations[:2], replace(PROGRAM.populations[2], shape=(9,), offset=3)),
        projections=PROGRAM.projections[:1],
        products=(product,),
    )
    target = targets()["loihi2"]
    report = estimate(program, place(program, target), target, activity(program), table(embedded_op=0))
    assert any(line.startswith("embedded-op: 45 a sample") for line in report.unpriced)
    assert report.energy is None


def test_lava_has_no_energy() -> None:
    target = targets()["lava"]
    report = estimate(PROGRAM, place(PROGRAM, target), target, activity())
    assert report.energy is None
    assert report.latency is None
    assert report.to_json()["energy_joules"] == {"low": None, "nominal": None, "high": None}
    assert any(line.startswith("synaptic-op.dense: ") for line in report.unpriced)
    assert report.cores == ()


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_the_targets_own_prices_give_totals(name: str) -> None:
    target = targets()[name]
    report = estimate(PROGRAM, place(PROGRAM, target), target, activity())
    for value in (report.energy, report.latency, report.static, report.host, report.total):
        assert value is not None
        assert 0 < value.low <= value.nominal <= value.high


def test_json_has_the_contract_fields() -> None:
    made = of().to_json()
    assert made["energy_joules"].keys() == made["latency_seconds"].keys() == {"low", "nominal", "high"}
    assert {"name", "count", "low", "nominal", "high", "source"} <= made["terms"][0].keys()
    assert isinstance(made["unpriced"], list)


def test_counts_alone_give_nearly_the_same_energy() -> None:
    messages = (np.random.default_rng(1).random((6, 5, 4)) < 0.5).astype(np.int64)
    placed = place(PROGRAM, TARGET)
    counts = oracle.run(PROGRAM, {"in": messages}).counts
    report = estimate(PROGRAM, placed, TARGET, activity(messages=messages))
    coarse = energy_of_counts(PROGRAM, placed, TARGET, counts)
    assert coarse is not None
    assert report.energy is not None
    assert coarse.nominal == pytest.approx(report.energy.nominal, rel=0.1)


def test_counts_of_another_program_are_refused() -> None:
    counts = Counts({"1": np.array([1])}, {"elsewhere": np.array([1])}, {})
    with pytest.raises(UsageError) as refused:
        energy_of_counts(PROGRAM, place(PROGRAM, TARGET), TARGET, counts)
    assert refused.value.code == "ND430"
    assert "elsewhere" in refused.value.message
