"""What can be prepared once for a program: schedule, layouts, operators and fan-outs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from threading import Lock
from weakref import WeakKeyDictionary

from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Input
from ndeploy.sim.counts import FanOut
from ndeploy.sim.evaluators import Evaluator, evaluator
from ndeploy.sim.layout import channels_last
from ndeploy.sim.operators import CsrOperator, Operator, operator
from ndeploy.sim.products import Contraction
from ndeploy.sim.schedule import Link, ProductLink, Schedule, schedule

SMALL_WORK = 2e8
"""Below about this much work (synapses visited + 150 for a neuron update) numpy ends before torch is imported."""


class Plan:
    """A program made ready. compiled: torch products and numba kernels; otherwise numpy and scipy in 64 bits."""

    def __init__(self, program: Program, compiled: bool) -> None:
        self.program = program
        self.compiled = compiled
        self.schedule: Schedule = schedule(program)
        self.populations: dict[str, Population] = {p.name: p for p in program.populations}
        self.layout = channels_last(program) if compiled else {p.name: 1 for p in program.populations}
        self.outgoing = {p.name: [x for x in program.projections if x.source == p.name] for p in program.populations}
        self.arriving = {
            p.name: sum(x.synapses.n_in for x in program.projections if x.target == p.name) for p in program.populations
        }
        self.fan_out = {x.name: FanOut(x.synapses, self.layout[x.source]) for x in program.projections}
        self.contractions = {
            x.name: Contraction(x, self.layout[x.left], self.layout[x.right], self.layout[x.target])
            for x in program.products
        }
        self._evaluators: dict[tuple[str, tuple[int | None, ...]], Evaluator] = {}
        self._operators: dict[tuple[int, bool], Operator] = {}
        self._lock = Lock()

    def operator(self, link: Link, bounded: bool) -> Operator:
        """The operator of a link; without a bound on its messages it must work in 64 bits."""
        exact = not self.compiled or not bounded
        key = id(link), exact
        with self._lock:
            if key not in self._operators:
                source, target = link.projection.source, link.projection.target
                if not exact:
                    made = operator(link.synapses, self.layout[source], self.layout[target])
                else:
                    made = CsrOperator(link.synapses)
                self._operators[key] = made
            return self._operators[key]

    def evaluator(self, population: Population, bounds: Mapping[str, int | None]) -> Evaluator:
        """How the population is updated for inputs of magnitude <= bounds, by port (None: not bounded)."""
        key = population.name, tuple(bounds.values())
        with self._lock:
            if key not in self._evaluators:
                self._evaluators[key] = evaluator(population, self.layout[population.name], bounds)
            return self._evaluators[key]

    def links(self, target: str, port: str) -> tuple[Link, ...]:
        """Synapses that end on a port."""
        return self.schedule.links.get((target, port), ())

    def products(self, target: str, port: str) -> tuple[ProductLink, ...]:
        """Products that end on a port."""
        return self.schedule.products.get((target, port), ())


def work(program: Program, samples: int) -> float:
    """A rough count of what numpy would have to do for these samples."""
    updates = sum(p.size for p in program.populations if not isinstance(p.neuron, Input))
    visits = sum(
        x.synapses.n_in * max(1, x.synapses.weight.size // max(1, x.synapses.n_in)) for x in program.projections
    )
    visits += sum(math.prod(x.left_view) * math.prod(x.right_view) for x in program.products)
    return float(program.steps * samples * (150 * updates + visits))


_PLANS: WeakKeyDictionary[Program, dict[bool, Plan]] = WeakKeyDictionary()
_PLANS_LOCK = Lock()


def plan_for(program: Program, compiled: bool) -> Plan:
    """The plan of a program, kept as long as the program lives (programs are never changed)."""
    with _PLANS_LOCK:
        plans = _PLANS.setdefault(program, {})
        if compiled not in plans:
            plans[compiled] = Plan(program, compiled)
        return plans[compiled]
