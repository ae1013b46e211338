"""What is added to a population's input at each model step of a component, prepared once for a program.

A term takes a row of messages (B, n_in) and sets or adds to sums (B, n_out), both in simulator order, with its exponent
applied. Terms are shared by threads: what they write lies in the `Workspace` of a run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.sim.layout import is_block, order
from ndeploy.sim.operators import FLOAT32_EXACT, DenseOperator, Operator, Sent, SparseOperator
from ndeploy.sim.products import Contraction
from ndeploy.synapses import Conv, Synapses

Array = npt.NDArray[Any]
RUNS = 8
"""Neighbours a run must hold on average to be copied as one."""


@dataclass
class Workspace:
    """Arrays that the terms of one run write: samples, and by id of a matrix its (messages, sums, step)."""

    samples: int
    matrices: dict[int, list[Any]] = field(default_factory=dict)


class Term(ABC):
    """full: whether every target gets something, so that sums may be set rather than added to."""

    full = True

    @abstractmethod
    def add(self, row: Array, into: Array, first: bool, space: Workspace, step: int) -> None:
        """Set (first) or add; row: contiguous."""


class Matrix:
    """All dense synapses that leave one population with the same lag, side by side: one product a step."""

    def __init__(self, parts: Sequence[Array], reach: int) -> None:
        """parts: (n_out, n_in) each; reach: bound on every sum and partial sum."""
        import torch

        self.dtype = np.float32 if reach < FLOAT32_EXACT else np.float64
        joined = np.concatenate([p.T for p in parts], axis=1).astype(self.dtype)
        self.weight = torch.from_numpy(np.ascontiguousarray(joined))
        self.inputs, self.outputs = joined.shape

    def sums(self, row: Array, space: Workspace, step: int) -> Array:
        """(B, outputs), computed when it is first asked for at a step."""
        import torch

        mine = space.matrices.get(id(self))
        if mine is None:
            messages = np.empty((space.samples, self.inputs), dtype=self.dtype)
            sums = np.empty((space.samples, self.outputs), dtype=self.dtype)
            mine = [messages, torch.from_numpy(messages), sums, torch.from_numpy(sums), -1]
            space.matrices[id(self)] = mine
        if mine[4] != step:
            np.copyto(mine[0], row, casting="unsafe")
            torch.mm(mine[1], self.weight, out=mine[3])
            mine[4] = step
        found: Array = mine[2]
        return found


class MatrixTerm(Term):
    """Columns of a matrix product."""

    def __init__(self, matrix: Matrix, offset: int, exponent: int) -> None:
        self.matrix, self.offset, self.exponent = matrix, offset, exponent

    def add(self, row: Array, into: Array, first: bool, space: Workspace, step: int) -> None:
        from ndeploy.sim.kernels_step import add_columns

        add_columns(self.matrix.sums(row, space, step), self.offset, self.exponent, into, first)


class BlockTerm(Term):
    """A block-diagonal map: groups that each see their own messages only."""

    def __init__(self, conv: Conv, reach: int, exponent: int) -> None:
        groups, outputs = conv.groups, conv.weight.shape[0] // conv.groups
        split = conv.weight.reshape(groups, outputs, -1).transpose(1, 2, 0)
        self.weight = np.ascontiguousarray(split).astype(np.int32 if reach < 2**31 else np.int64)
        self.exponent = exponent

    @staticmethod
    def suits(synapses: Synapses, source_layout: int, target_layout: int) -> bool:
        """A grouped kernel as large as its input, and neurons kept group by group."""
        if not isinstance(synapses, Conv) or not is_block(synapses):
            return False
        groups, n_in, n_out = synapses.groups, synapses.n_in, synapses.n_out
        return (source_layout == groups or n_in == groups) and (target_layout == groups or n_out == groups)

    def add(self, row: Array, into: Array, first: bool, space: Workspace, step: int) -> None:
        from ndeploy.sim.kernels_step import add_blocks

        add_blocks(row, self.weight, self.exponent, into, first)


class UnitTerm(Term):
    """At most one synapse for each target: shifts, selections, joins."""

    def __init__(self, target: Array, source: Array, weight: Array, n_out: int, exponent: int) -> None:
        """target, source, weight: by target."""
        self.full = len(target) == n_out
        breaks = (np.diff(target) != 1) | (np.diff(source) != 1) | (np.diff(weight) != 0)
        starts = np.concatenate([[0], np.flatnonzero(breaks) + 1]).astype(np.int64)
        self.length = np.diff(np.append(starts, len(target))).astype(np.int64)
        self.runs = len(starts) * RUNS <= len(target)
        kept = starts if self.runs else slice(None)
        self.target = np.ascontiguousarray(target[kept]).astype(np.int64)
        self.source = np.ascontiguousarray(source[kept]).astype(np.int64)
        self.weight = np.ascontiguousarray(weight[kept])
        self.exponent = exponent

    @staticmethod
    def of(operator: Operator, exponent: int) -> UnitTerm | None:
        """The synapses of a sparse operator, None where a target has several."""
        if not isinstance(operator, SparseOperator) or len(operator.target) == 0 or operator.unit is None:
            return None
        return UnitTerm(*operator.unit, operator.n_out, exponent)

    def add(self, row: Array, into: Array, first: bool, space: Workspace, step: int) -> None:
        from ndeploy.sim.kernels_step import add_runs, add_selected

        if self.runs:
            add_runs(row, self.target, self.source, self.length, self.weight, self.exponent, into, first)
        else:
            add_selected(row, self.target, self.source, self.weight, self.exponent, into, first)


class OperatorTerm(Term):
    """Any other synapses, by their operator."""

    def __init__(self, operator: Operator, low: int, high: int, exponent: int) -> None:
        self.operator, self.low, self.high, self.exponent = operator, low, high, exponent

    def add(self, row: Array, into: Array, first: bool, space: Workspace, step: int) -> None:
        density = np.count_nonzero(row) / row.size
        sums = self.operator.apply(row, Sent(row[:, None], self.low, self.high, density))
        add_shifted(sums, self.exponent, into, first)


def add_shifted(sums: Array, exponent: int, into: Array, first: bool) -> None:
    """Set or add integers, as any type, with an exponent."""
    if exponent:
        sums = sums.astype(np.int64) << exponent if exponent > 0 else sums.astype(np.int64) >> -exponent
    if first:
        np.copyto(into, sums, casting="unsafe")
    else:
        np.add(into, sums.astype(into.dtype, copy=False), out=into)


def dense_matrix(operator: Operator) -> Array | None:
    """The matrix of synapses that are multiplied as one, (n_out, n_in) in simulator order."""
    return operator.matrix if isinstance(operator, DenseOperator) and operator.tokens == 1 else None


class Latched:
    """How to make a product's static operand a stack of matrices (parts, common, free), where its indices allow it.

    The other operand must be (parts, common) and the result (parts, free), each in that order.
    """

    def __init__(self, contraction: Contraction, static_right: bool) -> None:
        left, right, result = contraction.letters
        moving, static = (left, right) if static_right else (right, left)
        self.static_right = static_right
        parts = [x for x in moving if x in static and x in result]
        common = [x for x in moving if x in static and x not in result]
        free = [x for x in static if x not in moving]
        self.fits = (
            list(moving) == parts + common
            and list(result) == parts + free
            and len(set(moving)) == len(moving)
            and set(static) == set(parts + common + free)
            and len(static) == len(set(static))
        )
        product = contraction.product
        view = product.right_view if static_right else product.left_view
        layouts = contraction.layouts
        self.view = view
        self.static_layout = layouts[1] if static_right else layouts[0]
        moving_layout = layouts[0] if static_right else layouts[1]
        moving_view = product.left_view if static_right else product.right_view
        sizes = dict(zip(static, view, strict=True))
        n_out = int(np.prod([sizes[x] for x in parts + free])) if self.fits else 0
        n_in = int(np.prod(moving_view))
        self.fits = self.fits and moving_layout in (1, n_in) and layouts[2] in (1, n_out)
        self.exponent = product.exponent
        if self.fits:
            self.axes = [static.index(x) for x in parts + common + free]
            count = [int(np.prod([sizes[x] for x in group])) for group in (parts, common, free)]
            self.shape = count[0], count[1], count[2]

    def prepare(self, values: Array) -> Array:
        """Messages (B, N) of the static operand, in simulator order, as (B, parts, common, free)."""
        plain = values[:, np.argsort(order(values.shape[1], self.static_layout))]
        split = plain.reshape(len(values), *self.view).transpose(0, *[a + 1 for a in self.axes])
        return np.ascontiguousarray(split.reshape(len(values), *self.shape))
