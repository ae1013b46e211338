"""Allocation of widths against enumeration, a table by dynamic programming, and an integer programming solver."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.errors import RefusedError
from ndeploy.search import allocation
from ndeploy.search.allocation import Item, Option, allocate, cheapest, frontier, least, monotone


def items_from(tables: Sequence[Mapping[int, tuple[float, tuple[float, ...]]]]) -> list[Item]:
    return [Item(f"i{n}", {b: Option(*values) for b, values in table.items()}) for n, table in enumerate(tables)]


def loss(items: Sequence[Item], widths: Mapping[str, int]) -> float:
    return math.fsum(item.options[widths[item.name]].loss for item in items)


def cost(items: Sequence[Item], widths: Mapping[str, int], k: int) -> float:
    return math.fsum(item.options[widths[item.name]].costs[k] for item in items)


def everything(items: Sequence[Item]) -> list[dict[str, int]]:
    names = [item.name for item in items]
    return [dict(zip(names, b, strict=True)) for b in itertools.product(*(sorted(i.options) for i in items))]


def tabulated(items: Sequence[Item], limit: int) -> float:
    """The least loss under one limit on whole costs: the textbook table, losses by cost used so far."""
    best = np.full(limit + 1, np.inf)
    best[0] = 0.0
    for item in items:
        following = np.full(limit + 1, np.inf)
        for option in item.options.values():
            taken = int(option.costs[0])
            if taken <= limit:
                following[taken:] = np.minimum(following[taken:], best[: limit + 1 - taken] + option.loss)
        best = following
    return float(best.min())


def programmed(items: Sequence[Item], limits: Sequence[float]) -> float:
    """The same by branch and bound (HiGHS), within its tolerances."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    flat = [(n, option) for n, item in enumerate(items) for option in item.options.values()]
    one = np.array([[float(n == m) for n, _ in flat] for m in range(len(items))])
    costs = np.array([[option.costs[k] / limits[k] for _, option in flat] for k in range(len(limits))])
    answer = milp(
        np.array([option.loss for _, option in flat]),
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one, 1, 1), LinearConstraint(costs, -np.inf, 1)],
        options={"mip_rel_gap": 0.0},
    )
    return float(answer.fun)


