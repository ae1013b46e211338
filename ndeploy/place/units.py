"""The units that are placed on cores: populations, and the buffers and neurons of products, with their links.

Input populations are no units: the host injects their messages. They still take in-axons where they arrive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ndeploy.check import stored_delay
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.neurons import Input
from ndeploy.pack import SynapseFormat, synapse_format
from ndeploy.place.links import Every, Exclusive, Link, Listed, Separable, SharedConv, Taps
from ndeploy.place.state import Configuration, configuration, population_words, product_words
from ndeploy.realise import index_sizes, realise
from ndeploy.synapses import Conv, Dense
from ndeploy.target import Target


@dataclass(frozen=True, eq=False)
class Unit:
    """Neurons to be placed. name: the population's, or "<product>/neurons", "<product>/left", "<product>/right".

    grid: the neurons' shape for splitting; subject: how messages name it; links: incoming synapses.
    configurations, thresholds: the distinct ones, and per neuron (flat) which it has; None where all have the first.
    words: of memory a neuron takes (ndeploy/place/state.py).
    """

    name: str
    subject: str
    grid: tuple[int, ...]
    links: tuple[Link, ...]
    configurations: tuple[Configuration, ...] = (("product",),)
    configuration_of: IntArray | None = None
    thresholds: tuple[Configuration, ...] = (("product",),)
    threshold_of: IntArray | None = None
    words: int = 2

    @property
    def size(self) -> int:
        return math.prod(self.grid)


@dataclass(frozen=True, eq=False)
class Units:
    """units: in program order; hosted: what is not on neurocores but sends to them (inputs, embedded products and
    populations, as "<name>/embedded") and its size; owner: by unit, the population or product it belongs to;
    to_processor: by unit, how often its neurons send to the embedded processor: their messages to a product, or their
    sums."""

    units: tuple[Unit, ...]
    hosted: Mapping[str, int] = field(default_factory=dict)
    owner: Mapping[str, str] = field(default_factory=dict)
    to_processor: Mapping[str, int] = field(default_factory=dict)


def _grid(population: Population, incoming: list[Projection]) -> tuple[int, ...]:
    """The convolution's output shape where there is one, so that boxes follow its channels and rows."""
    for projection in incoming:
        if isinstance(projection.synapses, Conv):
            return projection.synapses.out_shape
    return population.shape or (1,)


def _taps(out: int, kernel: int, stride: int, padding: int, dilation: int, size: int) -> Taps:
    table = np.arange(out)[:, None] * stride - padding + np.arange(kernel)[None, :] * dilation
    return Taps(size, np.where((table >= 0) & (table < size), table, -1))


