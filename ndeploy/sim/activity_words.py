"""Activity with compiled kernels: a bit for each sample, in words that serve 8 or 64 samples at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Population, Product
from ndeploy.realise import index_sizes
from ndeploy.sim.activity import Tally, Watch, rows_between
from ndeploy.sim.kernels_activity import (  # this module is imported where kernels are compiled anyway
    BLOCK,
    add_bits,
    any_heard,
    conv_heard,
    lists_heard,
    pack,
    products_heard,
)
from ndeploy.sim.layout import convert, is_block, order
from ndeploy.sim.plan import Plan
from ndeploy.sim.schedule import Link
from ndeploy.synapses import Conv, Dense, Synapses

Array = npt.NDArray[Any]


class Hearing(ABC):
    """What synapses let through of words. heard: (groups, places): a target neuron of the program's order (C, places)
    hears what the entry of its place says, in the group of its channel."""

    heard: tuple[int, int]

    @abstractmethod
    def hear(self, words: Array) -> Array:
        """Words (R, N) in simulator order to (R, groups * places)."""


class AllHear(Hearing):
    """Dense synapses: every target neuron hears every message."""

    heard = 1, 1

    def hear(self, words: Array) -> Array:
        found = np.empty((len(words), 1), dtype=words.dtype)
        any_heard(words, found)
        return found


class ConvHear(Hearing):
    """All channels of a group hear the same."""

    def __init__(self, conv: Conv, layout: int) -> None:
        self.have, self.groups = layout, conv.groups
        self.heard = conv.groups, conv.out_shape[1] * conv.out_shape[2]
        self.shape = conv.groups, *conv.out_shape[1:]
        if is_block(conv) and layout == conv.groups:  # neighbours lie in the same place of all groups
            self.channels, self.last, self.known = conv.groups, True, True
            size = conv.n_in // conv.groups, 1
            self.geometry = size, size, (1, 1), (0, 0), (1, 1)
            return
        self.channels = conv.in_shape[0]
        self.last = layout == self.channels
        self.known = self.last or layout in (1, conv.n_in)
        kernel = conv.weight.shape[2], conv.weight.shape[3]
        self.geometry = conv.in_shape[1:], kernel, conv.stride, conv.padding, conv.dilation

    def hear(self, words: Array) -> Array:
        if not self.known:
            words = convert(words, self.have, 1)
        found = np.empty((len(words), *self.shape), dtype=words.dtype)
        conv_heard(words, self.last, self.channels, self.groups, *self.geometry, found)
        return found.reshape(len(words), -1)


class ListHear(Hearing):
    """Any synapses, listed by target and by source."""

    def __init__(self, synapses: Synapses, layout: int) -> None:
        target, source, _ = synapses.to_coo()
        source = np.argsort(order(synapses.n_in, layout))[source]
        self.heard = 1, synapses.n_out
        self.by_target = _lists(target, source, synapses.n_out)
        self.by_source = _lists(source, target, synapses.n_in)

    def hear(self, words: Array) -> Array:
        found = np.empty((len(words), self.heard[1]), dtype=words.dtype)
        lists_heard(words, *self.by_target, *self.by_source, found)
        return found


def _lists(owner: Array, other: Array, owners: int) -> tuple[Array, Array]:
    """(start, others): owner k has others[start[k] : start[k + 1]]."""
    by_owner = np.argsort(owner, kind="stable")
    start = np.searchsorted(owner[by_owner], np.arange(owners + 1))
    return start.astype(np.int64), np.ascontiguousarray(other[by_owner]).astype(np.int32)


def hearing(synapses: Synapses, layout: int) -> Hearing:
    """What these synapses let through of a source kept in this layout."""
    if isinstance(synapses, Dense):
        return AllHear()
    return ConvHear(synapses, layout) if isinstance(synapses, Conv) else ListHear(synapses, layout)


class Ears:
    """What each link of a program lets through, prepared when it is first asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._made: dict[int, Hearing] = {}
        self._cells: dict[str, int] = {}

    def of(self, link: Link) -> Hearing:
        """Threads that ask for the same link at once make it twice, to the same effect."""
        if id(link) not in self._made:
            self._made[id(link)] = hearing(link.synapses, self.plan.layout[link.projection.source])
        return self._made[id(link)]

    def cells(self, population: Population, links: Sequence[Link], products: int) -> int:
        """Entries that tell apart what neurons of a population hear: 1, one for each place, or all neurons."""
        if population.name not in self._cells:
            found = {self.of(x).heard for x in links} - {(1, 1)}
            groups, places = next(iter(found), (1, 1))
            together = not products and len(found) < 2 and groups == 1
            self._cells[population.name] = places if together else population.size
        return self._cells[population.name]


