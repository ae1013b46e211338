"""How many model steps: the fewest bits of time that a budget of operations or energy leaves, or an accuracy needs.

Steps draw on the same purse as weight and spike bits (`ndeploy.search.cost`), and energy goes with events, which go
with steps. Every number of steps is a network of its own (a spiking transformer's head divides by T, a leaky neuron's
ties depend on it), so every one tried is compiled anew, at one width for all weights: the widest that the budget of
operations allows at that number of steps. It is run on calibration data and compared with the float network at its own
full number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ndeploy.budget import Budget, infeasible, shown
from ndeploy.data import Data
from ndeploy.decode import encode, encodes_sequences
from ndeploy.energy.estimate import estimate
from ndeploy.errors import RefusedError, UsageError
from ndeploy.ir.program import Program
from ndeploy.ir.result import RunResult
from ndeploy.place import Placed
from ndeploy.search.cost import bit_costs, fixed_operations, operations_options
from ndeploy.search.score import STATEFUL, Reference, Score, judge, unit
from ndeploy.target import Target

LADDER = 12
"""Numbers of steps that are tried first; around the best of them every number is, up to MOST_TRIED in all."""
MOST_TRIED = 24
WIDEST = 8
"""Weight bits that are tried where no budget asks for fewer."""
PER_TICK = ("most-certain", "ctc", "none")
"""Decodes whose answers are compared at every step."""


class Candidate(Protocol):
    """What compiling gives, as `ndeploy.pipeline.Compiled`."""

    @property
    def program(self) -> Program: ...
    @property
    def placed(self) -> Placed: ...
    @property
    def target(self) -> Target: ...


@dataclass(frozen=True)
class Tried:
    """One number of steps. bits: weight bits it was tried with; loss, accuracy: on calibration data, None where the
    budget of operations was exceeded whatever the bits; s_ace, ns_ace: bit operations a sample (`cost.bit_costs`);
    joules: nominal dynamic energy a sample, None where the target has no prices; within: whether it keeps to the
    budgets of operations and energy."""

    steps: int
    bits: int
    within: bool
    s_ace: float
    bb: float
    ns_ace: float | None = None
    joules: float | None = None
    loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class StepChoice:
    """The number of steps and the weight bits it was chosen with. full: the network's own steps; tried: by steps; why:
    one sentence."""

    steps: int
    bits: int
    full: int
    tried: tuple[Tried, ...]
    why: str
    budget: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def asked_steps(text: str) -> tuple[int | None, bool]:
    """(steps, whether fewer may be chosen) of "6", "auto" (up to the network's own steps) or "auto:6" (up to 6, for
    networks that state none). Raises UsageError ND308."""
    auto, colon, most = text.strip().partition(":") if text.strip().startswith("auto") else ("", ":", text.strip())
    number = int(most) if most.isascii() and most.isdigit() and len(most) < 10 else 0
    if auto not in ("", "auto") or (colon and number < 1):
        raise UsageError(
            "ND308", f"--steps '{text}': must be a whole number from 1 up, auto, or auto:MOST", help="give --steps auto"
        )
    return (number if colon else None), bool(auto)


def trial_bits(budget: Budget, asked: int = WIDEST) -> int:
    """One width for all weights that stands for a budget of mean weight bits: the next whole number of bits."""
    if budget.mean_bits is None:
        return asked
    return max(2, min(asked, math.ceil(budget.mean_bits)))


def choose_steps(
    compile_at: Callable[[int, int], Candidate],
    steps: int,
    budget: Budget,
    data: Data,
    wanted: Reference,
    bits: int = WIDEST,
    progress: Callable[[str], None] = lambda stage: None,
) -> StepChoice:
    """The number of steps, 1 to `steps`, with the least loss on the data that keeps to the budgets of operations and
    energy; where accuracy may be lost (`budget.accuracy_points`), the one with the fewest operations that loses no
    more. Fewer steps win ties.

    compile_at(steps, bits): the network compiled for so many steps with all weights so many bits wide. wanted: the
    float network on the same data, at its own full number of steps. bits: the widest to try. The larger budgets of
    operations and energy that would be needed are told where nothing keeps to them.

    Raises RefusedError ND306 (a budget that no number of steps keeps to; the message has what each takes), ND431 (a
    budget of energy on a target without prices), UsageError ND308 (the steps are not free, or accuracy cannot be told).
    """
    known = wanted.output.shape[1]
    if wanted.decode in PER_TICK and steps > known:
        raise UsageError(
            "ND308",
            f"{_steps(steps)} asked for at most; the network was trained to answer within {known}",
            help=f"choose from {known} or fewer",
        )
    trial = _Trial(compile_at, budget, data, wanted, bits, progress)
    tried: dict[int, Tried] = {}
    for number in ladder(steps):
        tried[number] = trial(number)
        if not tried[number].within:
            break  # what more steps take is no less
    while len(tried) < MOST_TRIED:
        best = _best(tuple(tried.values()), budget, wanted)
        between = _between(tried, best.steps) if best is not None else _between(tried, max(tried))
        if not between:
            break
        tried[between[0]] = trial(between[0])
    rows = tuple(tried[number] for number in sorted(tried))
    best = _best(rows, budget, wanted)
    if best is None:
        raise _none_within(rows, budget, wanted)
    return StepChoice(best.steps, best.bits, steps, rows, _why(best, rows, budget, steps), budget.given)


def check_energy(
    compiled: Candidate,
    budget: Budget,
    data: Data,
    compile_at: Callable[[int, int], Candidate] | None = None,
    bits: int = WIDEST,
) -> float | None:
    """A sample's nominal dynamic energy in joules on the data, None where no budget of energy is given.

    compile_at: as for `choose_steps`, to say what fewer steps would take. Raises RefusedError ND306 where it is more
    than the budget, with the energy at every number of steps tried; ND431 where the target has no prices.
    """
    if budget.energy_joules is None:
        return None
    require_prices(compiled.target)
    program = compiled.program if not encodes_sequences(compiled.program, data.x) else _as_long(compiled.program, data)
    joules = joules_of(compiled, program, _run(program, data))
    if joules <= budget.energy_joules:
        return joules
    rows = [(program.steps, joules)]
    if compile_at is not None and program is compiled.program:
        for number in ladder(program.steps)[:-1]:
            fewer = compile_at(number, bits)
            rows.append((number, joules_of(fewer, fewer.program, _run(fewer.program, data))))
    said = "; ".join(f"{_steps(n)} {shown(j, 'joules')}" for n, j in sorted(rows))
    enough = max((n for n, j in rows if j <= budget.energy_joules), default=None)
    remedy = "lower firing rates or a smaller network take less: the widths of weights hardly change the energy"
    if enough is not None:
        remedy = f"--steps {enough} keeps to the budget; --steps auto finds the best number of steps that does"
    elif len(rows) == 1:
        remedy = f"{remedy}; a sequence in the data sets the steps"
    raise infeasible("energy budget", budget.energy_joules, joules, "joules", f"{remedy}. It takes: {said}")


def require_prices(target: Target) -> None:
    """Raises RefusedError ND431 where nobody has published what an event costs on the target."""
    if not target.energy:
        raise RefusedError(
            "ND431",
            f"an energy budget on {target.name}: it has no price of any event",
            help="leave out --energy-budget, or choose a target with prices (`ndeploy targets`)",
        )


def joules_of(compiled: Candidate, program: Program, result: RunResult) -> float:
    """Nominal dynamic energy of a sample, as `ndeploy energy` reports it. program: the compiled one, for as many steps
    as it was run. Raises RefusedError ND431 where the target has no prices, or none of something that happens."""
    require_prices(compiled.target)
    assert result.activity is not None  # `_run` asks for it
    found = estimate(program, compiled.placed, compiled.target, result.activity)
    if found.energy is None:
        raise RefusedError(
            "ND431",
            f"an energy budget on {compiled.target.name}, which has no price of all that happens: "
            f"{'; '.join(found.unpriced)}",
            help="leave out --energy-budget, or choose a target with prices (`ndeploy targets`)",
        )
    return found.energy.nominal


def ladder(steps: int) -> tuple[int, ...]:
    """Numbers of steps to try first, 1 to `steps`: all of them if few, else evenly spread by ratio."""
    if steps < 1:
        raise UsageError(
            "ND308", f"steps cannot be chosen below {steps}", help="give the network's steps: --steps T, 1 or more"
        )
    if steps <= LADDER:
        return tuple(range(1, steps + 1))
    return tuple(sorted({round(steps ** (i / (LADDER - 1))) for i in range(LADDER)}))


@dataclass(frozen=True, eq=False)
class _Trial:
    compile_at: Callable[[int, int], Candidate]
    budget: Budget
    data: Data
    wanted: Reference
    bits: int
    progress: Callable[[str], None]

    def __call__(self, steps: int) -> Tried:
        """Compile for `steps`, run and judge."""
        self.progress(f"trying {_steps(steps)}")
        compiled = self._compiled(steps, self.bits)
        bits, most = self.bits, self.budget.operations
        if most is not None and bit_costs(compiled.program, None)["s_ace"] > most:
            bits = widest_within(compiled.program, compiled.target, most, bits - 1) or 2
            while True:  # beside narrower weights constant synapses may be wider: then weights have to give another bit
                compiled = self._compiled(steps, bits)
                costs = bit_costs(compiled.program, None)
                if costs["s_ace"] <= most:
                    break
                if bits <= 2:
                    return Tried(steps, bits, False, costs["s_ace"], costs["bb"])
                bits -= 1
        result = _run(compiled.program, self.data)
        costs = bit_costs(compiled.program, result.counts)
        joules = joules_of(compiled, compiled.program, result) if compiled.target.energy else None
        limit = self.budget.energy_joules
        found = self._score(compiled.program, result)
        return Tried(
            steps,
            bits,
            limit is None or (joules is not None and joules <= limit),
            costs["s_ace"],
            costs["bb"],
            costs["ns_ace"],
            joules,
            found.loss,
            found.accuracy,
        )

    def _compiled(self, steps: int, bits: int) -> Candidate:
        compiled = self.compile_at(steps, bits)
        if self.budget.energy_joules is not None:
            require_prices(compiled.target)
        if encodes_sequences(compiled.program, self.data.x):
            raise UsageError(
                "ND308",
                f"the data hold sequences of {self.data.x.shape[1]} values a sample: they set the steps, which cannot "
                "be chosen",
                help="leave out --steps auto, or give data with one value a sample",
            )
        if compiled.program.steps != steps:
            raise UsageError(
                "ND308",
                f"compiled for {steps} steps, the program has {compiled.program.steps}: its steps are not free",
                help="leave out --steps auto",
            )
        return compiled

    def _score(self, program: Program, result: RunResult) -> Score:
        """The score against the float network. Rate codes of fewer steps may count fewer spikes: sums count as they
        are and as if they had gone on for as many steps as the float network, and the better one counts."""
        port = program.outputs[0]
        wanted = self.wanted
        if wanted.decode in PER_TICK:
            wanted = replace(wanted, logits=wanted.logits[:, : program.steps], output=wanted.output[:, : program.steps])
        # as `score` counts it: messages that are clipped to their payload are no overflow
        overflow = sum(
            1 for p, n in result.overflow.items() if n and isinstance(program.population(p).neuron, STATEFUL)
        )
        factors = {1.0, wanted.output.shape[1] / program.steps} if wanted.decode == "sum" else {1.0}
        scores = [
            judge(
                result.outputs[port.population],
                result.predictions,
                port,
                np.asarray(unit(program, port) * factor),
                wanted,
                overflow,
            )
            for factor in sorted(factors)
        ]
        return min(scores, key=lambda score: score.loss)


def widest_within(program: Program, target: Target, most: float, bits: int) -> int:
    """The widest uniform weight width, up to `bits`, with which the program takes at most `most` bit operations; 0 if
    none does."""
    options = operations_options(program, target)
    fixed = fixed_operations(program)
    for width in range(bits, 1, -1):
        if fixed + sum(found.get(width, math.inf) for found in options.values()) <= most:
            return width
    return 0


def _as_long(program: Program, data: Data) -> Program:
    return replace(program, steps=int(data.x.shape[1]))


def _run(program: Program, data: Data) -> RunResult:
    from ndeploy.sim import run

    return run(program, encode(program, data.x, data.x_scale), activity=True)


def _best(rows: tuple[Tried, ...], budget: Budget, wanted: Reference) -> Tried | None:
    """The row to take, None where none keeps to the budgets."""
    within = [row for row in rows if row.within and row.loss is not None]
    if budget.accuracy_points is None:
        return min(within, key=lambda row: (row.loss, row.steps), default=None)
    least = _least_accuracy(budget, wanted)
    enough = [row for row in within if row.accuracy is not None and row.accuracy >= least]
    return min(enough, key=lambda row: (row.s_ace, row.steps), default=None)


def _least_accuracy(budget: Budget, wanted: Reference) -> float:
    if wanted.accuracy is None:
        raise UsageError(
            "ND308",
            "steps cannot be chosen by an accuracy budget: the network gives no answers that could be counted",
            help="leave out --accuracy-budget: the least loss decides then",
        )
    # a count of samples divided by their number: no less but for rounding
    return wanted.accuracy - (budget.accuracy_points or 0.0) / 100 - 1e-9


def _between(tried: Mapping[int, Tried], best: int) -> list[int]:
    """Numbers of steps not tried yet beside the best, the middle of the wider gap first."""
    below = max((n for n in tried if n < best), default=0)
    above = min((n for n in tried if n > best), default=best)
    gaps = [(above - best, (best + above) // 2), (best - below, (best + below + 1) // 2)]
    return [middle for gap, middle in sorted(gaps, key=lambda g: -g[0]) if gap > 1 and middle not in tried]


def _none_within(rows: tuple[Tried, ...], budget: Budget, wanted: Reference) -> RefusedError:
    """Why no number of steps will do: operations, then energy, then accuracy."""
    if budget.operations is not None and all(row.loss is None for row in rows):
        nearest = min(row.s_ace for row in rows)
        said = "; ".join(f"{_steps(row.steps)} {shown(row.s_ace, 'operations')}" for row in rows)
        remedy = f"a smaller network or narrower messages take less. With the narrowest weights it takes: {said}"
        return infeasible("operations budget", budget.operations, nearest, "operations", remedy)
    priced = [row for row in rows if row.joules is not None]
    if budget.energy_joules is not None and not any(row.within for row in rows) and priced:
        said = "; ".join(f"{_steps(row.steps)} {shown(row.joules or 0.0, 'joules')}" for row in priced)
        nearest = min(row.joules or 0.0 for row in priced)
        remedy = f"lower firing rates or a smaller network take less. It takes: {said}"
        return infeasible("energy budget", budget.energy_joules, nearest, "joules", remedy)
    judged = [row for row in rows if row.within and row.accuracy is not None]
    said = "; ".join(f"{_steps(row.steps)} {100 * (row.accuracy or 0.0):.4g} %" for row in judged)
    float_accuracy = wanted.accuracy or 0.0
    nearest = 100 * (float_accuracy - max((row.accuracy or 0.0 for row in judged), default=0.0))
    remedy = f"the float network answers {100 * float_accuracy:.4g} % right, the program with {said or 'no steps'}"
    return infeasible("accuracy budget", budget.accuracy_points or 0.0, nearest, "points", remedy)


def _why(best: Tried, rows: tuple[Tried, ...], budget: Budget, full: int) -> str:
    tried = f"of {len(rows)} numbers of steps tried, up to {full},"
    if budget.accuracy_points is not None:
        return f"{tried} the one with the fewest bit operations that loses at most {budget.accuracy_points:g} points"
    if all(row.within for row in rows):
        return f"{tried} the one with the least loss on calibration data"
    return f"{tried} the one with the least loss on calibration data that keeps to the budget"


def _steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"
