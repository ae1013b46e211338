"""Placement against a brute-force account: coverage, every limit of every core, the lower bound."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import cases
from small_targets import axon_bits, axons_of, product_links, small, unit_sizes, unit_words

from ndeploy.errors import RefusedError
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import CubaLif, Input
from ndeploy.place import Placed, place
from ndeploy.plugins import targets
from ndeploy.synapses import Conv, Dense
from ndeploy.target import Limit, System, Target


def weights(*shape: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.random.default_rng(0).integers(-128, 128, size=shape).astype(np.int16)


def lif(name: str, shape: tuple[int, ...], **parameters: Any) -> Population:
    return Population(name, shape, CubaLif(**{"du": 4095, "dv": 100, "vth": 6400, **parameters}))


def program(
    populations: list[Population], projections: list[Projection], products: list[Product] | None = None
) -> Program:
    return Program(
        "test",
        tuple(populations),
        tuple(projections),
        (InputPort(populations[0].name),),
        (OutputPort(populations[-1].name),),
        4,
        products=tuple(products or ()),
    )


def locate(placed: Placed) -> dict[tuple[str, int], int]:
    """By (unit, neuron) the index of its slice; fails on a neuron placed twice."""
    where: dict[tuple[str, int], int] = {}
    for i, piece in enumerate(placed.slices):
        indices = piece.neurons()
        assert indices.size == piece.size
        for neuron in indices.tolist():
            assert (piece.unit, neuron) not in where
            where[piece.unit, neuron] = i
    return where


def check_placement(p: Program, target: Target, placed: Placed) -> None:
    where = locate(placed)
    assert Counter(unit for unit, _ in where) == Counter(unit_sizes(p))
    core = [piece.core for piece in placed.slices]
    senders = {q.name: f"{q.name}/embedded" if q.neuron.embedded else q.name for q in p.populations}
    words = unit_words(p)
    state = Counter[int]()
    for piece in placed.slices:
        state[piece.core] += 4 * piece.size * words[piece.unit]
    neurons, memory, into, out = Counter[int](), Counter[int](), Counter[int](), Counter[int]()
    for i, piece in enumerate(placed.slices):
        neurons[core[i]] += piece.size
    for j in p.projections:
        to, source, _ = j.synapses.to_coo()
        synapses = [(senders[j.source], int(s), j.target, int(t)) for s, t in zip(source, to, strict=True)]
        arriving, leaving = axons_of(synapses, where)
        for i, n in arriving.items():
            into[core[i]] += n
        for i, n in leaving.items():
            if i >= 0:
                out[core[i]] += n
        if isinstance(j.synapses, Conv) and target.packing.conv_weight_sharing:
            continue
        dense = isinstance(j.synapses, Dense)
        reach = 0 if dense else min(target.core.neurons.value or 0, p.population(j.target).size)
        per_axon = Counter((s, where[j.target, t]) for _, s, _, t in synapses)
        for (_, i), n in per_axon.items():
            memory[core[i]] += axon_bits(n, p, j.name, reach, target)
    for (unit, _), i in where.items():  # sums that the embedded processor reads
        out[core[i]] += senders.get(unit, unit) != unit
    for x in p.products:
        if x.realisation == "embedded":
            for operand in (senders[x.left], senders[x.right]):
                for (unit, _), i in where.items():
                    out[core[i]] += unit == operand
            for (unit, _), i in where.items():
                into[core[i]] += unit == x.target
            continue
        for link in product_links(x, senders):
            arriving, leaving = axons_of(link, where)
            for i, n in arriving.items():
                into[core[i]] += n
            for i, n in leaving.items():
                if i >= 0:
                    out[core[i]] += n
        n = unit_sizes(p)[f"{x.name}/neurons"] // p.population(x.target).size
        for (unit, _), i in where.items():
            into[core[i]] += n * (unit == x.target)
            out[core[i]] += unit == f"{x.name}/neurons"
    limits = target.core
    for use in placed.use:
        c = use.core
        assert use.neurons == neurons[c] <= (limits.neurons.value or 0)
        assert use.in_axons == into[c] <= (limits.in_axons.value or 0)
        assert use.out_axons == out[c] <= (limits.out_axons.value or 0)
        assert memory[c] <= 8 * use.memory_bytes
        assert use.memory_bytes <= (limits.synaptic_memory.value or 0)
        assert use.state_bytes == state[c] <= (limits.state_memory.value or 10**9)
        assert use.neuron_configurations <= (limits.neuron_configurations.value or 0)
        assert use.threshold_configurations <= (limits.threshold_configurations.value or 0)
        if not p.products and not target.packing.conv_weight_sharing:
            assert 8 * use.memory_bytes - memory[c] < 8
    assert placed.cores == len(placed.use) == len(set(core))
    assert placed.cores_lower_bound <= placed.cores


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.booleans().flatmap(lambda graded: cases(graded=graded)),
    st.integers(1, 24),
    st.integers(40, 400),
    st.integers(8, 60),
    st.integers(8, 60),
    st.integers(1, 6),
    st.integers(60, 900),
    st.booleans(),
)
def test_every_limit_holds_and_every_neuron_is_placed_once(
    case: Any, neurons: int, memory: int, into: int, out: int, configurations: int, state: int, shared: bool
) -> None:
    p = case[0]
    target = small(neurons, memory, into, out, configurations, shared, state)
    try:
        placed = place(p, target)
    except RefusedError as error:
        refused = error.code == "ND402" and ("a core" in error.message or "settle" in error.message)
    else:
        refused = False
        check_placement(p, target, placed)
        assert placed == place(p, target)
    if refused:
        roomy = small(10**6, 10**9, 10**6, 10**6, 10**6, shared)  # refused for want of room, not for anything else
        check_placement(p, roomy, place(p, roomy))


CONV = Conv(weights(4, 2, 3, 3), (2, 6, 5), stride=(2, 1), padding=(1, 1))


@pytest.mark.parametrize(("neurons", "into"), [(7, 40), (30, 60), (1000, 33), (1, 18)])
def test_convolutions_split_by_channels_or_rows(neurons: int, into: int) -> None:
    p = program(
        [Population("in", (2, 6, 5), Input()), lif("a", CONV.out_shape)],
        [Projection("c", "in", "a", CONV, weight_bits=8)],
    )
    target = small(neurons, 4000, into, 10**6, 8, shared=False)
    placed = place(p, target)
    check_placement(p, target, placed)
    assert placed.cores > 1


PRODUCTS = [
    ("hnd,hmd->hnm", (2, 3, 4), (2, 3, 4), (2, 3, 3), "d"),
    ("nd,md->nm", (3, 4), (2, 4), (3, 2), "d"),
    ("i,i->i", (5,), (5,), (5,), ""),
    ("ii,i->i", (3, 3), (3,), (3,), ""),
    ("nm,dm->nd", (3, 4), (2, 4), (3, 2), "m"),
]


@pytest.mark.parametrize(("subscripts", "left", "right", "out", "stream"), PRODUCTS)
@pytest.mark.parametrize("realisation", ["parallel", "streamed", "embedded"])
def test_products_are_charged_for_their_realisation(
    subscripts: str, left: tuple[int, ...], right: tuple[int, ...], out: tuple[int, ...], stream: str, realisation: str
) -> None:
    if realisation == "streamed" and not stream:
        pytest.skip("no letter to stream over")
    populations = [Population("in", (4,), Input()), lif("l", left), lif("r", right), lif("o", out)]
    projections = [Projection(f"to-{q.name}", "in", q.name, Dense(weights(q.size, 4))) for q in populations[1:3]]
    product = Product("x", "l", "r", "o", left, right, subscripts, realisation=realisation, stream=stream, delay=20)
    p = program(populations, projections, [product])
    target = small(9, 600, 30, 200, 8, shared=False)
    placed = place(p, target)
    check_placement(p, target, placed)
    assert [operation.name for operation in placed.embedded_ops] == (["x"] if realisation == "embedded" else [])
    if realisation == "embedded":
        sizes = dict(zip("".join(subscripts.split("->")[0].split(",")), [*left, *right], strict=True))
        assert placed.embedded_ops[0].multiply_accumulates == 4 * int(np.prod(list(sizes.values())))


def test_a_neuron_that_no_core_holds_is_refused_by_name() -> None:
    p = program(
        [Population("in", (5000,), Input()), lif("wide", (3,))],
        [Projection("fan", "in", "wide", Dense(weights(3, 5000)))],
    )
    with pytest.raises(RefusedError) as refused:
        place(p, targets()["loihi1"])
    assert refused.value.code == "ND402"
    for part in ("population 'wide'", "5000", "in-axons", "4096", "fan"):
        assert part in refused.value.message


def test_out_axons_are_kept_by_cutting_the_source() -> None:
    p = program(
        [Population("in", (2,), Input()), lif("a", (12,)), lif("b", (40,))],
        [Projection("1", "in", "a", Dense(weights(12, 2))), Projection("2", "a", "b", Dense(weights(40, 12)))],
    )
    target = small(12, 10**5, 100, 20, 8, shared=False)  # b lies on 4 cores, so 5 neurons of a make 20 axons
    placed = place(p, target)
    check_placement(p, target, placed)
    assert max(piece.size for piece in placed.slices if piece.unit == "a") <= 5
    with pytest.raises(RefusedError, match="out-axons"):
        place(p, small(12, 10**5, 100, 3, 8, shared=False))


def test_thresholds_of_a_core_are_counted() -> None:
    vth = np.arange(1, 33).reshape(32, 1, 1) * 64
    p = program(
        [Population("in", (4,), Input()), lif("a", (32, 2, 2), vth=vth)],
        [Projection("1", "in", "a", Dense(weights(128, 4)))],
    )
    placed = place(p, targets()["loihi1"])
    assert placed.cores == placed.cores_lower_bound == 4  # 32 thresholds, 8 a core
    assert placed.bound_by == "threshold configurations"


def test_more_chips_than_any_system_has() -> None:
    p = program(
        [Population("in", (4,), Input()), lif("a", (300,))], [Projection("1", "in", "a", Dense(weights(300, 4)))]
    )
    target = replace(
        small(10, 10**5, 100, 100, 8, shared=False),
        cores_per_chip=Limit(5, "cores", "test", "code"),
        systems=(
            System("board", Limit(6, "chips", "test", "code")),
            System("bench", Limit(1, "chips", "test", "code")),
        ),
    )
    assert place(p, target).chips == 6
    with pytest.raises(
        RefusedError, match="31 cores, that is 7 chips of small; the largest system, board, has 6"
    ) as refused:
        place(
            replace(
                p,
                populations=(p.populations[0], lif("a", (301,))),
                projections=(replace(p.projections[0], synapses=Dense(weights(301, 4))),),
            ),
            target,
        )
    assert refused.value.code == "ND412"


def test_lava_has_no_cores() -> None:
    p = program(
        [Population("in", (5000,), Input(bits=8)), lif("a", (3,))],
        [Projection("1", "in", "a", Dense(weights(3, 5000)), weight_bits=6)],
    )
    placed = place(p, targets()["lava"])
    assert (placed.cores, placed.cores_lower_bound, placed.chips) == (0, 0, 0)
    assert placed.weight_memory_bytes == 3 * 5000 * 6 // 8
    assert placed.notes


def test_what_the_host_does_is_listed() -> None:
    p = program([Population("in", (4,), Input()), lif("a", (3,))], [Projection("1", "in", "a", Dense(weights(3, 4)))])
    names = [operation.name for operation in place(p, targets()["loihi2"]).host_ops]
    assert names == ["in", "a"]


def test_large_networks_place_in_seconds() -> None:
    import time

    first = Conv(weights(32, 2, 3, 3), (2, 64, 64), padding=(1, 1))
    second = Conv(weights(32, 32, 3, 3), (32, 64, 64), stride=(2, 2), padding=(1, 1))
    p = program(
        [Population("in", (2, 64, 64), Input()), lif("a", first.out_shape), lif("b", second.out_shape)],
        [Projection("1", "in", "a", first), Projection("2", "a", "b", second)],
    )
    assert sum(q.size for q in p.populations) > 150_000
    assert first.count() + second.count() > 10_000_000
    for name in ("loihi1", "loihi2"):
        began = time.process_time()
        place(p, targets()[name])
        assert time.process_time() - began < 10  # 2 s on the machine it was written on
