"""Fit checks: each constraint refuses what breaks it, by object, value and limit, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import cases

from ndeploy.check import CONSTRAINTS, check, message
from ndeploy.check_graded import alpha_bound
from ndeploy.codes import CODES
from ndeploy.errors import RefusedError
from ndeploy.fixed import STATE_MAX
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import Compare, CubaLif, Input, Neuron, Relay, SigmaDelta, TernaryLif
from ndeploy.plugins import targets
from ndeploy.synapses import Dense

LIF = CubaLif(du=4095, dv=100, vth=6400)


def program(
    neuron: Neuron = LIF, source: Neuron | None = None, product: Product | None = None, **projection: Any
) -> Program:
    """in -> a with the given neurons, and a product of a with itself onto b where one is given."""
    populations = [Population("in", (4,), source or Input()), Population("a", (4,), neuron)]
    if product is not None:
        populations.append(Population("b", (4,), LIF))
    return Program(
        "test",
        tuple(populations),
        (Projection("w", "in", "a", Dense(np.ones((4, 4), dtype=np.int16)), **projection),),
        (InputPort("in"),),
        (OutputPort("a"),),
        4,
        products=() if product is None else (product,),
    )


def times(realisation: str, delay: int = 2, stream: str = "", exponent: int = 0) -> Product:
    subscripts = "dn,nd->d" if stream else "d,d->d"
    views = ((4, 1), (1, 4)) if stream else ((4,), (4,))
    return Product(
        "x", "a", "a", "b", *views, subscripts, realisation=realisation, delay=delay, stream=stream, exponent=exponent
    )


def lif(**changes: Any) -> CubaLif:
    return replace(LIF, **changes)


@pytest.mark.parametrize(
    ("made", "code", "words"),
    [
        (program(SigmaDelta(vth=4)), "ND403", ("population 'a'", "sigma-delta", "cuba-lif")),
        (program(TernaryLif(4095, 0, -64, 64)), "ND403", ("population 'a'", "ternary-lif")),
        (program(source=Input(bits=8)), "ND403", ("population 'in'", "8-bit unsigned", "binary")),
        (program(source=Input(bits=2, signed=True)), "ND403", ("population 'in'", "2-bit signed")),
        (program(lif(reset="subtract", reset_amount=64)), "ND403", ("population 'a'", "subtract", "zero")),
        (program(lif(reset_value=5)), "ND403", ("population 'a'", "reset value 5")),
        (program(lif(input_bias=np.array([0, 0, -3, 0]))), "ND403", ("population 'a'", "input bias 3")),
        (program(lif(shift=0)), "ND403", ("population 'a'", "shift 0", "6")),
        (
            program(product=replace(times("parallel"), left="in"), source=Input(bits=8)),
            "ND403",
            ("product 'x'", "multiply"),
        ),
        (program(weight_bits=9), "ND411", ("projection 'w'", "9-bit", "8 bits")),
        (program(exponent=8), "ND411", ("projection 'w'", "exponent 8", "-7 to 7")),
        (program(exponent=-8), "ND411", ("projection 'w'", "exponent -8", "-7 to 7")),
        (program(product=times("parallel", exponent=8)), "ND411", ("product 'x'", "exponent -8", "-7 to 7")),
        (program(delay=65), "ND411", ("projection 'w'", "64", "63")),
        (program(delay=2, delays=np.full((4, 4), 63)), "ND411", ("projection 'w'", "64", "63")),
        (program(product=times("parallel", delay=66)), "ND411", ("product 'x'", "64", "63")),
        (program(lif(vth=6401)), "ND411", ("population 'a'", "vth 6401", "multiple of 64")),
        (program(lif(vth=np.array([64, 64, -64, 64]))), "ND411", ("vth -64 (1 of 4 values)",)),
        (program(lif(vth=131072 * 64)), "ND411", ("vth 8388608", "8388544")),
        (program(Compare(vth=3, bias=4)), "ND411", ("population 'a'", "vth - bias -64")),
        (program(lif(bias=4097)), "ND411", ("population 'a'", "bias 4097", "12-bit", "2^7")),
        (program(lif(bias=8192 * 128)), "ND411", ("bias 1048576",)),
        (program(lif(refractory=63)), "ND411", ("population 'a'", "63 steps", "62 steps")),
        (program(lif(du=4096)), "ND411", ("population 'a'", "du", "4095")),
    ],
)
def test_loihi1_refuses(made: Program, code: str, words: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError) as refused:
        check(made, targets()["loihi1"])
    assert refused.value.code == code
    for word in ("loihi1", *words):
        assert word in refused.value.message
    assert refused.value.help


@pytest.mark.parametrize(
    "made",
    [
        program(),
        program(weight_bits=8, exponent=7, delay=64),
        program(exponent=-7, delay=1, delays=np.full((4, 4), 63)),
        program(lif(vth=131071 * 64, refractory=62)),
        program(lif(bias=4095 * 128)),
        program(lif(bias=np.array([-4095, 4096, 8190, 0]))),
        program(Compare(vth=4, bias=4)),
        program(product=times("parallel")),
    ],
)
def test_loihi1_takes(made: Program) -> None:
    assert check(made, targets()["loihi1"]) == ()


def test_loihi2_takes_what_its_neurons_can_be_programmed_to_do() -> None:
    for made in (
        program(SigmaDelta(vth=4)),
        program(Relay(bits=16), source=Input(bits=8)),
        program(lif(reset="subtract", reset_amount=63, vth=6401, bias=4097, input_bias=3, shift=0, refractory=1000)),
        program(product=times("streamed", delay=6, stream="n")),
    ):
        (warning,) = check(made, targets()["loihi2"])
        assert warning.code == "ND420"
        assert "core.in_axons" in warning.message


def test_loihi2_still_has_widths() -> None:
    for made, word in (
        (program(source=Input(bits=33)), "33-bit"),
        (program(weight_bits=9), "9-bit"),
        (program(exponent=-9), "-8 to 7"),
        (program(lif(vth=2**23)), "8388607"),
    ):
        with pytest.raises(RefusedError, match=word):
            check(made, targets()["loihi2"])


def test_a_stream_longer_than_delays_needs_neurons_that_hold() -> None:
    product = Product("x", "in", "in", "a", (65, 4), (65, 4), "nd,ne->de", realisation="streamed", stream="n", delay=67)
    populations = (Population("in", (65, 4), Input()), Population("a", (4, 4), LIF))
    made = Program("test", populations, (), (InputPort("in"),), (OutputPort("a"),), 4, products=(product,), period=65)
    with pytest.raises(RefusedError, match="65 slices along 'n'"):
        check(made, targets()["loihi1"])
    assert [d.code for d in check(made, targets()["loihi2"])] == ["ND420"]


def test_several_faults_are_told_at_once() -> None:
    with pytest.raises(RefusedError) as refused:
        check(program(lif(reset="none", vth=1), source=Input(bits=4)), targets()["loihi1"])
    assert "2 more" in refused.value.message


def test_messages_are_docstrings_and_codes_exist() -> None:
    for code, rule in CONSTRAINTS:
        assert code in CODES
        assert message(rule) == (rule.__doc__ or "").splitlines()[0]
        assert message(rule)[0].isupper()
        assert not message(rule).endswith(".")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.booleans().flatmap(lambda graded: cases(graded=graded)))
def test_lava_takes_every_program_whose_accumulators_fit(case: Any) -> None:
    bounds = [alpha_bound(case[0], p) for p in case[0].populations]
    if any(bound is not None and bool((bound > STATE_MAX).any()) for bound in bounds):
        with pytest.raises(RefusedError, match="accumulator may leave its 24 bits"):
            check(case[0], targets()["lava"])
    else:
        assert check(case[0], targets()["lava"]) == ()
