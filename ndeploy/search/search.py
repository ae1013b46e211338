"""The search for widths: how much every layer's width matters to the answers, an exact allocation, and its refinement.

1. Every layer alone is narrowed to 2, 3 and 4 bits while the others keep 8; the loss of the answers on calibration data
   says what that costs. Wider widths follow from the error's law: a bit more quarters it.
2. The allocation that loses least within the budget, if losses added up, is found exactly (`allocation`).
3. They do not add up where everything is narrow: around the best program so far every layer is measured once more with
   one bit less and one bit more, and an allocation within one bit of each width is made from that; exchanges between
   two layers are measured too. This goes on until nothing gets better.
4. The uniform programs within the budget are measured as well: what is returned is never worse than they are.

Under a budget of accuracy the cost is what shrinks: narrower allocations are tried until accuracy does not allow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ndeploy.data import Data
from ndeploy.errors import RefusedError, UsageError
from ndeploy.quantizer import Quantised, Request
from ndeploy.search.allocation import allocate, monotone
from ndeploy.search.assignment import MOST_BITS, Assignment, mean_bits
from ndeploy.search.explain import explain
from ndeploy.search.explanation import Point
from ndeploy.search.limits import Problem, packed_bytes, problem
from ndeploy.search.measure import REFUSED, Build, Context, Measurer, built
from ndeploy.search.narrowest import narrowest
from ndeploy.search.score import Score, reference, score

SAMPLES = 512
"""Calibration samples that answers are judged on."""
PROBED = (2, 3, 4)
"""Widths at which every layer is measured alone."""
ROUNDS = 4
EXCHANGES = 8
"""Exchanges of a bit between two layers that a round tries, the most promising first."""


@dataclass(frozen=True)
class Found:
    """The best assignment, its score, what every layer alone loses by width, and the score with all at their widest."""

    assignment: Assignment
    score: Score
    alone: Mapping[str, Mapping[int, Score]]
    widest: Score


def search(request: Request, build: Build, progress: Callable[[str], None]) -> Quantised:
    """The best program within the budget of a request whose moments are known.

    Raises RefusedError ND306 for a budget that nothing meets, UsageError ND305 without calibration data.
    """
    context = context_of(request, build)
    with Measurer(context, progress) as measurer:
        found, asked = _search(context, measurer, progress)
        quantised = built(context, found.assignment, final=True)
        progress("saying why")
        explanation = explain(context, measurer, asked, found, quantised)
        notes = (*explanation.notes, *measurer.notes)
        measurer.journal.finish()
    return replace(quantised, explanation=replace(explanation, notes=notes))


def context_of(request: Request, build: Build) -> Context:
    """What all measurements of a search share. Raises UsageError ND305, and ND502 for labels of another shape."""
    if request.calibration is None or request.network is None:
        raise UsageError(
            "ND305", "a search for widths needs calibration data", help="give --calibration DATA.npz with x and y"
        )
    data = request.calibration.spread(SAMPLES)
    return Context(request, data, reference(request.network, data), build)


def frontier(
    request: Request, budgets: Iterable[float], progress: Callable[[str], None], evaluate: Data | None = None
) -> Quantised:
    """A point for every budget of mean weight bits, and the uniform programs of 2 to 8 bits beside them.

    evaluate: other data on which the points' programs are run. The program is that of the largest budget.
    """
    from ndeploy.plugins import methods

    method = methods()["bit-budget"]
    prepared: Request = method.prepare(request, progress)
    context = context_of(prepared, method.build)
    points: list[Point] = []
    wanted = None if evaluate is None or request.network is None else reference(request.network, evaluate)
    with Measurer(context, progress) as measurer:
        widest, asked = _widest(context)
        base, alone = _alone(measurer, asked, widest)
        found: Found | None = None
        for budget in sorted(set(budgets)):
            own = replace(prepared, budget=replace(prepared.budget, mean_bits=budget))
            limited = problem(own, built(context, widest).program)
            limited.require_feasible()
            progress(f"budget of {budget:g} bits")
            before = found
            found = _refined(context, measurer, limited, _first(limited, base, alone, measurer), base, alone)
            if before is not None and before.score.loss < found.score.loss:
                found = before  # what a smaller budget bought is within this one, and is a point already
                continue
            points.append(_point(context, found.assignment, found.score, "bit-budget", evaluate, wanted))
        for bits in sorted({b for widths in asked.options.values() for b in widths}):
            plain = Assignment({x.name: _nearest(asked, x.name, bits) for x in asked.layers}, rounding="plain")
            (got,) = measurer([plain], f"uniform {bits} bits")
            if got.loss < REFUSED:
                points.append(_point(context, plain, got, "uniform", evaluate, wanted))
        if found is None:
            raise UsageError("ND205", "no budgets to draw", help="give --budgets 2,3,4")
        quantised = built(context, found.assignment, final=True)
        explanation = explain(context, measurer, asked, found, quantised)
        notes = (*explanation.notes, *measurer.notes)
        measurer.journal.finish()
    return replace(quantised, explanation=replace(explanation, frontier=tuple(points), notes=notes))


def _point(
    context: Context,
    assignment: Assignment,
    found: Score,
    method: str,
    evaluate: Data | None,
    wanted: object,
) -> Point:
    from ndeploy.search.score import Reference

    program = built(context, assignment, final=True).program
    accuracy = None
    if evaluate is not None and isinstance(wanted, Reference):
        accuracy = score(program, evaluate, wanted).accuracy
    return Point(
        method,
        mean_bits(context.request.lowered, assignment.weights),
        packed_bytes(context.request, program),
        found.loss,
        found.accuracy,
        dict(assignment.weights),
        dict(assignment.messages),
        accuracy,
    )


def _search(context: Context, measurer: Measurer, progress: Callable[[str], None]) -> tuple[Found, Problem]:
    budget = context.request.budget
    widest, asked = _widest(context)
    asked.require_feasible()
    if budget.spike_bits is not None:
        widest = replace(widest, messages=_payloads(context, measurer, widest, progress))
    base, alone = _alone(measurer, asked, widest)
    if budget.accuracy_points is not None:
        best = narrowest(context, measurer, asked, _losses(asked, base, alone), (widest, base))
        return Found(*best, alone, base), asked
    tight = asked
    while True:
        start = _first(tight, base, alone, measurer, widest.messages, asked)
        found = _refined(context, measurer, tight, start, base, alone)
        over = _over_memory(context, found.assignment)
        if over <= 0:
            return found, asked
        # widths that differ within a population may cut it into more boxes than the sum of its parts says
        limits = tuple(replace(x, most=x.most - 8.0 * over - 8.0) if x.quantity == "bytes" else x for x in tight.limits)
        tight = replace(tight, limits=limits)
        if not tight.within({x.name: min(tight.options[x.name]) for x in tight.layers}):
            # of widths that are all alike the sum is exact, and the narrowest keep to the budget
            alike = _uniform(asked, widest.messages)
            best = min(zip(alike, measurer(alike, "allocations"), strict=True), key=lambda x: (x[1].loss, x[0].key()))
            return Found(*best, alone, base), asked


def _widest(context: Context) -> tuple[Assignment, Problem]:
    request = context.request
    first = Assignment({p.name: MOST_BITS for p in request.lowered.projections if not p.unit and p.integer is None})
    asked = problem(request, built(context, first).program)
    return replace(first, weights={x.name: max(asked.options[x.name]) for x in asked.layers}), asked


def _payloads(
    context: Context, measurer: Measurer, widest: Assignment, progress: Callable[[str], None]
) -> Mapping[str, int]:
    """Payloads within the budget of spike bits, chosen while all weights are at their widest."""
    from ndeploy.search.signals import choose_payloads

    def measured(messages: Mapping[str, int]) -> float:
        (found,) = measurer([replace(widest, messages=dict(messages))], "payloads")
        return found.loss

    spike_bits = context.request.budget.spike_bits
    return dict(choose_payloads(context.request, measured, 0.0 if spike_bits is None else spike_bits, progress))


def _over_memory(context: Context, assignment: Assignment) -> int:
    limit = context.request.budget.memory_bytes
    if limit is None:
        return 0
    return packed_bytes(context.request, built(context, assignment).program) - limit


def _nearest(asked: Problem, name: str, bits: int) -> int:
    return min(asked.options[name], key=lambda b: (abs(b - bits), b))


def _alone(measurer: Measurer, asked: Problem, widest: Assignment) -> tuple[Score, Mapping[str, Mapping[int, Score]]]:
    """The score with all layers at their widest, and those with one layer alone narrowed."""
    tried = [(x.name, b) for x in asked.layers for b in PROBED if b in asked.options[x.name]]
    scores = measurer([widest, *(_with(widest, name, bits) for name, bits in tried)], "every layer alone")
    alone: dict[str, dict[int, Score]] = {x.name: {} for x in asked.layers}
    for (name, bits), found in zip(tried, scores[1:], strict=True):
        alone[name][bits] = found
    return scores[0], alone


def _with(assignment: Assignment, name: str, bits: int) -> Assignment:
    return replace(assignment, weights={**assignment.weights, name: bits})


def _losses(asked: Problem, base: Score, alone: Mapping[str, Mapping[int, Score]]) -> dict[str, dict[int, float]]:
    """What every layer adds to the loss at every width; widths that were not measured by the law of the error."""
    found: dict[str, dict[int, float]] = {}
    for layer in asked.layers:
        measured = {b: max(s.loss - base.loss, 0.0) for b, s in alone[layer.name].items()}
        widest = max(measured, default=0)
        last = measured.get(widest, 0.0)
        for bits in asked.options[layer.name]:
            if bits not in measured:
                measured[bits] = last * 4.0 ** (widest - bits) if bits > widest else last
        found[layer.name] = monotone(measured)
    return found


def _first(
    asked: Problem,
    base: Score,
    alone: Mapping[str, Mapping[int, Score]],
    measurer: Measurer,
    messages: Mapping[str, int] | None = None,
    whole: Problem | None = None,
) -> tuple[Assignment, Score]:
    """The best of the allocation and the uniform widths within the budget. whole: the budget as asked, which uniform
    widths keep to, where the allocation is given less."""
    kept = dict(messages or {})
    names = [limit.name for limit in asked.limits]
    limits = [limit.most for limit in asked.limits]
    chosen = allocate(asked.items(_losses(asked, base, alone), asked.limits), limits, names)
    alike = _uniform(asked if whole is None else whole, kept)
    candidates = [
        replace(x, rounding=how) for x in (Assignment(chosen, kept), *alike[:1]) for how in _roundings(measurer)
    ]
    candidates += alike[1:]
    scores = measurer(candidates, "allocations")
    floor = _floor(asked if whole is None else whole, kept, measurer)
    return min(zip(candidates, scores, strict=True), key=lambda pair: (_rank(pair[1], floor), pair[0].key()))


def _floor(asked: Problem, messages: Mapping[str, int], measurer: Measurer) -> float:
    """The accuracy of the uniform programs within the budget: what is returned has no less of it."""
    found = measurer(_uniform(asked, messages), "allocations")
    return max((s.accuracy for s in found if s.accuracy is not None), default=0.0)


def _rank(found: Score, floor: float) -> tuple[bool, float]:
    """Less is better: the loss, of programs that answer no fewer samples right than the uniform ones do."""
    return found.accuracy is not None and found.accuracy < floor, found.loss


def _roundings(measurer: Measurer) -> tuple[str, ...]:
    """The moments that weights may be rounded by."""
    return ("together", *measurer.context.request.variants)


def _uniform(asked: Problem, messages: Mapping[str, int]) -> list[Assignment]:
    """The widest uniform assignment within every limit, rounded together and as the method uniform rounds."""
    for bits in range(MOST_BITS, 1, -1):
        weights = {x.name: _nearest(asked, x.name, bits) for x in asked.layers}
        if asked.within(weights):
            return [Assignment(weights, messages), Assignment(weights, messages, "plain")]
    return []


def _refined(
    context: Context,
    measurer: Measurer,
    asked: Problem,
    start: tuple[Assignment, Score],
    base: Score,
    alone: Mapping[str, Mapping[int, Score]],
) -> Found:
    """Rounds of neighbours until nothing gets better."""
    best, least = start
    floor = _floor(asked, best.messages, measurer)
    for round_ in range(ROUNDS):
        together = replace(best, rounding="together") if best.rounding == "plain" else best
        around = _around(asked, together)
        moves = [(name, bits) for name, near in around.items() for bits in near]
        scores = measurer([_with(together, name, bits) for name, bits in moves], f"refining, round {round_ + 1}")
        changes: dict[str, dict[int, float]] = {name: {bits: 0.0} for name, bits in best.weights.items()}
        for (name, bits), found in zip(moves, scores, strict=True):
            changes[name][bits] = found.loss - least.loss
        proposals = [_with(together, n, b) for n, b in moves] + _proposals(asked, together, changes)
        proposals += [replace(best, rounding=how) for how in _roundings(measurer)]
        proposals = [x for x in proposals if asked.within(x.weights)]
        judged = measurer(proposals, f"exchanging, round {round_ + 1}")
        ranked = sorted(zip(proposals, judged, strict=True), key=lambda pair: (_rank(pair[1], floor), pair[0].key()))
        better = ranked[0] if ranked else None
        if better is None or _rank(better[1], floor) >= _rank(least, floor):
            break
        best, least = better
    return Found(best, least, alone, base)


def _around(asked: Problem, assignment: Assignment) -> dict[str, list[int]]:
    return {
        name: [b for b in (bits - 1, bits + 1) if b in asked.options[name]] for name, bits in assignment.weights.items()
    }


def _proposals(asked: Problem, best: Assignment, changes: Mapping[str, Mapping[int, float]]) -> list[Assignment]:
    """The allocation from what a bit more or less changes, and the exchanges that promise most."""
    limits = [limit.most for limit in asked.limits]
    found: list[Assignment] = []
    try:
        # what one layer saves is only worth what another needs: noise below nothing is no gain
        sober = {
            n: {b: (c if b >= best.weights[n] else max(c, 0.0)) for b, c in own.items()} for n, own in changes.items()
        }
        found.append(replace(best, weights=allocate(asked.items(sober, asked.limits), limits)))
    except RefusedError:
        pass  # no width within one bit of the present ones keeps to the limits
    exchanges = []
    for down, own in changes.items():
        for up, other in changes.items():
            less, more = best.weights[down] - 1, best.weights[up] + 1
            if down != up and less in own and more in other:
                weights = {**best.weights, down: less, up: more}
                if asked.within(weights):
                    exchanges.append((own[less] + other[more], replace(best, weights=weights)))
    exchanges.sort(key=lambda pair: (pair[0], pair[1].key()))
    return found + [assignment for _, assignment in exchanges[:EXCHANGES]]
