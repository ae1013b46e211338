"""A component made ready to be stepped: terms, types and evaluators of its members, for bounds of what enters it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndeploy.ir.program import Population
from ndeploy.sim.bounds import Bounds, Key, Magnitude, bounds
from ndeploy.sim.evaluators import Evaluator, guaranteed, narrowest
from ndeploy.sim.operators import FLOAT64_EXACT
from ndeploy.sim.schedule import Component, Link, ProductLink
from ndeploy.sim.terms import BlockTerm, Latched, Matrix, MatrixTerm, OperatorTerm, Term, UnitTerm, dense_matrix

if TYPE_CHECKING:
    from ndeploy.sim.plan import Plan


@dataclass(frozen=True, eq=False)
class LinkTerm:
    """A term, whose messages it takes and how many model steps later."""

    source: str
    lag: int
    term: Term


@dataclass(frozen=True, eq=False)
class ProductTerm:
    """A product with a member; latched: how its static operand is kept, None where it is multiplied as it comes."""

    link: ProductLink
    reach: int | None
    latched: Latched | None


@dataclass(frozen=True, eq=False)
class PortPlan:
    """Sums of one port: their type and bound, what comes from members, and what is known before the first step."""

    port: str
    dtype: type[np.signedinteger[Any]]
    bound: int
    links: tuple[LinkTerm, ...]
    products: tuple[ProductTerm, ...]
    outside: tuple[tuple[Link, ...], tuple[ProductLink, ...]]


@dataclass(frozen=True, eq=False)
class MemberPlan:
    """A member. dtype, low, high: of its messages; steps_kept: rows that later steps of members still need."""

    population: Population
    evaluator: Evaluator
    ports: tuple[PortPlan, ...]
    dtype: type[np.signedinteger[Any]]
    low: int
    high: int
    steps_kept: int


def blueprint(
    plan: Plan, component: Component, outside: Mapping[str, int], updates: Mapping[str, int]
) -> tuple[MemberPlan, ...] | None:
    """Members in order of evaluation; None where their messages have no bound.

    outside: bound on the messages of populations that send to members; updates: of every population.
    """
    members = [plan.populations[name] for name in component.populations]
    own = set(component.populations)
    keys = [(p.name, port) for p in members for port in p.neuron.ports]
    links = {key: plan.links(*key) for key in keys}
    products = {key: plan.products(*key) for key in keys}
    magnitudes = {id(x): plan.magnitude(x) for found in links.values() for x in found}
    found = bounds(members, links, products, plan.contractions, magnitudes, outside, plan.program.steps)
    if found is None:
        return None
    tops = {**outside, **found.tops}
    terms = _terms(plan, [x for key in keys for x in links[key] if x.projection.source in own], tops, magnitudes)
    made = []
    for p in members:
        ports = []
        for port in p.neuron.ports:
            key = p.name, port
            joined = tuple(x for x in products[key] if {x.product.left, x.product.right} & own)
            ports.append(
                PortPlan(
                    port,
                    np.int32 if found.inputs[key] < 2**31 else np.int64,
                    found.inputs[key],
                    tuple(terms[id(x)] for x in links[key] if id(x) in terms),
                    tuple(_product(plan, x, tops, own, updates) for x in joined),
                    (
                        tuple(x for x in links[key] if id(x) not in terms),
                        tuple(x for x in products[key] if x not in joined),
                    ),
                )
            )
        chosen = plan.evaluator(p, {port: found.inputs[p.name, port] for port in p.neuron.ports})
        low, high = guaranteed(p.neuron) or (-found.tops[p.name], found.tops[p.name])
        made.append(MemberPlan(p, chosen, tuple(ports), narrowest(low, high), low, high, _kept(plan, p.name, own)))
    return tuple(made)


def _kept(plan: Plan, name: str, own: set[str]) -> int:
    """Model steps of messages to keep while stepping; all of them where something outside needs them."""
    lags = [0]
    for (target, _), found in plan.schedule.links.items():
        for x in found:
            if x.projection.source == name:
                if target not in own:
                    return plan.program.steps
                lags.append(x.lag)
    if any(name in (x.left, x.right) for x in plan.program.products):
        return plan.program.steps
    return max(lags) + 1


def _terms(
    plan: Plan, links: list[Link], tops: Mapping[str, int], magnitudes: Mapping[int, Magnitude]
) -> dict[int, LinkTerm]:
    """The term of each link, by its id; dense ones of one source and lag share a matrix product."""
    made: dict[int, Term] = {}
    dense: dict[tuple[str, int], list[tuple[Link, Any, int]]] = {}
    for x in links:
        source, target = x.projection.source, x.projection.target
        exponent = x.projection.exponent
        reach = int(magnitudes[id(x)].matrix.sum(axis=1).max(initial=0)) * tops[source]
        if BlockTerm.suits(x.synapses, plan.layout[source], plan.layout[target]) and reach < 2**52:
            made[id(x)] = BlockTerm(x.synapses, reach, exponent)  # type: ignore[arg-type]
            continue
        operator = plan.operator(x, True)
        matrix = dense_matrix(operator)
        if matrix is not None and tops[source] > 1 and reach < FLOAT64_EXACT:
            dense.setdefault((source, x.lag), []).append((x, matrix, reach))
            continue
        low, high = guaranteed(plan.populations[source].neuron) or (-tops[source], tops[source])
        made[id(x)] = UnitTerm.of(operator, exponent) or OperatorTerm(operator, low, high, exponent)
    for group in dense.values():
        shared = Matrix([matrix for _, matrix, _ in group], max(reach for _, _, reach in group))
        offset = 0
        for x, matrix, _ in group:
            made[id(x)] = MatrixTerm(shared, offset, x.projection.exponent)
            offset += len(matrix)
    return {id(x): LinkTerm(x.projection.source, x.lag, made[id(x)]) for x in links}


def _product(
    plan: Plan, link: ProductLink, tops: Mapping[str, int], own: set[str], updates: Mapping[str, int]
) -> ProductTerm:
    product = link.product
    contraction = plan.contractions[product.name]
    reach = contraction.reach(tops[product.left], tops[product.right])
    for static, right in ((product.right, True), (product.left, False)):
        if static not in own and updates[static] == 1 and reach < 2**62:
            latched = Latched(contraction, right)
            if latched.fits:
                return ProductTerm(link, reach, latched)
    return ProductTerm(link, reach, None)


__all__ = ["Bounds", "Key", "MemberPlan", "PortPlan", "blueprint"]
