"""Graded networks on cores: embedded populations, words of memory, what is charged, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lava_cases import NEW_KINDS, chain, random_messages, static_attention
from small_targets import small

from ndeploy import oracle
from ndeploy.energy.estimate import estimate
from ndeploy.errors import RefusedError
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Affine, CubaLif, Gate, Input, LayerNorm, Neuron, Register, Sigma, Softmax, Synchrony
from ndeploy.place import place
from ndeploy.place.state import configuration, population_words
from ndeploy.plugins import targets
from ndeploy.summary import summarise
from ndeploy.target import EMBEDDED_EVENT, Price

GRADED = Input(bits=5, signed=True)
EACH = np.arange(6)


def words(neuron: Neuron, updates: int | None = None) -> int:
    made = chain(neuron, source=GRADED, steps=5)
    return population_words(made, replace(made.populations[1], updates=updates))


@pytest.mark.parametrize(
    ("neuron", "n"),
    [
        (Affine(8, multiplier=3, shift=2), 1),  # its accumulator; the rest is shared
        (Affine(8, multiplier=EACH, shift=2, bias=EACH), 3),
        (Affine(8, multiplier=np.full(6, 7)), 1),  # an array of one value is no parameter of its own
        (Gate(8, bias=EACH, gate_bias=EACH, multiplier=EACH), 5),  # two accumulators
        (Synchrony(8, 4096, np.tile(np.arange(9)[:, None], (1, 6))), 4),  # two accumulators, alpha, tick; shared table
        (Synchrony(8, EACH, np.arange(54).reshape(9, 6)), 4 + 1 + 9),  # and a decay and nine entries of each pair
        (Register(8, start=EACH), 3),
        (Sigma(start=0), 2),
        (LayerNorm(8, (6,), 0, 1, multiplier=EACH, gain=EACH), 1),  # the sum; the rest is the processor's
        (Softmax(8, (6,)), 1),
        (CubaLif(4095, EACH, 64), 4),
    ],
)
def test_words_of_a_neuron(neuron: Neuron, n: int) -> None:
    assert words(neuron) == words(neuron, updates=5) == n
    if not neuron.embedded:
        assert words(neuron, updates=2) == n + 1, "it counts its updates"


def test_a_configuration_is_what_neurons_share() -> None:
    def of(neuron: Neuron) -> Any:
        return configuration(Population("a", (6,), neuron))

    assert of(Affine(8, multiplier=EACH)) == of(Affine(8, multiplier=EACH + 1)) != of(Affine(9, multiplier=EACH))
    assert of(Affine(8, shift=3)) != of(Affine(8, shift=4))
    assert of(Softmax(8, (6,))) == of(LayerNorm(8, (6,), 0, 1)), "on cores both only gather sums"
    assert of(CubaLif(4095, 0, 64)) is None


def test_state_memory_limits_what_a_core_holds() -> None:
    program = chain(NEW_KINDS["synchrony"], source=GRADED)
    each = 4 * words(NEW_KINDS["synchrony"])
    placed = place(program, small(100, 10**6, 100, 100, 9, False, 2 * each))
    assert (placed.cores, placed.cores_lower_bound, placed.bound_by) == (3, 3, "state memory")
    assert placed.state_memory_bytes == 6 * each
    assert [use.state_bytes for use in placed.use] == [2 * each] * 3
    with pytest.raises(RefusedError, match="state memory") as refused:
        place(program, small(100, 10**6, 100, 100, 9, False, each - 1))
    assert refused.value.code == "ND402"


@pytest.mark.parametrize("realisation", ["parallel", "streamed", "embedded"])
def test_embedded_operations_are_listed(realisation: str) -> None:
    program = static_attention(realisation)
    for name in ("loihi2", "lava"):
        placed = place(program, targets()[name])
        listed = {op["name"]: op for op in placed.summary()["embedded_ops"]}
        assert listed["attention"]["operations"] == 9 * 8 * 6
        assert listed["attention"]["multiply_accumulates"] == 0
        assert listed["attention"]["kind"] == "embedded"
        assert "softmax of 8 sums, 6 times a sample" in listed["attention"]["reason"]
        products = {"scores": 24 * 6, "mixed": 24 * 6} if realisation == "embedded" else {}
        assert {n: op["operations"] for n, op in listed.items() if n != "attention"} == products
    assert summarise(program).embedded_operations == 9 * 8 * 6 + sum(products.values())


def test_what_stops_is_worked_out_once() -> None:
    program = chain(NEW_KINDS["layer norm"], source=GRADED, steps=5)
    once = replace(program, populations=(program.populations[0], replace(program.populations[1], updates=1)))
    each, one = (place(p, targets()["loihi2"]).embedded_ops[0].operations for p in (program, once))
    assert each == 5 * one


def test_the_processor_sends_for_its_populations() -> None:
    """The sums of each core go to the processor; its messages to every core that holds a target."""
    program = static_attention()
    placed = place(program, targets()["loihi2"])
    assert placed.sizes["attention"] == 8
    assert placed.axons["attention"] == 8, "to the core of the products' neurons"
    (use,) = placed.use
    cores_own = 24 + 24 + 6 + 6 + 6  # k, v, q, and context to z, z to q: one box each
    products = 24 + 24  # their neurons onto their targets
    assert use.out_axons == cores_own + products + 8  # and the sums of attention


def _report(program: Program, energy: float = 0.0, time: float = 0.0) -> Any:
    base = targets()["loihi2"]

    def with_price(prices: tuple[Price, ...], value: float, unit: str) -> tuple[Price, ...]:
        others = tuple(price for price in prices if price.name != EMBEDDED_EVENT)
        own = Price(EMBEDDED_EVENT, value, value, value, unit, "incremental", "a test", "unverified", "a test")
        return (*others, own) if value else others

    target = replace(base, energy=with_price(base.energy, energy, "J"), time=with_price(base.time, time, "s"))
    result = oracle.run(program, random_messages(program), activity=True)
    assert result.activity is not None
    return result.counts, estimate(program, place(program, target), target, result.activity)


def test_operations_of_the_processor_are_priced_or_named() -> None:
    program = static_attention("embedded")
    counts, report = _report(program)
    said = "embedded-op: 720 a sample ('attention' 432, 'mixed' 144, 'scores' 144), no price known"
    assert said in report.unpriced
    assert report.energy is None
    assert any("no time known" in line and EMBEDDED_EVENT in line for line in report.not_modelled)
    _, priced = _report(program, energy=1e-9, time=1.0)
    term = next(t for t in priced.terms if t.name == EMBEDDED_EVENT)
    assert term.count == 432 + 144 + 144 == sum(n.mean() for n in counts.embedded_ops.values())
    assert not any("embedded" in line for line in priced.unpriced)
    assert priced.latency.nominal == pytest.approx(720, rel=1e-4)  # the cores work meanwhile


def test_updates_and_messages_are_those_that_were_made() -> None:
    program = static_attention()
    counts, report = _report(program)
    terms = {t.name: t.count for t in report.terms}
    populations = 24 + 24 + 6 * (6 + 8 + 6 + 6)  # k and v once, the others every model step
    updates = terms["neuron-update.active"] + terms.get("neuron-update.idle", 0)
    assert updates == pytest.approx(populations + 6 * (24 + 24))
    spikes = {name: n.mean() for name, n in counts.spikes.items()}
    sent = sum(spikes[name] for name in ("tick", "k", "v", "q", "attention", "context", "z", "scores", "mixed"))
    assert terms["message"] == pytest.approx(sent + 2 * spikes["x"] + 6 * 8)  # x to k and to v; sums of attention
