"""Which width every item gets: a multiple-choice knapsack, solved exactly.

One option is chosen for every item. `allocate` minimises the sum of losses where costs are limited, `cheapest` the sum
of costs where the loss is limited (Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, ch. 11). The method is a
dynamic programme over lists of partial choices, one item after another: a partial choice is dropped when another is as
good in every respect (Nemhauser and Ullmann 1969), when it cannot keep to a limit any more, and when the Lagrangian
bound with the multipliers of the linear relaxation (HiGHS) says that it ends worse than a choice already known. What is
left of a layer-wise allocation are tens to thousands of partial choices. (scipy's `milp` would do, and the tests
compare with it; but it works with tolerances, knows no second criterion, and prints to the standard output.)

Sums are exact: numbers are taken as whole multiples of 2^-52 of the largest sum there can be, whole numbers as they
are. So results depend neither on the order of summation nor on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ndeploy.errors import RefusedError

BEAM = 128
"""Partial choices of the first pass, whose best is what the second must beat."""
MOST = 1 << 14
"""Partial choices kept at once. Beyond it those of the best bound stay, and the answer is near the best, no proof."""
PIVOTS = 16
"""Partial choices that others are compared with where there are more than two sums."""
DIGITS = 52
SLACK = 1e-9
"""What a sum may exceed a limit by, relative to it: limits are products that were rounded, or numbers that an error
showed to ten digits."""

_Row = list[dict[int, float]]
"""One number for every option of every item."""
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Option:
    """loss: what the item adds to the loss at this width, of any sign. costs: what it takes of every limit."""

    loss: float
    costs: tuple[float, ...]


@dataclass(frozen=True)
class Item:
    """Something that gets one width. options: by bits."""

    name: str
    options: Mapping[int, Option]


def allocate(items: Sequence[Item], limits: Sequence[float], names: Sequence[str] = ()) -> dict[str, int]:
    """The widths of least total loss with sum(costs[k]) <= limits[k] for every k, up to SLACK; math.inf limits nothing.

    Of equal losses the least costs[0] counts, then costs[1] and so on, then the smallest widths of the first items.
    names: what the limits are called in errors. Raises RefusedError ND306 with the nearest limit that can be met, ND304
    for losses and costs that are no numbers.
    """
    _check(items, len(limits))
    costs = [_costs(items, k) for k in range(len(limits))]
    found = _best([_losses(items), *costs], [math.inf, *limits])
    if found is None:
        raise _refused(costs, limits, names)
    return {item.name: bits for item, bits in zip(items, found, strict=True)}


def cheapest(items: Sequence[Item], loss_limit: float) -> dict[str, int]:
    """The widths with the least sum(costs[0]) whose total loss is at most `loss_limit`.

    Of equal costs the least loss counts, then the other costs, then the smallest widths of the first items. Raises
    RefusedError ND306 with the least loss there is.
    """
    count = min((len(option.costs) for item in items for option in item.options.values()), default=1)
    _check(items, count)
    losses = _losses(items)
    first, *others = [_costs(items, k) for k in range(count)]
    found = _best([first, losses, *others], [math.inf, loss_limit] + [math.inf] * len(others))
    if found is None:
        raise RefusedError(
            "ND306",
            f"no choice of widths loses {loss_limit:.10g} or less: the least is {_least(losses):.10g}",
            help=f"allow a loss of {_least(losses):.10g} or more, or wider weights",
        )
    return {item.name: bits for item, bits in zip(items, found, strict=True)}


def frontier(items: Sequence[Item], k: int, budgets: Sequence[float]) -> list[dict[str, int]]:
    """What `allocate` gives for every budget of cost k alone, in the order of `budgets`.

    A larger budget never has a greater loss. Raises RefusedError ND306 if a budget cannot be met.
    """
    _check(items, k + 1)
    rows = [_losses(items), _costs(items, k)]
    widths: dict[float, tuple[int, ...]] = {}
    best: tuple[int, ...] | None = None
    for budget in sorted(set(budgets)):
        found = _best(rows, [math.inf, budget])
        if found is None:
            raise _refused(rows[1:], [budget], ())
        # what fits a smaller budget fits this one: it stays unless the other is better in the last digit too
        if best is None or _total(rows[0], found) <= _total(rows[0], best):
            best = found
        widths[budget] = best
    return [{item.name: bits for item, bits in zip(items, widths[budget], strict=True)} for budget in budgets]


def least(items: Sequence[Item], k: int) -> float:
    """The smallest limit on cost k that can be met: the sum of the cheapest options."""
    _check(items, k + 1)
    return _least(_costs(items, k))


def monotone(losses: Mapping[int, float]) -> dict[int, float]:
    """Losses by bits made non-increasing: the nearest such in the sense of least squares (pool adjacent violators,
    Ayer et al. 1955). More bits lose less, so what says otherwise is the noise of few samples."""
    pools: list[tuple[float, list[int]]] = []
    for bits in sorted(losses):
        pools.append((losses[bits], [bits]))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (a, left), (b, right) = pools[-2:]
            joined = left + right
            mean = (a * len(left) + b * len(right)) / len(joined)
            pools[-2:] = [(min(max(mean, a), b), joined)]
    return {bits: mean for mean, members in pools for bits in members}


def _check(items: Sequence[Item], limits: int) -> None:
    if len({item.name for item in items}) < len(items):
        raise ValueError("two items of one name")
    for item in items:
        if not item.options:
            raise ValueError(f"'{item.name}' has no options")
        for bits, option in item.options.items():
            if len(option.costs) < limits:
                raise ValueError(f"'{item.name}' at {bits} bits has {len(option.costs)} costs for {limits} limits")
            if not math.isfinite(option.loss) or not all(map(math.isfinite, option.costs)):
                raise RefusedError(
                    "ND304",
                    f"'{item.name}' at {bits} bits: loss {option.loss:g}, costs {option.costs}",
                    help="check the model's weights and the calibration data for values that are not finite",
                )


def _losses(items: Sequence[Item]) -> _Row:
    return [{bits: option.loss for bits, option in sorted(item.options.items())} for item in items]


def _costs(items: Sequence[Item], k: int) -> _Row:
    return [{bits: option.costs[k] for bits, option in sorted(item.options.items())} for item in items]


def _least(row: _Row) -> float:
    return math.fsum(min(values.values()) for values in row)


def _slack(limit: float) -> float:
    return limit + SLACK * abs(limit) if math.isfinite(limit) else limit


def _total(row: _Row, choice: Iterable[int]) -> float:
    return math.fsum(values[bits] for values, bits in zip(row, choice, strict=True))


def _best(rows: list[_Row], limits: Sequence[float]) -> tuple[int, ...] | None:
    """The choice least in the first row, of those in the second and so on, then of the smallest widths of the first
    items; every row within its limit. None if there is none."""
    limits = [_slack(limit) for limit in limits]
    if any(_least(row) > limit for row, limit in zip(rows, limits, strict=True)):
        return None
    bits = [_undominated([row[i] for row in rows]) for i in range(len(rows[0]))]
    reached = _within_reach(rows, limits, bits)
    while True:
        bits = reached
        problem = _problem(rows, limits, bits)
        if problem is None:
            return None
        found, complete = _search(problem, math.inf, BEAM)
        if found is None:
            break
        # options that cost more than a known choice go: a loss that stands for "impossible" makes the unit coarse
        upper = _total(rows[0], problem.widths(found))
        reached = _within_reach(rows, [upper, *limits[1:]], bits)
        if reached == bits:
            break
    if not complete:
        found = _search(problem, math.inf if found is None else problem.loss(found), MOST)[0] or found
    return None if found is None else problem.widths(found)


def _within_reach(rows: list[_Row], limits: Sequence[float], bits: list[list[int]]) -> list[list[int]]:
    """Options that keep to every limit if all other items take the least."""
    for row, limit in zip(rows, limits, strict=True):
        lowest = [min(values[b] for b in offered) for values, offered in zip(row, bits, strict=True)]
        room = _slack(limit) - math.fsum(lowest) if math.isfinite(limit) else math.inf
        reach = [room + SLACK * abs(low) for low in lowest]
        bits = [
            [b for b in offered if values[b] == low or values[b] - low <= most]
            for values, offered, low, most in zip(row, bits, lowest, reach, strict=True)
        ]
    return bits


def _undominated(rows: list[dict[int, float]]) -> list[int]:
    """Options that no other is as good as in every respect; of equal ones the fewest bits."""
    kept: list[int] = []
    for bits in sorted(rows[0], key=lambda bits: ([row[bits] for row in rows], bits)):
        if not any(all(row[other] <= row[bits] for row in rows) for other in kept):
            kept.append(bits)
    return sorted(kept)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Whole numbers. values: by item (options, rows), least 0; limits: by row, what is left above the least.

    prices: by row, what a unit of it costs in units of the first; rest: by item (and one after the last), the least
    that it and all after it add to the first row, prices included. rows, bounds, bits: as given, to check what was
    rounded.
    """

    values: list[_Array]
    limits: _Array
    prices: _Array
    rest: _Array
    rows: list[_Row]
    bounds: Sequence[float]
    bits: list[list[int]]

    def loss(self, choice: Sequence[int]) -> float:
        return float(sum(v[at, 0] for v, at in zip(self.values, choice, strict=True)))

    def allows(self, choice: Sequence[int]) -> bool:
        """Whether the numbers as given keep to the limits: their sums are rounded once."""
        widths = self.widths(choice)
        return all(_total(row, widths) <= limit for row, limit in zip(self.rows, self.bounds, strict=True))

    def widths(self, choice: Sequence[int]) -> tuple[int, ...]:
        return tuple(offered[at] for offered, at in zip(self.bits, choice, strict=True))


