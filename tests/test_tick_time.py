"""The longest loop of a program, against every loop there is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from cli_runner import call
from hypothesis import given, settings
from hypothesis import strategies as st
from small_artifact import PROGRAM as FORWARD
from small_artifact import write as write_small
from thinking import PROGRAM, write

from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import Affine, Input, LayerNorm
from ndeploy.synapses.sparse import identity
from ndeploy.tick_time import Hop, hops, longest_loop, path, tick_time

Capsys = pytest.CaptureFixture[str]


def every_loop(edges: tuple[Hop, ...]) -> Iterator[tuple[Hop, ...]]:
    """All simple loops, by brute force."""
    names = sorted({hop.source for hop in edges})
    for n in range(1, len(names) + 1):
        for order in itertools.permutations(names, n):
            between = [
                [hop for hop in edges if (hop.source, hop.target) == (a, b)]
                for a, b in zip(order, (*order[1:], order[0]), strict=True)
            ]
            yield from itertools.product(*between)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Hop, ...]:
    """Up to five populations; a hop to an earlier one crosses a model step at least, as in any valid program."""
    n = draw(st.integers(1, 5))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=9))
    return tuple(
        Hop(f"p{a}", f"p{b}", draw(st.integers(1, 6)), draw(st.integers(0 if b > a else 1, 3))) for a, b in pairs
    )


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_no_loop_takes_longer(edges: tuple[Hop, ...]) -> None:
    ratios = [Fraction(sum(h.chip_steps for h in loop), sum(h.lag for h in loop)) for loop in every_loop(edges)]
    found = longest_loop(edges)
    if found is None:
        assert not ratios
        return
    assert Fraction(found.chip_steps, found.model_steps) == max(ratios)
    assert all(a.target == b.source for a, b in itertools.pairwise((*found.hops, found.hops[0])))
    assert found.hops[-1].lag > 0


def test_a_network_without_loops() -> None:
    time = tick_time(FORWARD)
    assert time.loop is None
    assert time.words() == "a tick takes 1 chip step: nothing in it waits for an earlier tick"


def test_a_period_longer_than_the_loop_is_said() -> None:
    time = tick_time(PROGRAM)
    assert time.loop is not None
    assert (time.period, time.needed) == (3, 2)
    assert time.words() == "a tick takes 3 chip steps; its longest loop asks for 2: pre -> post -> pre"
    assert tick_time(replace(PROGRAM, period=3)).loop is not None


def attending(realisation: str, period: int, delay: int) -> Program:
    """A loop through a layer norm and a product with itself."""
    norm = LayerNorm(8, view=(4,), axis=0, epsilon=1)
    return Program(
        "loop",
        (
            Population("x", (4,), Input(8, signed=True)),
            Population("a", (4,), Affine(12), 1),
            Population("norm", (4,), norm, 2),
            Population("b", (4,), Affine(12), 2 + delay),
        ),
        (
            Projection("in", "x", "a", identity(4)),
            Projection("up", "a", "norm", identity(4)),
            Projection("back", "b", "a", identity(4), delay=period - 1 - delay),
        ),
        (InputPort("x"),),
        (OutputPort("b"),),
        3,
        (Product("p", "norm", "norm", "b", (4,), (4,), "i,i->i", delay=delay, realisation=realisation),),
        period=period,
    )


def test_products_and_the_embedded_processor_take_their_time() -> None:
    time = tick_time(attending("parallel", 5, 3))
    assert time.words() == "a tick takes 5 chip steps: its longest loop is a -> norm -3-> b -> a"
    assert time.loop is not None
    assert [hop.product for hop in time.loop.hops] == ["", "p", ""]
    assert [hop.chip_steps for hop in hops(attending("parallel", 5, 3)) if hop.product] == [3]


def test_a_product_that_is_busy_for_longer_is_named() -> None:
    program = attending("parallel", 5, 3)
    product = replace(
        program.products[0], subscripts="k,k->", left_view=(4,), right_view=(4,), realisation="streamed", stream="k"
    )
    small = replace(program.populations[3], shape=(1,), neuron=Affine(12))
    alone = replace(
        program, populations=(*program.populations[:3], small), projections=program.projections[:2], period=4,
        products=(product,),
    )  # fmt: skip
    assert tick_time(alone).words() == "a tick takes 4 chip steps: product 'p' is busy for that long"


def test_a_loop_over_several_ticks_counts_by_the_tick() -> None:
    found = longest_loop((Hop("a", "b", 3, 0), Hop("b", "a", 4, 2), Hop("a", "a", 2, 1)))
    assert found is not None
    assert (found.chip_steps, found.model_steps) == (7, 2)
    assert path(found) == "a -3-> b -4-> a"


def test_inspect_prints_the_schedule(capsys: Capsys, tmp_path: Path) -> None:
    model, _ = write(tmp_path)
    text = call(capsys, "inspect", model).out
    assert "schedule of a tick" in text
    assert "its longest loop asks for 2: pre -> post -> pre" in text
    fields = json.loads(call(capsys, "inspect", model, "--json").out)
    assert fields["schedule"]["longest_loop"] == {
        "populations": ["pre", "post", "pre"],
        "chip_steps": 2,
        "model_steps": 1,
        "products": [],
    }
    by_name = {p["name"]: p for p in fields["populations"]}
    assert by_name["x"]["updates"] == 1
    assert by_name["synch_out"]["ports"] == ["left", "right"]
    assert by_name["pre"]["embedded"] is False
    model, _ = write_small(tmp_path)
    fields = json.loads(call(capsys, "inspect", model, "--json").out)
    assert fields["schedule"]["longest_loop"] is None
    assert "nothing in it waits" in call(capsys, "inspect", model).out
