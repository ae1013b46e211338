"""Updates of neurons: which were active, and the words of memory that an update reads and writes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ndeploy.check_graded import updates_of
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Product, Program
from ndeploy.ir.result import Activity
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.traffic import Sent, spread
from ndeploy.place.units import Unit, Units
from ndeploy.realise import index_sizes

STATE_WORDS = 8 // WORD_BYTES
"""Words of a neuron's state in one word of memory of 64 bits."""


def population_of(program: Program, units: Units, unit: str) -> Population | None:
    """The population that the unit is, None for the buffers and neurons of a product."""
    owner = units.owner[unit]
    return next((p for p in program.populations if p.name == owner and p.name == unit), None)


def words_of(program: Program, units: Units, unit: Unit) -> tuple[int, int]:
    """(read, written) words of 64 bits of an update. Parameters of a neuron's own are read and not written."""
    population = population_of(program, units, unit.name)
    written = unit.words
    if population is not None and not population.neuron.embedded:
        counter = updates_of(program, population) < program.steps
        written = len(population.neuron.ports) + len(population.neuron.state) + counter
    return -(-unit.words // STATE_WORDS), -(-written // STATE_WORDS)


def updates(
    program: Program, units: Units, unit: Unit, index: IntArray, sent: Mapping[str, Sent], activity: Activity
) -> tuple[IntArray, IntArray]:
    """(updates, active ones) of the neurons at `index` of a unit by model step, summed over samples.

    Active is an update into which a message came, and every update of a neuron that has a bias of its own.
    """
    population = population_of(program, units, unit.name)
    steps = len(next(iter(activity.messages.values())))
    if population is None:
        return _of_product(program, units, unit, index, sent, activity, steps)
    each = spread(program.steps, updates_of(program, population), steps) * activity.samples
    biased = _biased(population)[index]
    active = activity.arrivals[population.name][:, index[~biased]].sum(axis=1)
    return each * index.size, active + each * int(np.count_nonzero(biased))


def _biased(population: Population) -> npt.NDArray[np.bool_]:
    """Which neurons have a bias that acts on their core; an embedded population's is the processor's."""
    found = np.zeros(population.size, dtype=np.bool_)
    for name in () if population.neuron.embedded else ("bias", "input_bias"):
        value = np.asarray(getattr(population.neuron, name, 0))
        found |= np.broadcast_to(value != 0, population.shape).reshape(-1)
    return found


def _of_product(
    program: Program,
    units: Units,
    unit: Unit,
    index: IntArray,
    sent: Mapping[str, Sent],
    activity: Activity,
    steps: int,
) -> tuple[IntArray, IntArray]:
    product = next(x for x in program.products if x.name == units.owner[unit.name])
    sizes = index_sizes(product)
    repeats = sizes[product.stream] if product.realisation == "streamed" else 1
    every = spread(program.steps, program.steps, steps)
    all_of = every * index.size * repeats * activity.samples
    if not unit.name.endswith("/neurons"):
        return all_of, sent[unit.name].messages[:, index].sum(axis=1)
    letters = product.subscripts.split("->")[0].split(",")
    came = np.zeros(len(every), dtype=np.float64)
    for operand, of_side, view in zip(
        (product.left, product.right), letters, (product.left_view, product.right_view), strict=True
    ):
        came = came + activity.messages[operand].astype(np.float64) @ _uses(of_side, view, sizes, unit, index, product)
    both = _coinciding(program, product, sent[unit.name].messages, index)
    return all_of, np.minimum(came - both, all_of).astype(both.dtype)


def _uses(
    letters: str, view: tuple[int, ...], sizes: Mapping[str, int], unit: Unit, index: IntArray, product: Product
) -> npt.NDArray[np.float64]:
    """How many of the neurons at `index` each element of an operand goes to, counting the slices of a streamed one."""
    at = dict(zip(sizes, np.unravel_index(index, unit.grid), strict=True))
    fans = np.zeros(math.prod(view), dtype=np.float64)
    stream = product.stream if product.realisation == "streamed" else ""
    for k in range(sizes[stream] if stream and stream in letters else 1):
        where = tuple(np.full(index.size, k) if letter == stream else at[letter] for letter in letters)
        fans += np.bincount(np.ravel_multi_index(where, view), minlength=fans.size)
    return fans


def _coinciding(program: Program, product: Product, live: IntArray, index: IntArray) -> IntArray:
    """Updates that both operands reach at once. A latched operand arrives once: later products are of one arrival."""
    early = [updates_of(program, program.population(name)) for name in (product.left, product.right)]
    both: IntArray = live[:, index].sum(axis=1)
    if len(both) == program.steps:
        both = np.where(np.arange(program.steps) < min(early), both, 0)
    return both
