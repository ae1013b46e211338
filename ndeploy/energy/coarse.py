"""Energy from counts alone, where nobody kept which neuron sent what: for choosing among programs, not for reports.

What a population sent is spread evenly over its neurons, and updates into which a message came are taken to be Poisson
distributed; synaptic operations are the exact ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ndeploy.check_graded import updates_of
from ndeploy.energy.estimate import estimate
from ndeploy.energy.ranges import Range
from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity, Counts
from ndeploy.neurons import Input
from ndeploy.place import Placed
from ndeploy.realise import index_sizes
from ndeploy.target import Target

FloatArray = npt.NDArray[np.float64]


def energy_of_counts(program: Program, placed: Placed, target: Target, counts: Counts) -> Range | None:
    """Dynamic energy a sample in J, mean over the samples counted; None where a used event has no price.

    Raises UsageError ND430 where the counts are those of another program.
    """
    report = estimate(program, placed, target, _even(program, counts))
    if report.energy is None:
        return None
    energy = report.energy
    exact: dict[str, float] = {}
    for projection in program.projections:
        kind = f"synaptic-op.{projection.synapses.kind}"
        exact[kind] = exact.get(kind, 0.0) + _mean(counts.synaptic_ops, projection.name)
    for product in program.products:
        injected = program.population(product.target).size * program.steps * (product.realisation == "embedded")
        visits = _mean(counts.synaptic_ops, product.name) + injected
        exact["synaptic-op.sparse"] = exact.get("synaptic-op.sparse", 0.0) + visits
    for term in report.terms:
        if term.name in exact and term.unit_energy is not None:
            energy = energy + term.unit_energy.times(exact[term.name] - term.count)
    return energy


def _mean(counts: Mapping[str, IntArray], name: str) -> float:
    return float(np.mean(counts[name])) if name in counts and np.size(counts[name]) else 0.0


def _even(program: Program, counts: Counts) -> Activity:
    """The activity of one mean sample, in one step, as real numbers."""
    known = {p.name for p in program.populations} | {j.name for j in program.projections}
    known |= {x.name for x in program.products}
    named = {*counts.synaptic_ops, *counts.spikes, *counts.neuron_updates, *counts.embedded_ops}
    if not named <= known:
        raise UsageError(
            "ND430",
            f"counts of '{min(named - known)}', which program '{program.name}' does not have",
            help="estimate the energy of a program from a run of the same program",
        )

    def spread(total: float, size: int) -> FloatArray:
        return np.full((1, size), total / size)

    visits = {p.name: 0.0 for p in program.populations}
    ends = [(j.target, j.name) for j in program.projections] + [(x.target, x.name) for x in program.products]
    for target, name in ends:
        visits[target] += _mean(counts.synaptic_ops, name)
    arrivals = {}
    for p in program.populations:
        if not isinstance(p.neuron, Input):
            updates = max(updates_of(program, p), 1)
            share = 1.0 - np.exp(-visits[p.name] / (p.size * updates))
            arrivals[p.name] = spread(updates * p.size * share, p.size)
    return Activity(
        1,
        {p.name: spread(_mean(counts.spikes, p.name), p.size) for p in program.populations},  # type: ignore[misc]
        arrivals,  # type: ignore[arg-type]
        {
            x.name: spread(_mean(counts.spikes, x.name), int(np.prod(list(index_sizes(x).values()))))  # type: ignore[misc]
            for x in program.products
            if x.realisation != "embedded"
        },
    )
