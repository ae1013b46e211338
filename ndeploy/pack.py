"""How many bits synapses take in a core's synaptic memory, as the target's `Packing` lays them down.

For Loihi 1 this is nengo-loihi's `SynapseConfig.bits_per_axon` (block.py): blocks of up to 64 synapses, a 10-bit header
each, rounded up to 64 bits. For a target whose packing has the status "unverified" every figure is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.target import Packing


def field_width(bits: int, widths: tuple[int, ...]) -> int:
    """The narrowest field that holds `bits` bits: `bits` itself where any width exists, the widest where none does."""
    if not bits or not widths:
        return bits
    return min((width for width in widths if width >= bits), default=max(widths))


@dataclass(frozen=True)
class SynapseFormat:
    """Bits of one synapse (weight, delay, index, tag), of a block's header and of the unit blocks are rounded up to.

    block: synapses a block holds at most; 0 for one block an axon.
    """

    weight: int
    delay: int
    index: int
    tag: int
    header: int
    unit: int
    block: int

    @property
    def synapse(self) -> int:
        """Bits of one synapse."""
        return self.weight + self.delay + self.index + self.tag

    def axon_bits(self, synapses: IntArray) -> IntArray:
        """Bits an axon takes, for arrays of its number of synapses (any shape); an axon without synapses takes none."""
        n = np.asarray(synapses, dtype=np.int64)
        full, rest = np.divmod(n, self.block) if self.block else (np.zeros_like(n), n)
        of_full = self._rounded(np.asarray(self.block, dtype=np.int64))
        return np.asarray(full * of_full + np.where(rest > 0, self._rounded(rest), 0), dtype=np.int64)

    def least_bits(self, synapses: IntArray) -> IntArray:
        """Bits that no distribution of an axon's synapses over blocks and cores can go below."""
        n = np.asarray(synapses, dtype=np.int64)
        blocks = -(-n // self.block) if self.block else np.minimum(n, 1)
        bits = n * self.synapse + blocks * self.header
        return np.asarray(-(-bits // self.unit) * self.unit, dtype=np.int64)

    def _rounded(self, synapses: IntArray) -> IntArray:
        bits = synapses * self.synapse + self.header
        return np.asarray(-(-bits // self.unit) * self.unit, dtype=np.int64)


def synapse_format(weight_bits: int, stored_delay: int, reach: int, packing: Packing) -> SynapseFormat:
    """The format of a projection's synapses on a core.

    stored_delay: the largest; reach: neurons an index must tell apart, 0 where an axon's synapses end on a run of
    neurons and need no index.
    """
    return SynapseFormat(
        weight=field_width(weight_bits, packing.weight_widths),
        delay=stored_delay.bit_length(),
        index=field_width(max(reach - 1, 0).bit_length(), packing.index_widths),
        tag=packing.tag.value or 0,
        header=packing.header.value or 0,
        unit=packing.allocation_unit.value or 1,
        block=packing.block_synapses.value or 0,
    )
