"""Widths of messages and states: what is proved is never exceeded, what is not is said."""

from __future__ import annotations

from dataclasses import replace

import graded_compile
import numpy as np
import pytest
from graded_networks import GRADED_NETWORKS
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import programs

from ndeploy import oracle
from ndeploy.data import Data
from ndeploy.fixed import STATE_MAX, IntArray
from ndeploy.ir.lowered import Lowered
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.neurons import Affine, CubaLi, CubaLif, Delta, Input, Neuron, Register, Relay, Sigma, SigmaDelta
from ndeploy.passes.ranges import input_ranges
from ndeploy.plugins import target
from ndeploy.search.extents import extents, signed_bits
from ndeploy.search.signals import overflow_free, signal_reasons
from ndeploy.synapses import Dense

STATES = {"u": "current", "v": "membrane", "alpha": "accumulator"}
"""What extents call a state variable, where not as the neuron does."""


def adversarial(program: Program, rng: np.random.Generator) -> dict[str, IntArray]:
    """Messages at the ends of their payloads: all at the greatest, mixed, and mostly at the greatest."""
    messages = {}
    for port in program.inputs:
        p = program.population(port.population)
        message = p.neuron.message
        value = rng.choice([message.low, message.high, message.high], (3, program.steps, *p.shape))
        value[0] = message.high
        messages[p.name] = value.astype(np.int64)
    return messages


def overflows(program: Program, messages: dict[str, IntArray]) -> set[str]:
    """Populations of which a value left its width; messages that are clipped by design do not count."""
    found = oracle.run(program, messages).overflow
    return {name for name, events in found.items() if any(n for e, n in events.items() if e != "payload-saturated")}


def chain(neuron: Neuron, weight: int = 1, *, steps: int = 8, bits: int = 8, exponent: int = 0) -> Program:
    """A signed input of that payload into one neuron."""
    synapses = Dense(np.array([[weight]], dtype=np.int16))
    return Program(
        "chain",
        (Population("x", (1,), Input(bits, True)), Population("n", (1,), neuron, 1)),
        (Projection("w", "x", "n", synapses, neuron.ports[0], exponent, weight_bits=9),),
        (InputPort("x"),),
        (OutputPort("n"),),
        steps,
    )


def only(program: Program, name: str) -> tuple[float, float]:
    """Least and greatest of a value of the neuron of a `chain`."""
    (found,) = [v for v in extents(program)["n"].values if v.name == name]
    return found.low, found.high


@settings(max_examples=80, deadline=None)
@given(st.one_of(programs(graded=True), programs()), st.integers(0, 2**32 - 1))
def test_what_is_proved_is_never_exceeded(program: Program, seed: int) -> None:
    """No overflow, and no message or state outside its bounds, in the oracle, for messages at the ends of payloads."""
    messages = adversarial(program, np.random.default_rng(seed))
    result = oracle.run(program, messages)
    found = extents(program)
    assert overflows(program, messages) <= set(overflow_free(program))
    for p in program.populations:
        low, high = found[p.name].message
        sent = result.traces[f"spikes/{p.name}"]
        assert min(low, 0) <= sent.min()
        assert sent.max() <= max(high, 0)
        for value in found[p.name].values:
            for variable in p.neuron.state:
                if STATES.get(variable, variable) != value.name or not value.fits:
                    continue
                start = np.asarray(getattr(p.neuron, "start", 0))
                trace = result.traces[f"state/{p.name}/{variable}"]
                assert trace.max() <= max(value.high, start.max(), 0)
                assert trace.min() >= min(value.low, start.min(), 0)


CODED = [(name, "none") for name in GRADED_NETWORKS] + [
    (name, "sigma-delta") for name in GRADED_NETWORKS if name not in ("oddities", "maximum pools")
]


def _starts_beyond(program: Program, p: Population) -> bool:
    """Whether a delta neuron's learned start lies so far outside its source's payload that the first change may leave
    its own."""
    if not isinstance(p.neuron, Delta):
        return False
    (source,) = [program.population(x.source) for x in program.projections if x.target == p.name]
    first = source.neuron.message.high + np.abs(p.neuron.start).max()
    return bool(first > p.neuron.message.high) and "sigma" in {q.neuron.kind for q in program.populations}


@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize(("name", "coding"), CODED)
def test_compiled_graded_programs_are_proved_at_every_payload(name: str, coding: str, bits: int) -> None:
    network = GRADED_NETWORKS[name](0)
    asked = graded_compile.request(network, graded_compile.samples(network, 20), together=False, coding=coding)
    program = graded_compile.quantise(replace(asked, activation_bits=bits, threshold=0.01)).program
    assert set(overflow_free(program)) == {p.name for p in program.populations if _starts_beyond(program, p)}
    assert overflows(program, adversarial(program, np.random.default_rng(bits))) <= set(overflow_free(program))


def test_bounds_are_reached() -> None:
    """By the messages that would: bounds that are merely sound could be anything."""
    lowest = {"x": np.full((1, 8, 1), -128)}
    program = chain(CubaLi(dv=0, shift=2), weight=-3)
    top = int(oracle.run(program, lowest).traces["state/n/v"].max())
    assert only(program, "membrane")[1] == top == 8 * 128 * 3 * 4
    sigma = chain(Sigma(start=7), weight=5)
    assert only(sigma, "sigma") == (7 - 8 * 640, 7 + 8 * 635)
    assert extents(chain(Affine(8, True, 1, 4, 16), weight=2))["n"].unclipped == (-15, 17)