def _problem(rows: list[_Row], bounds: Sequence[float], bits: list[list[int]]) -> _Problem | None:
    """None where not even the linear relaxation keeps to the limits."""
    columns, limits = [], []
    for row, bound in zip(rows, bounds, strict=True):
        lowest = [min(values[b] for b in offered) for offered, values in zip(bits, row, strict=True)]
        above = [[values[b] - low for b in offered] for offered, values, low in zip(bits, row, lowest, strict=True)]
        total = math.fsum(max(part) for part in above)
        whole = total < 2**DIGITS and all(float(part).is_integer() for values in row for part in values.values())
        unit = 1.0 if whole else math.ldexp(1.0, math.frexp(total)[1] - DIGITS)
        columns.append([np.rint(np.array(part) / unit) for part in above])
        room = math.fsum([bound, *(-low for low in lowest)]) / unit if bound != math.inf else math.inf
        # numbers that were rounded may have lost half a unit each
        limits.append(math.floor(room) + (0 if whole else len(bits)) if room != math.inf else math.inf)
    values = [np.stack([column[i] for column in columns], 1) for i in range(len(bits))]
    prices = _prices(values, np.array(limits))
    if prices is None:
        return None
    least_priced = [float((v @ prices).min()) for v in values]
    rest = np.array([math.fsum(least_priced[i:]) for i in range(len(bits) + 1)])
    return _Problem(values, np.array(limits), prices, rest, rows, bounds, bits)