def layers(n: int, seed: int, noise: float = 0.1) -> list[Item]:
    """Layers as a network has them: bits, and bytes with headers; losses that fall fourfold a bit, over decades."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        parameters, scale = int(rng.integers(100, 100_000)), rng.lognormal(0, 2)
        options = {
            bits: Option(
                scale * 4.0**-bits * (1 + noise * rng.normal()),
                (parameters * bits, parameters * bits // 8 + int(rng.integers(0, 64))),
            )
            for bits in range(2, 9)
        }
        found.append(Item(f"layer{i}", options))
    return found


SMALL = st.integers(-3, 3)
"""Few values, so that ties are everywhere."""


@st.composite
def problems(draw: st.DrawFn, limits: int) -> list[Item]:
    costs = st.tuples(*[st.integers(0, 4)] * limits)
    table = st.dictionaries(st.integers(2, 8), st.tuples(SMALL.map(float), costs), min_size=1, max_size=4)
    return items_from(draw(st.lists(table, min_size=1, max_size=4)))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 3))
def test_every_tie_is_broken_as_enumeration_breaks_it(data, limits):
    items = data.draw(problems(limits))
    room = [data.draw(st.integers(0, 12)) for _ in range(limits)]
    order = [
        (loss(items, w), *(cost(items, w, k) for k in range(limits)), tuple(w.values()), w)
        for w in everything(items)
        if all(cost(items, w, k) <= room[k] for k in range(limits))
    ]
    if order:
        assert allocate(items, room) == min(order, key=lambda entry: entry[:-1])[-1]
        return
    with pytest.raises(RefusedError) as refused:
        allocate(items, room)
    assert refused.value.code == "ND306"


@settings(max_examples=80, deadline=None)
@given(problems(2), st.integers(-8, 8))
def test_the_cheapest_within_a_loss(items, limit):
    possible = [w for w in everything(items) if loss(items, w) <= limit]
    if possible:
        best = min(possible, key=lambda w: (cost(items, w, 0), loss(items, w), cost(items, w, 1), tuple(w.values())))
        assert cheapest(items, limit) == best
        return
    with pytest.raises(RefusedError, match=rf"the least is {min(loss(items, w) for w in everything(items)):.10g}\n"):
        cheapest(items, limit)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 14), st.floats(0, 1))
def test_a_table_of_all_costs_finds_no_less(seed, n, share):
    rng = np.random.default_rng(seed)
    items = items_from(
        [{b: (float(rng.normal()) * 4.0**-b, (int(rng.integers(1, 12)) * b,)) for b in range(2, 9)} for _ in range(n)]
    )
    floor = int(least(items, 0))
    limit = floor + int(share * floor)
    widths = allocate(items, [limit])
    assert cost(items, widths, 0) <= limit
    assert loss(items, widths) == pytest.approx(tabulated(items, limit), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("n", "seed", "noise"), [(60, 0, 0.1), (40, 1, 0.0), (90, 2, 0.5)])
def test_integer_programming_finds_no_less_under_two_limits(n, seed, noise):
    items = layers(n, seed, noise)
    limits = (sum(item.options[4].costs[0] for item in items), sum(item.options[4].costs[1] for item in items) - 100)
    widths = allocate(items, limits)
    assert all(cost(items, widths, k) <= limits[k] for k in range(2))
    assert loss(items, widths) <= programmed(items, limits) * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.lists(st.floats(2, 9), min_size=2, max_size=5))
def test_a_larger_budget_never_has_a_greater_loss(seed, n, means):
    items = layers(n, seed, 0.8)
    parameters = sum(item.options[2].costs[0] / 2 for item in items)
    budgets = [mean * parameters for mean in means]
    found = frontier(items, 0, budgets)
    assert all(cost(items, widths, 0) <= budget * (1 + 1e-8) for widths, budget in zip(found, budgets, strict=True))
    losses = [loss(items, widths) for _, widths in sorted(zip(budgets, found, strict=True), key=lambda pair: pair[0])]
    assert losses == sorted(losses, reverse=True)
    for widths, budget in zip(found, budgets, strict=True):
        alone = allocate(
            [Item(i.name, {b: Option(o.loss, o.costs[:1]) for b, o in i.options.items()}) for i in items], [budget]
        )
        assert loss(items, alone) == pytest.approx(loss(items, widths), rel=1e-12)


def test_the_order_of_options_does_not_matter():
    items = layers(30, 3)
    backwards = [Item(i.name, dict(reversed(i.options.items()))) for i in items]
    limits = (sum(item.options[3].costs[0] for item in items), math.inf)
    assert allocate(items, limits) == allocate(backwards, limits)


def test_items_that_do_not_differ_get_ascending_widths():
    items = items_from([{b: (-0.1 * b, (0.7 * b,)) for b in range(2, 9)} for _ in range(20)])
    widths = list(allocate(items, [0.7 * 93]).values())
    assert sum(widths) == 93
    assert widths == sorted(widths)


def test_a_loss_that_stands_for_impossible_does_not_blur_the_others():
    rng = np.random.default_rng(5)
    tables = [{b: (float(rng.uniform()) * 1e-9 / b, (float(b),)) for b in range(3, 7)} for _ in range(12)]
    plain = allocate(items_from(tables), [50])
    assert allocate(items_from([{2: (1e12, (0.0,)), **table} for table in tables]), [50]) == plain


def test_a_limit_that_is_a_rounded_product_can_be_met():
    items = items_from([{2: (1.0, (3 * 2.0,)), 5: (0.0, (3 * 5.0,))}, {3: (1.0, (7 * 3.0,)), 4: (0.0, (7 * 4.0,))}])
    assert 4.3 * 10 == 43.0
    assert allocate(items, [43.0 - 1e-14 * 43]) == {"i0": 5, "i1": 4}
    assert allocate(items, [43.0 - 1e-6])["i0"] == 2


def test_infeasible_limits_say_the_nearest():
    items = items_from([{2: (1.0, (2.0, 9.0)), 4: (0.0, (4.0, 5.0))}, {2: (1.0, (2.0, 3.0)), 4: (0.0, (4.0, 3.0))}])
    assert (least(items, 0), least(items, 1)) == (4.0, 8.0)
    with pytest.raises(RefusedError, match=r"^error\[ND306\]: mean bits: 3 cannot be met; .* is 4\n"):
        allocate(items, [3, 100], ["mean bits", "memory"])
    with pytest.raises(RefusedError, match=r"memory: 7.5 cannot be met; .* is 8\n"):
        allocate(items, [100, 7.5], ["mean bits", "memory"])
    # each alone could be met
    with pytest.raises(RefusedError, match=r"limit 1: 5 cannot be met; .* keep to the other limits is 6\n"):
        allocate(items, [5, 8])
    assert allocate(items, [6, 8]) == {"i0": 4, "i1": 2}
    with pytest.raises(RefusedError, match=r"3 cannot be met"):
        frontier(items, 0, [8, 3])


def test_the_nearest_limit_as_shown_is_accepted():
    items = items_from([{2: (1.0, (1 / 3,)), 4: (0.0, (2 / 3,))}, {2: (1.0, (1 / 7,))}])
    with pytest.raises(RefusedError) as refused:
        allocate(items, [0.1])
    assert allocate(items, [float(refused.value.message.rsplit(" ", 1)[1])]) == {"i0": 2, "i1": 2}


def test_what_is_no_number_is_refused():
    for bad in (Option(math.nan, (1.0,)), Option(math.inf, (1.0,)), Option(0.0, (math.nan,))):
        with pytest.raises(RefusedError, match="'a' at 3 bits") as refused:
            allocate([Item("a", {2: Option(0.0, (1.0,)), 3: bad})], [5])
        assert refused.value.code == "ND304"


def test_without_items_there_is_nothing_to_choose():
    assert allocate([], [1.0]) == {}
    assert frontier([], 0, [1.0, 2.0]) == [{}, {}]
    assert cheapest([], 0.0) == {}


def test_too_many_partial_choices_still_give_a_good_one(monkeypatch):
    items = layers(40, 7)
    limits = (sum(item.options[3].costs[0] for item in items), sum(item.options[3].costs[1] for item in items))
    best = loss(items, allocate(items, limits))
    monkeypatch.setattr(allocation, "BEAM", 8)
    monkeypatch.setattr(allocation, "MOST", 8)
    near = allocate(items, limits)
    assert all(cost(items, near, k) <= limits[k] for k in range(2))
    assert best <= loss(items, near) <= 1.1 * best


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(1, 16), st.floats(-1e3, 1e3), min_size=1))
def test_monotone_losses_are_the_nearest(losses):
    from scipy.optimize import isotonic_regression

    bits = sorted(losses)
    found = monotone(losses)
    assert sorted(found) == bits
    assert all(found[a] >= found[b] for a, b in itertools.pairwise(bits))
    nearest = isotonic_regression([losses[b] for b in bits], increasing=False).x
    np.testing.assert_allclose([found[b] for b in bits], nearest, rtol=1e-12, atol=1e-9)


def test_losses_that_fall_stay_as_they_are():
    falling = {8: 0.1, 2: 0.7, 4: 0.1 + 0.2}
    assert monotone(falling) == falling
