"""Targets with small limits, and a brute-force account of what a placement takes: synapse by synapse, in Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ndeploy.ir.program import Product, Program
from ndeploy.neurons import Input
from ndeploy.pack import synapse_format
from ndeploy.plugins import targets
from ndeploy.realise import index_sizes, realise
from ndeploy.target import Limit, Target

Synapse = tuple[str, int, str, int]  # source unit, neuron, target unit, neuron


def small(
    neurons: int, memory: int, in_axons: int, out_axons: int, configurations: int, shared: bool, state: int = 10**9
) -> Target:
    """Loihi 2's features with a core of the given size."""
    base = targets()["loihi2"]

    def limit(value: int, unit: str) -> Limit:
        return Limit(value, unit, "test", "code")

    core = replace(
        base.core,
        neurons=limit(neurons, "neurons"),
        synaptic_memory=limit(memory, "bytes"),
        in_axons=limit(in_axons, "axons"),
        out_axons=limit(out_axons, "axons"),
        neuron_configurations=limit(configurations, "configurations"),
        threshold_configurations=limit(configurations, "configurations"),
        state_memory=limit(state, "bytes"),
    )
    packing = replace(base.packing, conv_weight_sharing=shared)
    return replace(base, name="small", core=core, packing=packing)


def unit_sizes(program: Program) -> dict[str, int]:
    """Neurons of everything that must be placed."""
    sizes = {p.name: p.size for p in program.populations if not isinstance(p.neuron, Input)}
    for x in program.products:
        if x.realisation == "embedded":
            continue
        total = realise(x).neurons
        if x.realisation == "streamed":
            sizes[f"{x.name}/left"] = int(np.prod(x.left_view))
            sizes[f"{x.name}/right"] = int(np.prod(x.right_view))
            total -= sizes[f"{x.name}/left"] + sizes[f"{x.name}/right"]
        sizes[f"{x.name}/neurons"] = total
    return sizes


def unit_words(program: Program) -> dict[str, int]:
    """Words of memory a neuron of each unit takes, counted parameter by parameter."""
    words: dict[str, int] = {}
    stops = {p.name: p.updates is not None and p.updates < program.steps for p in program.populations}
    for p in program.populations:
        n = len(p.neuron.ports)
        if not p.neuron.embedded:
            n += len(p.neuron.state) + stops[p.name]
            for name, value in vars(p.neuron).items():
                rows = np.asarray(value) if isinstance(value, np.ndarray) else np.zeros(1)
                if name == "table":
                    n += len(rows) if any(len(set(row.tolist())) > 1 for row in rows) else 0
                else:
                    n += len(set(rows.reshape(-1).tolist())) > 1
        words[p.name] = n
    for x in program.products:
        if x.realisation == "embedded":
            continue
        each = index_sizes(x)[x.stream] if x.realisation == "streamed" else 1
        words[f"{x.name}/neurons"] = 2 + each * (stops[x.left] + stops[x.right])
        words[f"{x.name}/left"] = words[f"{x.name}/right"] = 2
    return words


def product_links(x: Product, senders: Mapping[str, str]) -> list[list[Synapse]]:
    """The synapses between the operands (or their buffers) and the product's neurons, one by one, link by link."""
    sizes = index_sizes(x)
    left, right = x.subscripts.split("->")[0].split(",")
    letters = "".join(dict.fromkeys(left + right))
    stream = x.stream if x.realisation == "streamed" else ""
    shape = tuple(1 if letter == stream else sizes[letter] for letter in letters)
    found: list[list[Synapse]] = []
    for side, name, operand in (("left", senders[x.left], left), ("right", senders[x.right], right)):
        link: list[Synapse] = []
        for at in np.ndindex(*(sizes[letter] for letter in letters)):
            place = dict(zip(letters, at, strict=True))
            neuron = int(np.ravel_multi_index([0 if c == stream else place[c] for c in letters], shape))
            element = int(np.ravel_multi_index([place[c] for c in operand], [sizes[c] for c in operand]))
            link.append((f"{x.name}/{side}" if stream else name, element, f"{x.name}/neurons", neuron))
        found.append(link)
        if stream:
            found.append([(name, i, f"{x.name}/{side}", i) for i in range(math.prod(sizes[c] for c in operand))])
    return found


def axon_bits(synapses: int, program: Program, name: str, reach: int, target: Target) -> int:
    """Bits of one axon of projection `name`, block after block."""
    projection = next(j for j in program.projections if j.name == name)
    stored = projection.delay - 1 + (0 if projection.delays is None else int(projection.delays.max(initial=0)))
    form = synapse_format(projection.weight_bits, stored, reach, target.packing)
    bits = 0
    while synapses > 0:
        block = min(synapses, form.block)
        taken = form.header + block * form.synapse
        while taken % form.unit:
            taken += 1
        bits += taken
        synapses -= block
    return bits


def axons_of(synapses: list[Synapse], where: dict[tuple[str, int], int]) -> tuple[Counter[int], Counter[int]]:
    """In-axons by slice of the targets, out-axons by slice of the sources (-1: not on a core).

    One axon for each source neuron and each slice that holds a target of it.
    """
    into, out = Counter[int](), Counter[int]()
    for source, neuron, slice_ in {(s, i, where[t, j]) for s, i, t, j in synapses}:
        into[slice_] += 1
        out[where.get((source, neuron), -1)] += 1
    return into, out