def _prices(values: list[_Array], limits: _Array) -> _Array | None:
    """Multipliers of the linear relaxation by row, 1 for the first; None if the relaxation has no solution."""
    from scipy.optimize import linprog

    prices = np.zeros(len(limits))
    prices[0] = 1.0
    limited = np.flatnonzero(np.isfinite(limits))
    if not len(limited) or not values:
        return prices
    flat = np.concatenate(values)
    scale = np.maximum(1.0, flat.max(0))
    flat = flat / scale
    owner = np.repeat(np.arange(len(values)), [len(v) for v in values])
    one = (owner == np.arange(len(values))[:, None]).astype(np.float64)
    # a little more than the limit, so that no tolerance makes a choice that just meets it impossible
    room = limits[limited] / scale[limited] + 1e-6
    answer = linprog(flat[:, 0], flat[:, limited].T, room, one, np.ones(len(values)), (0, None), method="highs")
    if answer.status == 2:
        return None
    if answer.status == 0:
        # any prices that are not negative give a bound; these give the best
        prices[limited] += np.maximum(0.0, -answer.ineqlin.marginals) * scale[0] / scale[limited]
    return prices


def _search(problem: _Problem, upper: float, most: int) -> tuple[list[int] | None, bool]:
    """The best choice whose first row is at most `upper`, by its options; whether nothing was left out."""
    limited = np.flatnonzero(np.isfinite(problem.limits))
    slack = 1e-9 * (1.0 + sum(float(np.abs(v).max(0) @ problem.prices) for v in problem.values))
    due = float(problem.prices[limited] @ problem.limits[limited])
    sums = np.zeros((1, len(problem.limits)))
    parents: list[npt.NDArray[np.intp]] = []
    complete = True
    # sums stay in the order of the widths that led to them, so that of equal ones the first is the one wanted
    for i, options in enumerate(problem.values):
        sums = (sums[:, None, :] + options[None]).reshape(-1, sums.shape[1])
        bound = sums @ problem.prices + problem.rest[i + 1] - due
        kept = np.flatnonzero((bound <= upper + slack) & (sums[:, limited] <= problem.limits[limited]).all(1))
        kept = kept[_efficient(sums[kept], bound[kept])]
        if len(kept) > most:
            complete = False
            kept = np.sort(kept[np.argsort(bound[kept], kind="stable")[:most]])
        sums = sums[kept]
        parents.append(kept)
    for last in np.lexsort(sums.T[::-1]).tolist():
        choice, at = [], last
        for options, kept in zip(reversed(problem.values), reversed(parents), strict=True):
            at, option = divmod(int(kept[at]), len(options))
            choice.append(option)
        choice.reverse()
        if problem.allows(choice):
            return choice, complete
    return None, complete


