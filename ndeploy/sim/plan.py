"""What can be prepared once for a program: schedule, layouts, operators and fan-outs."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Input
from ndeploy.sim.blueprint import MemberPlan, blueprint
from ndeploy.sim.bounds import Magnitude
from ndeploy.sim.counts import FanOut
from ndeploy.sim.evaluators import Evaluator, evaluator, guaranteed
from ndeploy.sim.layout import channels_last
from ndeploy.sim.operators import CsrOperator, Operator, operator
from ndeploy.sim.products import Contraction
from ndeploy.sim.schedule import Component, Link, ProductLink, Schedule, schedule

if TYPE_CHECKING:
    from ndeploy.sim.activity_words import Ears

SMALL_WORK = 2e8
"""Below about this much work (synapses visited + 150 for a neuron update) numpy ends before torch is imported."""


class Plan:
    """A program made ready. compiled: torch products and numba kernels; otherwise numpy and scipy in 64 bits."""

    def __init__(self, program: Program, compiled: bool) -> None:
        self.program = program
        self.compiled = compiled
        self.ready = False  # whether it has run once, with all kernels loaded
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
        self._magnitudes: dict[int, Magnitude] = {}
        self._blueprints: dict[tuple[Any, ...], tuple[MemberPlan, ...] | None] = {}
        self._lock = Lock()
        self._blueprint_lock = Lock()

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

    def updates(self, name: str) -> int:
        """How many updates a population makes in a sample."""
        updates = self.populations[name].updates
        return self.program.steps if updates is None else min(updates, self.program.steps)

    def magnitude(self, link: Link) -> Magnitude:
        """The magnitudes of a link's weights."""
        if id(link) not in self._magnitudes:
            self._magnitudes[id(link)] = Magnitude(link.synapses)
        return self._magnitudes[id(link)]

    def feeding(self, component: Component) -> list[str]:
        """Populations outside a component that send to it."""
        own = set(component.populations)
        found = [x.source for x in self.program.projections if x.target in own]
        found += [n for x in self.program.products if x.target in own for n in (x.left, x.right)]
        return sorted(set(found) - own)

    def blueprint(self, component: Component, outside: Mapping[str, int]) -> tuple[MemberPlan, ...] | None:
        """A component made ready for messages of these magnitudes from outside; None where its own have no bound.

        Magnitudes of what is not clipped differ from chunk to chunk: they are rounded up to whole bits.
        """
        tops = {
            n: x if guaranteed(self.populations[n].neuron) else (1 << x.bit_length()) - 1 for n, x in outside.items()
        }
        key = component.populations, tuple(tops.values())
        with self._blueprint_lock:
            if key not in self._blueprints:
                updates = {name: self.updates(name) for name in self.populations}
                self._blueprints[key] = blueprint(self, component, tops, updates)
            return self._blueprints[key]

    @cached_property
    def ears(self) -> Ears:
        """What each link lets through of whether messages are zero."""
        from ndeploy.sim.activity_words import Ears

        return Ears(self)

    @cached_property
    def last_uses(self) -> dict[str, int]:
        """After which component each population's messages are no longer needed, and each product has its operands."""
        position = {p: i for i, c in enumerate(self.schedule.components) for p in c.populations}
        last = dict(position)
        for projection in self.program.projections:
            last[projection.source] = max(last[projection.source], position[projection.target])
        for product in self.program.products:
            last[product.name] = max(position[product.left], position[product.right])
            for operand in (product.left, product.right):
                last[operand] = max(last[operand], last[product.name], position[product.target])
        return last

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


_PLANS: OrderedDict[tuple[int, bool], tuple[Program, Plan]] = OrderedDict()
"""By identity of the program, which the entry keeps alive: a plan refers to its program, so that weak keys would hold
every program there ever was (a search makes hundreds)."""
_PLANS_LOCK = Lock()
KEPT_PLANS = 8


def plan_for(program: Program, compiled: bool) -> Plan:
    """The plan of a program (programs are never changed); those of the last `KEPT_PLANS` are kept."""
    with _PLANS_LOCK:
        key = id(program), compiled
        if key not in _PLANS:
            _PLANS[key] = program, Plan(program, compiled)
        _PLANS.move_to_end(key)
        while len(_PLANS) > KEPT_PLANS:
            _PLANS.popitem(last=False)
        return _PLANS[key][1]