class WordWatch(Watch):
    """masks: words (W, updates, N) in simulator order."""

    def __init__(self, plan: Plan, tally: Tally, samples: int) -> None:
        super().__init__(plan, tally, samples)
        # what memory has to carry: words no wider than the samples ask for
        self.dtype = np.uint8 if samples <= 8 else np.uint32 if samples <= 32 else np.uint64
        self.words = -(-samples // (8 * np.dtype(self.dtype).itemsize))
        self.parts = {size: np.empty(BLOCK, dtype=f"u{size}") for size in (1, 2, 4, 8)}
        self.ears = plan.ears

    def rows(self, name: str, updates: int, start: int, rows: Array) -> None:
        """Keeps the mask of these messages, so that `sent` only counts."""
        if start == 0:
            self.masks[name] = np.empty((self.words, updates, rows.shape[2]), dtype=self.dtype)
        pack(rows, True, self.masks[name], start, self.parts[rows.itemsize])

    def sent(self, name: str, values: Array) -> None:
        words = self.masks.get(name)
        if words is None:
            words = self.masks[name] = np.empty((self.words, *values.shape[1:]), dtype=self.dtype)
            pack(np.ascontiguousarray(values), False, words, 0, self.parts[values.itemsize])
        with self.tally.into("messages", name, words.shape[1:]) as sums:
            add_bits(words, sums)

    def arrived(self, population: Population) -> None:
        updates = self.plan.updates(population.name)
        links, products = self.incoming(population)
        cells = self.ears.cells(population, links, len(products))
        heard: Array | None = None
        for link in links:
            words = self.masks[link.projection.source]
            sent, taken = rows_between(link.lag, words.shape[1], updates)
            if taken.stop == taken.start:
                continue
            found = self._through(self.ears.of(link), words[:, sent])
            if heard is None and taken == slice(0, updates) and found[0, 0].size == cells:
                heard = found.reshape(self.words, updates, cells)
                continue
            if heard is None:
                heard = np.zeros((self.words, updates, cells), dtype=self.dtype)
            _join(found, heard[:, taken])
        if heard is None:
            heard = np.zeros((self.words, updates, cells), dtype=self.dtype)
        for x in products:
            self._multiply(x.product, x.lag, heard)
        with self.tally.into("arrivals", population.name, (updates, cells)) as sums:
            add_bits(heard, sums)

    def _through(self, ears: Hearing, words: Array) -> Array:
        """What comes through synapses of words (W, t, N), (W, t, groups, places)."""
        rows = np.ascontiguousarray(words).reshape(-1, words.shape[2])
        return ears.hear(rows).reshape(*words.shape[:2], *ears.heard)

    def _multiply(self, product: Product, lag: int, heard: Array) -> None:
        sizes = index_sizes(product)
        operands, result = product.subscripts.split("->")
        left, right = operands.split(",")
        views = product.left_view, product.right_view, tuple(sizes[x] for x in result)
        l_steps, r_steps, o_steps = (_apart(x, v, sizes) for x, v in zip((left, right, result), views, strict=True))
        l_words, r_words = (
            np.ascontiguousarray(convert(self.masks[name], self.plan.layout[name], 1))
            for name in (product.left, product.right)
        )
        lengths = np.array([*sizes.values()], dtype=np.int64)
        steps = self.plan.program.steps
        if product.realisation == "embedded":
            none = np.empty((steps, 0), dtype=np.int32)
            products_heard(l_words, r_words, lag, lengths, l_steps, r_steps, o_steps, heard, none)
            return
        with self.tally.into("live", product.name, (steps, int(np.prod(lengths)))) as live:
            products_heard(l_words, r_words, lag, lengths, l_steps, r_steps, o_steps, heard, live)


def _join(found: Array, heard: Array) -> None:
    """Add (W, t, groups, places) to heard (W, t, cells): all channels of a group hear the same."""
    groups, places = found.shape[2:]
    if groups * places in (1, heard.shape[2]):
        heard |= found.reshape(*found.shape[:2], -1)
        return
    view = heard.reshape(*found.shape[:2], groups, -1, places)
    heard[...] = (view | found[:, :, :, None]).reshape(heard.shape)


def _apart(letters: str, view: Sequence[int], sizes: dict[str, int]) -> Array:
    """How far apart neighbours along each index lie in an array of that view (0 where it has no such index)."""
    found = dict.fromkeys(sizes, 0)
    stride = 1
    for letter, size in zip(reversed(letters), reversed(view), strict=True):
        found[letter] += stride
        stride *= size
    return np.array([*found.values()], dtype=np.int64)