def _efficient(sums: _Array, bound: _Array) -> npt.NDArray[np.intp]:
    """Indices, ascending, of rows that no other is as small as everywhere; of equal ones the first.

    sums (choices, rows), bound (choices). With more than two rows only the PIVOTS of the best bound drop others, and of
    those that they leave some could go.
    """
    order = np.lexsort(sums.T[::-1])
    ordered = sums[order]
    if not len(order):
        return order
    if sums.shape[1] <= 2:
        last = ordered[:, -1]
        before = np.concatenate([[np.inf], np.minimum.accumulate(last[:-1])])
        return np.sort(order[last < before])
    order = order[np.concatenate([[True], (np.diff(ordered, axis=0) != 0).any(1)])]
    for pivot in order[np.argsort(bound[order], kind="stable")[:PIVOTS]]:
        worse = (sums[order] >= sums[pivot]).all(1)
        order = order[~worse | (order == pivot)]
    return np.sort(order)


def _refused(costs: list[_Row], limits: Sequence[float], names: Sequence[str]) -> RefusedError:
    """Which limit cannot be met, and the nearest that can: alone, with all others as they are, or with those before."""
    for k, (row, limit) in enumerate(zip(costs, limits, strict=True)):
        if _least(row) > _slack(limit):
            return _too_small(k, limit, _least(row), "the least that any widths take", names)
    for earlier in (False, True):
        for k, limit in enumerate(limits):
            others = [j for j in range(len(limits)) if j < k or (j > k and not earlier)]
            found = _best([costs[k], *(costs[j] for j in others)], [math.inf, *(limits[j] for j in others)])
            if found is not None and _total(costs[k], found) > _slack(limit):
                why = "the least that widths take which keep to the other limits"
                return _too_small(k, limit, _total(costs[k], found), why, names)
    raise AssertionError("limits that can be met were refused")


def _too_small(k: int, limit: float, nearest: float, why: str, names: Sequence[str]) -> RefusedError:
    name = names[k] if k < len(names) else f"limit {k + 1}"
    return RefusedError(
        "ND306",
        f"{name}: {limit:.10g} cannot be met; {why} is {nearest:.10g}",
        help=f"allow {nearest:.10g} or more, or make the network smaller",
    )
