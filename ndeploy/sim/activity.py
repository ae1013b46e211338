"""Which neuron did what at which model step, summed over samples, while a run is going on.

A chunk keeps for every population whether each message is zero, for as long as its messages. When a component has been
evaluated, that tells into which updates of its populations something came. What is added up are whole numbers, so that
neither chunks nor threads change the sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Population, Product
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.realise import index_sizes
from ndeploy.sim.layout import convert
from ndeploy.sim.plan import Plan
from ndeploy.sim.schedule import Link, ProductLink
from ndeploy.synapses import Dense, Synapses

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]


class Tally:
    """The sums of a run, that chunks add to from several threads; by what is counted and by name.

    int32, which holds any number of samples that memory does.
    """

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], Array] = {}
        self._locks: dict[tuple[str, str], Lock] = {}
        self._lock = Lock()

    @contextmanager
    def into(self, kind: str, name: str, shape: tuple[int, int]) -> Iterator[Array]:
        """The sums "messages", "arrivals" or "live" of a name, to add to while nobody else does."""
        key = kind, name
        with self._lock:
            if key not in self.sums:
                self.sums[key] = np.zeros(shape, dtype=np.int32)
                self._locks[key] = Lock()
        with self._locks[key]:
            yield self.sums[key]

    def activity(self, plan: Plan, samples: int) -> Activity:
        """All of it in the program's order, silent model steps included."""
        steps = plan.program.steps
        messages, arrivals, live = {}, {}, {}
        for p in plan.program.populations:
            messages[p.name] = _in_full(self.sums["messages", p.name], steps, plan.layout[p.name], 1)
            if not isinstance(p.neuron, Input):
                heard = self.sums["arrivals", p.name]
                # what neurons hear together is counted once: a cell stands for one neuron of every channel
                arrivals[p.name] = _in_full(heard, steps, 1, p.size // heard.shape[1])
        for x in plan.program.products:
            if x.realisation != "embedded":
                live[x.name] = self.sums["live", x.name].astype(np.int64)
        return Activity(samples, messages, arrivals, live)


def _in_full(sums: Array, steps: int, layout: int, channels: int) -> IntArray:
    """Sums (updates, cells) of that layout as (steps, channels * cells): what stands still neither sends nor hears."""
    updates, cells = sums.shape
    full = np.empty((steps, channels, cells), dtype=np.int64)
    if layout in (1, cells):
        full[:updates] = sums[:, None]
    else:  # channels last
        full[:updates].reshape(updates, layout, -1)[...] = sums.reshape(updates, -1, layout).swapaxes(1, 2)
    full[updates:] = 0
    return full.reshape(steps, -1)


class Watch(ABC):
    """Watches one chunk. masks: by population, which messages are not zero, the model steps on axis 1."""

    def __init__(self, plan: Plan, tally: Tally, samples: int) -> None:
        self.plan, self.tally, self.samples = plan, tally, samples
        self.masks: dict[str, Array] = {}

    @abstractmethod
    def sent(self, name: str, values: Array) -> None:
        """A population's messages (B, updates, N) in simulator order are known: keep their mask and count them."""

    @abstractmethod
    def rows(self, name: str, updates: int, start: int, rows: Array) -> None:
        """Messages (t, B, N) of a stepped population from model step `start` on, before all of them are `sent`."""

    @abstractmethod
    def arrived(self, population: Population) -> None:
        """All messages to a population are known: count its arrivals, and what happens in products that end on it."""

    def after(self, populations: Sequence[str]) -> None:
        """These have been evaluated, and so has everything that sends to them."""
        for name in populations:
            population = self.plan.populations[name]
            if not isinstance(population.neuron, Input):
                self.arrived(population)

    def forget(self, name: str) -> None:
        """Nothing takes in this population's messages any more."""
        del self.masks[name]

    def incoming(self, population: Population) -> tuple[list[Link], list[ProductLink]]:
        """What ends on any of its ports."""
        ports = population.neuron.ports
        links = [x for port in ports for x in self.plan.links(population.name, port)]
        return links, [x for port in ports for x in self.plan.products(population.name, port)]


def rows_between(lag: int, sent: int, updates: int) -> tuple[slice, slice]:
    """Model steps of messages, out of `sent`, and the updates, out of `updates`, that take them in."""
    last = max(0, min(sent, updates - lag))
    return slice(0, last), slice(lag, lag + last)


class PlainWatch(Watch):
    """With numpy and scipy, masks (B, updates, N) of truth values; for small work."""

    def sent(self, name: str, values: Array) -> None:
        on = values != 0
        self.masks[name] = convert(on, self.plan.layout[name], 1)
        with self.tally.into("messages", name, (on.shape[1], on.shape[2])) as sums:
            sums += on.sum(axis=0, dtype=np.int32)

    def rows(self, name: str, updates: int, start: int, rows: Array) -> None:
        """`sent` is given all of them."""

    def arrived(self, population: Population) -> None:
        updates = self.plan.updates(population.name)
        heard = np.zeros((self.samples, updates, population.size), dtype=bool)
        links, products = self.incoming(population)
        for link in links:
            on = self.masks[link.projection.source]
            sent, taken = rows_between(link.lag, on.shape[1], updates)
            heard[:, taken] |= _through(link.synapses, on[:, sent])
        for x in products:
            self._multiply(x.product, x.lag, heard)
        with self.tally.into("arrivals", population.name, (updates, population.size)) as sums:
            sums += heard.sum(axis=0, dtype=np.int32)

    def _multiply(self, product: Product, lag: int, heard: Array) -> None:
        """Step by step: the index space of a product may be large."""
        operands, result = product.subscripts.split("->")
        left, right = operands.split(",")
        lead = next(x for x in "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQ" if x not in operands)
        sizes = index_sizes(product)
        space = "".join(sizes)
        for step in range(self.plan.program.steps):
            factors = []
            for name, view in ((product.left, product.left_view), (product.right, product.right_view)):
                on = self.masks[name]
                row = on[:, min(step, on.shape[1] - 1)]
                factors.append(row.reshape(self.samples, *view).astype(np.int64))
            inputs = f"{lead}{left},{lead}{right}"
            if step + lag < heard.shape[1]:
                found = np.einsum(f"{inputs}->{lead}{result}", *factors).reshape(self.samples, -1) > 0
                heard[:, step + lag] |= found
            if product.realisation != "embedded":
                shape = self.plan.program.steps, int(np.prod(list(sizes.values())))
                with self.tally.into("live", product.name, shape) as sums:
                    sums[step] += np.einsum(f"{inputs}->{space}", *factors).reshape(-1).astype(np.int32)


def _through(synapses: Synapses, on: Array) -> Array:
    """Which targets (B, T, n_out) hear something of messages (B, T, n_in)."""
    if isinstance(synapses, Dense):
        return np.asarray(on.any(axis=-1, keepdims=True))
    from scipy.sparse import csr_array

    target, source, _ = synapses.to_coo()
    one = csr_array((np.ones(len(target), dtype=np.int64), (target, source)), shape=(synapses.n_out, synapses.n_in))
    flat = on.reshape(-1, synapses.n_in).astype(np.int64)
    return np.asarray((one @ flat.T).T > 0).reshape(*on.shape[:2], synapses.n_out)


def watch(plan: Plan, tally: Tally, samples: int) -> Watch:
    """The watch of a chunk of that many samples."""
    if not plan.compiled:
        return PlainWatch(plan, tally, samples)
    from ndeploy.sim.activity_words import WordWatch

    return WordWatch(plan, tally, samples)