def test_the_tables_of_ranges_never_say_more() -> None:
    """`passes.ranges` bounds magnitudes; resets and signs make these bounds tighter, never wider."""
    for neuron in (CubaLi(du=100, dv=30), CubaLif(4095, 0, 64 * 40), CubaLif(2000, 500, 64 * 10, reset="none")):
        program = chain(neuron, weight=90)
        bound = input_ranges(program)["n"]
        for name, limit in (("current", bound.current), ("membrane", bound.state)):
            assert max(abs(v) for v in only(program, name)) <= limit


@pytest.mark.parametrize("reset", ["zero", "zero-next", "subtract", "subtract-next", "none"])
def test_a_reset_keeps_the_membrane_of_a_neuron_that_never_leaks(reset: str) -> None:
    """Without leak, over many steps, only a reset bounds it from above."""
    neuron = CubaLif(4095, 0, vth=64 * 200, reset=reset, reset_amount=64 * 200)
    program = replace(chain(neuron, weight=1, steps=5000), inputs=(InputPort("x"),))
    low, high = only(program, "membrane")
    assert low <= -5000 * 128 * 64
    assert (high <= 64 * (200 + 127)) == (reset != "none")
    assert ("n" in overflow_free(program)) == (-low > STATE_MAX or high > STATE_MAX)


def test_changes_add_up_to_a_value_that_was() -> None:
    """A sum of changes stays within what they are changes of, however many steps there are."""
    for steps in (4, 4000):
        program = chain(Delta(vth=3, start=20), weight=2, steps=steps)
        more = Population("sum", (1,), Sigma(start=100), 2)
        weights = Projection("v", "n", "sum", Dense(np.array([[-3]], dtype=np.int16)))
        program = replace(
            program, populations=(*program.populations, more), projections=(*program.projections, weights)
        )
        (sigma,) = [v for v in extents(program)["sum"].values if v.name == "sigma"]
        assert (sigma.low, sigma.high) == (100 - 3 * (254 - 20), 100 + 3 * (256 + 20))
    # the same for what a sigma-delta neuron sends, and not for messages that are no changes
    assert only(chain(Sigma(), weight=2, steps=4000), "sigma")[1] == 4000 * 254
    assert only(chain(SigmaDelta(vth=6), weight=2, steps=4000), "sigma")[1] == 4000 * 254


def test_a_loop_without_clipping_is_not_proved_and_one_with_is() -> None:
    def loop(neuron: Neuron) -> Program:
        program = chain(neuron)
        back = Projection("back", "n", "n", Dense(np.array([[1]], dtype=np.int16)), neuron.ports[0])
        return replace(program, projections=(*program.projections, back))

    assert overflow_free(loop(Relay(16))) == ("n",)
    assert np.isinf(only(loop(Relay(16)), "message")[1])
    assert overflow_free(loop(Register(24))) == ("n",)
    assert overflow_free(loop(Affine(16))) == ()


@given(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40))
def test_bits_of_a_range(a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    bits = int(signed_bits(low, high))
    assert -(1 << (bits - 1)) <= low
    assert high < 1 << (bits - 1)
    assert bits == 1 or not (-(1 << (bits - 2)) <= low and high < 1 << (bits - 2))


# -- reasons -----------------------------------------------------------------------------------------------------------


def reasons(program: Program, x: np.ndarray | None):
    lowered = Lowered((), (), (), ("x",), (("n", "message"),), "last", program.steps)
    data = None if x is None else Data(x)
    return {r.name: r for r in signal_reasons(program, lowered, target("loihi2"), data)}


def test_what_is_proved_needs_no_data() -> None:
    found = reasons(chain(CubaLi(shift=2), weight=3), None)["n"]
    assert (found.payload_bits, found.proof) == (0, "proved")
    assert found.state_bits == signed_bits(-8 * 128 * 12, 8 * 128 * 12)
    assert reasons(chain(Affine(4, True, 1, 0), weight=3), None)["n"].proof == "clipped"
    assert reasons(chain(Affine(16, True, 1, 0), weight=3), None)["n"].proof == "proved"


def test_what_is_not_proved_has_the_observed_width_and_one_bit_more() -> None:
    for steps, fits in ((300, True), (500, False)):
        program = chain(CubaLi(shift=6), weight=200, steps=steps)
        unseen = reasons(program, None)["n"]
        assert (unseen.proof, unseen.state_bits) == ("24-bit", 24)
        found = reasons(program, np.ones((3, steps, 1)))["n"]
        assert (found.proof, found.state_bits) == ("calibrated", signed_bits(0, steps * 200 * 64) + 1)
        assert ("beyond its 24 bits" not in found.why) == fits
    # over the 4 steps of these sequences nothing can leave it
    assert reasons(program, np.ones((3, 4, 1)))["n"].proof == "calibrated"


def test_a_state_that_leaves_its_width_on_calibration_data_is_named() -> None:
    found = reasons(chain(CubaLi(shift=6), weight=200, steps=2000), np.full((1, 2000, 1), 100.0))["n"]
    assert found.proof == "calibrated"
    assert found.state_bits > 24
    assert "v-saturated" in found.why


def test_the_peak_of_a_membrane_that_spikes_is_seen() -> None:
    """The trace shows it after the reset only."""
    neuron = CubaLif(4095, 0, vth=100, shift=0, reset="zero")
    program = chain(neuron, weight=1, steps=5000, bits=12)
    found = reasons(program, np.where(np.arange(5000)[None, :, None] == 7, 2000.0, 0.0))["n"]
    assert (found.proof, found.state_bits) == ("calibrated", signed_bits(0, 2000) + 1)


def test_clipped_messages_are_counted() -> None:
    found = reasons(chain(Affine(4, True, 1, 0)), np.full((2, 1), 100.0))["n"]
    assert found.proof == "clipped"
    assert "16 messages of the calibration data were" in found.why
