"""Lower bounds: no parting of axons goes below them, and dense layers must send everything to every core."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_targets import small
from test_place_packing import BIG, chain

from ndeploy.pack import SynapseFormat
from ndeploy.place import lower_bound, place
from ndeploy.place.bounds import least_memory
from ndeploy.place.links import Every, Listed, Separable
from ndeploy.place.split import capacity_of
from ndeploy.place.units import units_of
from ndeploy.target import Target


@given(
    st.integers(1, 9), st.integers(0, 12), st.integers(0, 12), st.sampled_from([1, 8, 64]), st.integers(0, 70),
    st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 4), st.integers(30, 40),
)  # fmt: skip
def test_no_parting_of_dense_synapses_beats_the_bound(
    weight: int, index: int, header: int, unit: int, block: int, parts: list[int], sources: int, neurons: int
) -> None:
    """parts: neurons on each core, each of which holds at most `neurons`."""
    form = SynapseFormat(weight, 0, index, 0, header, unit, block)
    size = sum(parts)
    dense = Separable("w", "a", sources, (size,), form, (Every(sources),), (0,))
    ends = np.cumsum([0, *parts])
    taken = sum(dense.load(((int(a), int(b)),)).bits for a, b in pairwise(ends))
    assert least_memory(dense, neurons, len(parts)) <= taken
    pairs = [(t, s) for t in range(size) for s in range(sources)]
    listed = Listed("w", "a", sources, (size,), form, *(np.array(column) for column in zip(*pairs, strict=True)))
    assert least_memory(listed, neurons, len(parts)) <= taken


@pytest.mark.parametrize(
    ("target", "bound", "by"),
    [
        (small(7, BIG, BIG, BIG, 9, shared=False), 3, "neurons"),
        (small(7, BIG, 30, BIG, 9, shared=False), 4, "in-axons"),  # 20 neurons on 3 cores, 40 sources on each of them
        (small(7, BIG, BIG, BIG, 9, False, 4 * 3 * 4), 5, "state memory"),  # three words a neuron
    ],
)
def test_bounds_by_hand(target: Target, bound: int, by: str) -> None:
    program = chain(20, inputs=40)
    found = lower_bound(units_of(program, target), capacity_of(target.core))
    assert found == (bound, by)


def test_a_block_that_does_not_fill_its_unit_is_counted() -> None:
    """10 + 8 j bits in units of 64: 62 weights are best, so 2048 take 33.03 axons' blocks and not 32."""
    program = chain(2048, inputs=2048)
    target = small(8192, 131072, BIG, BIG, 9, shared=False)
    placed = place(program, target)
    assert placed.cores_lower_bound == 34
    assert placed.cores == 34
