"""Flows: how many packets go from core to core, from which neurons sent how often."""

from __future__ import annotations

from dataclasses import dataclass

from ndeploy.fixed import IntArray

HOST = -1
"""The end of a flow that is not on a neurocore: the host or the chip's embedded processor."""


@dataclass(frozen=True, eq=False)
class Flows:
    """Packets between slices of a placement, summed over samples.

    source, target: (flows,) indices into the placement's slices, or HOST; packets: (flows, model steps), by the step in
    which they were sent; payload: (flows,) bits of graded payload of one packet. Each pair of slices stands once a
    source population and payload, ordered by (source, target).
    """

    source: IntArray
    target: IntArray
    packets: IntArray
    payload: IntArray