def _conv_axes(synapses: Conv) -> tuple[Taps | Every, ...]:
    c_out, out_h, out_w = synapses.out_shape
    channels, height, width = synapses.in_shape
    _, per_group, kh, kw = synapses.weight.shape
    first = (np.arange(c_out) // (c_out // synapses.groups)) * per_group
    across: Taps | Every = Every(channels)
    if synapses.groups > 1:
        across = Taps(channels, first[:, None] + np.arange(per_group)[None, :])
    return (
        across,
        _taps(out_h, kh, synapses.stride[0], synapses.padding[0], synapses.dilation[0], height),
        _taps(out_w, kw, synapses.stride[1], synapses.padding[1], synapses.dilation[1], width),
    )


def _link(projection: Projection, source: str, grid: tuple[int, ...], target: Target) -> Link:
    synapses = projection.synapses
    stored = stored_delay(projection.delay, projection.delays)
    cores = target.core.neurons.value or math.prod(grid)
    run, indexed = (
        synapse_format(projection.weight_bits, stored, reach, target.packing)
        for reach in (0, min(cores, math.prod(grid)))
    )
    name, n_in = projection.name, synapses.n_in
    if isinstance(synapses, Dense):
        axes: tuple[Every | Taps, ...] = (Every(n_in), *(Every(1) for _ in grid[1:]))
        return Separable(name, source, n_in, grid, run, axes, tuple(range(len(grid))))
    if isinstance(synapses, Conv) and synapses.out_shape == grid:
        axes = _conv_axes(synapses)
        if target.packing.conv_weight_sharing:
            kernel = int(np.prod(synapses.weight.shape[2:]))
            return SharedConv(name, source, n_in, grid, run, axes, (0, 1, 2), kernel)
        return Separable(name, source, n_in, grid, indexed, axes, (0, 1, 2))
    to, origin, _ = synapses.to_coo()
    if np.any(to[1:] < to[:-1]):
        order = np.argsort(to, kind="stable")
        to, origin = to[order], origin[order]
    return Listed(name, source, n_in, grid, indexed, to, origin)


def _distinct(population: Population, names: tuple[str, ...]) -> tuple[tuple[Configuration, ...], IntArray | None]:
    """Distinct combinations of parameters among a population's neurons, and per neuron which it has."""
    values = [np.asarray(getattr(population.neuron, name, 0), dtype=np.int64) for name in names]
    if all(value.size == 1 for value in values):
        return (tuple(int(value.reshape(-1)[0]) for value in values),), None
    columns = np.stack([np.broadcast_to(value, population.shape).reshape(-1) for value in values], axis=1)
    rows, which = np.unique(columns, axis=0, return_inverse=True)
    return tuple(tuple(int(x) for x in row) for row in rows), which.reshape(-1).astype(np.int64)


def _population_unit(program: Program, population: Population, links: list[Link], grid: tuple[int, ...]) -> Unit:
    shared = configuration(population)
    configurations, configuration_of = _distinct(population, ("du", "dv", "refractory"))
    if shared is not None:
        configurations, configuration_of = (shared,), None
    thresholds, threshold_of = _distinct(population, ("vth", "vth_low", "vth_high"))
    return Unit(
        population.name,
        f"population '{population.name}'",
        grid,
        tuple(links),
        configurations,
        configuration_of,
        thresholds,
        threshold_of,
        population_words(program, population),
    )


def sender(population: Population) -> str:
    """What its messages come from: its unit, the host, or the embedded processor."""
    return f"{population.name}/embedded" if population.neuron.embedded else population.name


def _operand(
    name: str, source: str, letters: str, index: str, sizes: Mapping[str, int], stream: str, fmt: SynapseFormat
) -> Link:
    """From the elements of an operand (its einsum letters) to the neurons that need them (axes `index`).

    A streamed letter is an axis of one neuron, which meets all its elements one after another.
    """
    grid = tuple(1 if letter == stream else sizes[letter] for letter in index)
    view = tuple(sizes[letter] for letter in letters)
    if len(set(letters)) < len(letters):  # a diagonal: axes are not independent
        at = dict(zip(index, np.indices(grid).reshape(len(grid), -1), strict=True))
        flat = np.ravel_multi_index(tuple(at[letter] for letter in letters), view)
        return Listed(name, source, math.prod(view), grid, fmt, np.arange(flat.size), flat.astype(np.int64))
    axes: list[Every | Taps] = []
    for letter in index:
        if letter not in letters:
            axes.append(Every(1))
        elif letter == stream:
            axes.append(Every(sizes[letter]))
        else:
            axes.append(Taps(sizes[letter], np.arange(sizes[letter])[:, None]))
    order = [index.index(letter) for letter in letters]
    order += [axis for axis in range(len(index)) if axis not in order]
    return Separable(name, source, math.prod(view), grid, fmt, tuple(axes), tuple(order))


def _product_units(product: Product, program: Program, target: Target) -> tuple[list[Unit], Link]:
    """The units of a product on neurocores and its link onto the target population."""
    sizes = index_sizes(product)
    left, right = product.subscripts.split("->")[0].split(",")
    index = "".join(dict.fromkeys(left + right))
    stream = product.stream if product.realisation == "streamed" else ""
    grid = tuple(1 if letter == stream else sizes[letter] for letter in index)
    population = program.population(product.target)
    reach = min(target.core.neurons.value or math.prod(grid), math.prod(grid))
    fmt = synapse_format(1, 0, reach, target.packing)
    subject = f"product '{product.name}'"
    units: list[Unit] = []
    senders = [sender(program.population(name)) for name in (product.left, product.right)]
    operands = {"left": (senders[0], left, product.left_view), "right": (senders[1], right, product.right_view)}
    links: list[Link] = []
    for side, (source, letters, view) in operands.items():
        if stream:
            n = math.prod(view)
            waits = 0 if "hold-and-release" in target.features else sizes[stream] - 1
            one = synapse_format(1, waits, min(reach, n), target.packing)
            each = np.arange(n, dtype=np.int64)
            buffer = Unit(
                f"{product.name}/{side}",
                f"{subject}, {side} buffer",
                (n,),
                (Listed(product.name, source, n, (n,), one, each, each),),
            )
            units.append(buffer)
            source = buffer.name
        links.append(_operand(product.name, source, letters, index, sizes, stream, fmt))
    words = product_words(program, product, sizes)
    units.append(Unit(f"{product.name}/neurons", f"{subject}, neurons", grid, tuple(links), words=words))
    out = population.size
    waits = max(product.delay - realise(product).chip_steps, 0)
    onto = synapse_format(1, waits, min(target.core.neurons.value or out, out), target.packing)
    n = math.prod(grid)
    return units, Exclusive(product.name, units[-1].name, n, population.shape or (1,), onto, n // out)


def units_of(program: Program, target: Target) -> Units:
    """Everything that takes room on cores, in the program's order, populations first."""
    hosted = {p.name: p.size for p in program.populations if isinstance(p.neuron, Input)}
    owner = {p.name: p.name for p in program.populations}
    incoming: dict[str, list[Projection]] = {p.name: [] for p in program.populations}
    for projection in program.projections:
        incoming[projection.target].append(projection)
    extra: list[Unit] = []
    to_processor: dict[str, int] = {}
    onto: dict[str, list[Link]] = {p.name: [] for p in program.populations}
    for product in program.products:
        if product.realisation == "embedded":
            population = program.population(product.target)
            name = f"{product.name}/embedded"
            fmt = synapse_format(1, 0, population.size, target.packing)
            onto[product.target].append(Exclusive(product.name, name, population.size, population.shape, fmt, 1))
            hosted[name] = population.size
            owner[name] = product.name
            for operand in (product.left, product.right):
                if not program.population(operand).neuron.embedded:  # its messages are on the processor already
                    to_processor[operand] = to_processor.get(operand, 0) + 1
            continue
        made, link = _product_units(product, program, target)
        extra += made
        onto[product.target].append(link)
        owner.update({unit.name: product.name for unit in made})
    placed = []
    for population in program.populations:
        if not isinstance(population.neuron, Input):
            grid = _grid(population, incoming[population.name])
            links = [_link(j, sender(program.population(j.source)), grid, target) for j in incoming[population.name]]
            links += [replace(link, grid=grid) for link in onto[population.name]]
            placed.append(_population_unit(program, population, links, grid))
            if population.neuron.embedded:
                hosted[sender(population)] = population.size
                owner[sender(population)] = population.name
                to_processor[population.name] = to_processor.get(population.name, 0) + 1
    return Units((*placed, *extra), hosted, owner, to_processor)
