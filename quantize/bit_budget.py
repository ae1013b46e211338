"""The best accuracy that a given budget of bits can buy: every layer gets the width that the answers need.

Weights are rounded together by what varies together (`_spiking`, `passes.second_order`), biases corrected; how much a
layer's width matters is measured on the answers of calibration data, and widths are allocated exactly
(`ndeploy.search`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ndeploy.errors import RefusedError, UsageError
from ndeploy.ir.lowered import GRADED
from ndeploy.near_moments import near_moments
from ndeploy.passes.message_units import message_units
from ndeploy.quantizer import Quantised, Request, Room
from ndeploy.search.assignment import MOST_BITS, Assignment
from ndeploy.traced_moments import traced_moments

from .uniform import quantize as uniform

NAME = "bit-budget"
ROOM_WIDTHS = (2, 3, 4, 6, 8)


def build(request: Request, assignment: Assignment, memo: dict[Any, Any]) -> Quantised:
    """The program of an assignment. Raises RefusedError ND301, ND302."""
    moments = request.moments
    if assignment.rounding == "plain":  # what uniform is given: moments of graded ports only
        spiking = {p.name for p in request.lowered.populations if not isinstance(p.model, GRADED)}
        moments = {key: found for key, found in moments.items() if key not in spiking}
        request = replace(request, rooms={})
    moments = {**moments, **request.variants.get(assignment.rounding, {})}
    asked = replace(
        request, moments=moments, bits_of=assignment.weights, payload_of={**request.payload_of, **assignment.messages}
    )
    # what is kept of other moments' roundings is another memory
    return uniform(asked, _silent, memo.setdefault(assignment.rounding, {}))


def prepare(request: Request, progress: Callable[[str], None]) -> Request:
    """The request with the moments of every population that has weights, seen in a program of `MOST_BITS` bits."""
    from threadpoolctl import threadpool_limits

    if request.calibration is None:
        raise UsageError(
            "ND305",
            "a search for widths needs calibration data",
            help="give --calibration DATA.npz with samples like those the network will see, and their labels y",
        )
    with threadpool_limits(1):
        widest = uniform(replace(request, bits=MOST_BITS), progress)
        progress("observing what varies together")
        units = message_units(request.lowered, widest.choices)
        seen = traced_moments(widest.program, request.lowered, request.calibration, units)
        near = near_moments(widest.program, request.lowered, request.calibration, units)
        prepared = replace(request, moments={**request.moments, **seen}, variants=near)
        return replace(prepared, rooms=_rooms(prepared, progress))


def _rooms(request: Request, progress: Callable[[str], None]) -> dict[int, dict[str, Room]]:
    """What populations give up so that their states fit, at a few uniform widths: it hardly depends on the others."""
    names = [p.name for p in request.lowered.projections if not p.unit and p.integer is None]
    if all(isinstance(p.model, GRADED) for p in request.lowered.populations if request.lowered.into(p.name)):
        return {}  # sums of graded messages are proved to fit
    found = {}
    for bits in ROOM_WIDTHS:
        progress(f"room for states at {bits} bits")
        try:
            made = uniform(replace(request, bits_of=dict.fromkeys(names, bits)), _silent)
        except RefusedError:
            continue
        found[bits] = dict(made.rooms)
    return found


def quantize(request: Request, progress: Callable[[str], None]) -> Quantised:
    """The best program within `request.budget`; without a budget, mean weight bits of `request.bits`.

    Raises UsageError ND305 (no calibration data), RefusedError ND306 (a budget that nothing meets, with the nearest
    that something does), and what `uniform` raises.
    """
    from ndeploy.search.search import search

    if request.calibration is None and not any(not p.unit for p in request.lowered.projections):
        return uniform(request, progress)
    return search(prepare(request, progress), build, progress)


def _silent(stage: str) -> None:
    """Builds within a search say nothing."""
