"""The placement of Lava's Loihi 2 compiler of 2022, as its printed tables show it, so that energy is priced on the
cores that were measured.

The compiler is closed. The notebooks of lava-dl print, by layer, the cores and the neurons of one core (PilotNet-LIF:
pilotnet_snn/benchmark.ipynb at dad9dfad and, the same, at 12f04021; PilotNet-SDNN: pilotnet_sdnn/benchmark.ipynb at
1878d6d4). The rule below was read off these tables and gives every layer's cores in both:

- no core holds two layers;
- a convolution is cut along its width only, into stretches of 2^k columns: the width is filled up to a power of two and
  halved while columns * height * channels reaches 4,096 neurons (16x4x64, exactly 4,096, is halved; 16x66x3 = 3,168 is
  not: the limit lies between 3,169 and 4,096);
- a dense layer is cut where its synapses take more than 12,000 words of 64 bits a core (of the 16,384 there are): into
  use / limit parts, rounded up, and twice as many while a part is still too large. 16 bits a synapse and a header below
  32 bits give the printed 66,560, 12,800, 150 and 10 words of PilotNet-SDNN's layers of 100, 17, 10 and 1 neurons.

Where Lava puts a core on the mesh is not printed: cores are numbered in the order of the layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ndeploy.errors import RefusedError
from ndeploy.ir.program import Program
from ndeploy.place import CoreUse, Placed, Slice
from ndeploy.place.links import Box, volume
from ndeploy.place.split import need
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.units import Unit, units_of
from ndeploy.target import Target

NEURONS = 4095
"""Neurons of a layer on a core at most. Status derived: the largest value that the printed tables allow."""
SYNAPTIC_WORDS = 12_000
"""Words of synaptic memory a core (status code: printed as `cost_db.registers['SynMem']`)."""
WORD_BITS = 64
SYNAPSE_BITS = 16
HEADER_BITS = 10
"""Loihi 1's header (nengo-loihi); the tables allow 1 to 32."""


def _columns(grid: tuple[int, ...]) -> int:
    """Columns (last axis) of a stretch."""
    across = volume(tuple((0, size) for size in grid[:-1]))
    columns = 1 << max(grid[-1] - 1, 0).bit_length()
    while columns > 1 and columns * across > NEURONS:
        columns //= 2
    return columns


def _stretches(grid: tuple[int, ...]) -> Iterator[Box]:
    whole = tuple((0, size) for size in grid[:-1])
    columns = _columns(grid)
    for start in range(0, grid[-1], columns):
        yield (*whole, (start, min(start + columns, grid[-1])))


def synaptic_words(neurons: int, axons: int) -> int:
    """Words that the dense synapses of a core take: one set of a header and `neurons` synapses for each axon."""
    return axons * -(-(HEADER_BITS + neurons * SYNAPSE_BITS) // WORD_BITS)


def dense_parts(neurons: int, axons: int) -> int:
    """Cores of a dense layer.

    Raises RefusedError ND402 where one neuron's synapses are more than a core holds.
    """
    if synaptic_words(1, axons) > SYNAPTIC_WORDS:
        raise RefusedError(
            "ND402",
            f"a neuron with {axons} synapses takes {synaptic_words(1, axons)} words of synaptic memory; "
            f"a core has {SYNAPTIC_WORDS}",
            help="give the layer fewer inputs",
        )
    parts = max(-(-synaptic_words(neurons, axons) // SYNAPTIC_WORDS), -(-neurons // NEURONS))
    while synaptic_words(-(-neurons // parts), axons) > SYNAPTIC_WORDS:
        parts *= 2
    return parts


def _boxes(unit: Unit) -> Iterator[Box]:
    if len(unit.grid) > 1:
        yield from _stretches(unit.grid)
        return
    size = unit.grid[0]
    parts = dense_parts(size, max((link.sources for link in unit.links), default=0))
    for part in range(parts):
        box = ((size * part // parts, size * (part + 1) // parts),)
        if volume(box):
            yield box


def place_as_lava(program: Program, target: Target) -> Placed:
    """The placement by the rule above. Deterministic; one chip.

    Raises RefusedError ND402 where a dense neuron's synapses are too many for a core, ND412 where a chip is too small.
    """
    units = units_of(program, target)
    slices: list[Slice] = []
    use: list[CoreUse] = []
    axons = {name: 0 for name in units.owner.values()}
    sizes = dict(axons)
    memory = 0
    for unit in units.units:
        for box in _boxes(unit):
            held = need(unit, box)
            core = len(slices)
            memory += held.memory
            slices.append(Slice(unit.name, units.owner[unit.name], unit.grid, box, core, held.neurons))
            use.append(_use(core, held.neurons, held.memory, held.in_axons, held.state))
        sizes[units.owner[unit.name]] = unit.size
    limit = target.cores_per_chip.value
    if limit is not None and len(slices) > limit:
        raise RefusedError(
            "ND412",
            f"program '{program.name}' takes {len(slices)} cores by Lava's rule; a chip of {target.name} has {limit}",
            help="the rule is known for networks of one chip only",
        )
    return Placed(
        target.name,
        tuple(slices),
        tuple(use),
        len(slices),
        len(slices),
        "Lava's rule",
        1,
        -(-memory // 8),
        axons=axons,
        sizes=sizes,
        notes=("placed as Lava's compiler of 2022 does (ndeploy/validation/lava_placement.py)",),
        state_memory_bytes=sum(unit.size * unit.words * WORD_BYTES for unit in units.units),
    )


def _use(core: int, neurons: int, memory: int, in_axons: int, state: int) -> CoreUse:
    return CoreUse(core, neurons, -(-memory // 8), in_axons, 0, 1, 1, state)


def cores_by_layer(placed: Placed) -> Mapping[str, int]:
    """Cores of each population, in the order of the program."""
    found: dict[str, int] = {}
    for piece in placed.slices:
        found[piece.owner] = found.get(piece.owner, 0) + 1
    return found
