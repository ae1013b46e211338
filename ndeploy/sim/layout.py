"""Neuron order inside the simulator: populations between convolutions keep their channels last.

A layout is a number of channels C: neurons (C, S) of the program's order are kept as (S, C). C = 1 is the program's
own order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Program
from ndeploy.neurons import Input
from ndeploy.synapses import Conv

Array = npt.NDArray[Any]


def channels_last(program: Program) -> dict[str, int]:
    """The layout of each population: what the first convolution at it needs, else the program's order.

    Inputs keep the program's order: they arrive in it. Block-diagonal synapses (kernels of a neuron's own) come first:
    they take neighbours in the same place of all groups at a time.
    """
    layout: dict[str, int] = {}
    for projection in program.projections:
        if isinstance(projection.synapses, Conv) and is_block(projection.synapses):
            layout.setdefault(projection.source, projection.synapses.groups)
            layout.setdefault(projection.target, projection.synapses.groups)
    for projection in program.projections:
        if isinstance(projection.synapses, Conv):
            layout.setdefault(projection.source, projection.synapses.in_shape[0])
            layout.setdefault(projection.target, projection.synapses.out_shape[0])
    kept = {p.name for p in program.populations if isinstance(p.neuron, Input)}
    return {p.name: 1 if p.name in kept else layout.get(p.name, 1) for p in program.populations}


def is_block(conv: Conv) -> bool:
    """Whether a convolution is block-diagonal: several groups, one output place, a kernel that sees all the input."""
    return (
        conv.groups > 1
        and conv.out_shape[1:] == (1, 1)
        and conv.padding == (0, 0)
        and tuple(conv.weight.shape[2:]) == conv.in_shape[1:]
    )


def order(size: int, channels: int) -> npt.NDArray[np.int64]:
    """The program's index of each neuron, in simulator order."""
    return np.ascontiguousarray(np.arange(size).reshape(channels, -1).T).reshape(-1)


def convert(values: Array, have: int, want: int) -> Array:
    """values (..., N) from layout `have` to layout `want`; the same array if they agree, else contiguous."""
    size = values.shape[-1]
    trivial = (1, size)
    if have == want or (have in trivial and want in trivial):
        return values
    lead = values.shape[:-1]
    if have not in trivial:
        values = values.reshape(*lead, size // have, have).swapaxes(-1, -2).reshape(*lead, size)
    if want not in trivial:
        values = values.reshape(*lead, want, size // want).swapaxes(-1, -2).reshape(*lead, size)
    return np.ascontiguousarray(values)
