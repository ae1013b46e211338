"""Products of two messages, as integer matrix products over all samples and steps at once, and their event counts."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Product
from ndeploy.realise import index_sizes
from ndeploy.sim.layout import convert, order
from ndeploy.sim.operators import FLOAT32_EXACT, FLOAT64_EXACT, Sent

Rows = npt.NDArray[Any]


def latched(values: Rows, steps: slice) -> Rows:
    """Rows of these model steps of messages (B, rows, N): beyond the last row an operand stays as it was last."""
    if steps.stop <= values.shape[1]:
        return np.ascontiguousarray(values[:, steps])
    return values[:, np.minimum(np.arange(steps.start, steps.stop), values.shape[1] - 1)]


class Contraction:
    """The einsum of a product with a leading index for samples and steps."""

    def __init__(self, product: Product, left_layout: int, right_layout: int, target_layout: int) -> None:
        self.product = product
        self.layouts = left_layout, right_layout, target_layout
        operands, result = product.subscripts.replace(" ", "").split("->")
        left, right = operands.split(",")
        lead = next(x for x in "zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQ" if x not in operands)
        self.letters = left, right, result
        self.subscripts = f"{lead}{left},{lead}{right}->{lead}{result}"
        sizes = index_sizes(product)
        self.terms = math.prod(size for letter, size in sizes.items() if letter not in result)

    @cached_property
    def _keys(self) -> tuple[Rows, Rows]:
        """For each message of either operand, in simulator order, which combination of the shared indices it has."""
        sizes = index_sizes(self.product)
        shared = [x for x in self.letters[0] if x in self.letters[1]]
        found = []
        for letters, layout in zip(self.letters[:2], self.layouts[:2], strict=True):
            places = np.indices([sizes[x] for x in letters]).reshape(len(letters), -1)
            key = np.zeros(places.shape[1], dtype=np.int64)
            for x in shared:
                key = key * sizes[x] + places[letters.index(x)]
            found.append(key[order(len(key), layout)])
        return found[0], found[1]

    @property
    def _shared(self) -> int:
        """Combinations of the shared indices."""
        return math.prod(size for x, size in index_sizes(self.product).items() if all(x in y for y in self.letters[:2]))

    def reach(self, left_top: int, right_top: int) -> int:
        """Bound on the einsum and its partial sums, before the exponent."""
        return self.terms * left_top * right_top

    def apply(self, left: Rows, right: Rows, reach: int | None) -> Rows:
        """Rows (R, n_left), (R, n_right) to (R, n_target), shifted by the exponent. reach None: not bounded."""
        lead = len(left)
        a = convert(left, self.layouts[0], 1).reshape(lead, *self.product.left_view)
        b = convert(right, self.layouts[1], 1).reshape(lead, *self.product.right_view)
        if reach is None or reach >= FLOAT64_EXACT:
            sums = np.asarray(np.einsum(self.subscripts, a.astype(np.int64), b.astype(np.int64)))
        else:
            import torch

            kind = torch.float32 if reach < FLOAT32_EXACT else torch.float64
            sums = torch.einsum(self.subscripts, torch.from_numpy(a).to(kind), torch.from_numpy(b).to(kind)).numpy()
        if self.product.exponent:
            whole = sums.astype(np.int32 if reach is not None and reach < 2**31 else np.int64)
            sums = whole >> self.product.exponent
        return convert(np.ascontiguousarray(sums.reshape(lead, -1)), 1, self.layouts[2])

    def live(self, left: Sent, right: Sent, steps: int, compiled: bool = False) -> npt.NDArray[np.int64]:
        """Scalar products with both operands not zero, by sample, summed over `steps` model steps.

        sum over the shared indices of (how many of left) * (how many of right), so that no product is formed.
        """
        shared = [x for x in self.letters[0] if x in self.letters[1]]
        if compiled:
            from ndeploy.sim.kernels_events import count_live

            counted = np.zeros(left.values.shape[0], dtype=np.int64)
            values = [np.ascontiguousarray(x.values) for x in (left, right)]
            count_live(values[0], values[1], self._keys[0], self._keys[1], self._shared, steps, counted)
            return counted
        parts = []
        for side, sent in ((0, left), (1, right)):
            view = self.product.left_view if side == 0 else self.product.right_view
            samples, rows = sent.values.shape[:2]
            on = convert(sent.values, self.layouts[side], 1).reshape(samples, rows, *view) != 0
            letters = self.letters[side]
            own = tuple(i + 2 for i, x in enumerate(letters) if x not in shared)
            counts = on.sum(axis=own, dtype=np.int32) if own else on.astype(np.int32)
            kept = [x for x in letters if x in shared]
            ordered = counts.transpose(0, 1, *[kept.index(x) + 2 for x in shared]).reshape(samples, rows, -1)
            parts.append(latched(ordered, slice(0, steps)))
        found: npt.NDArray[np.int64] = np.einsum("bti,bti->b", parts[0], parts[1], dtype=np.int64)
        return found
