"""How wide every population's messages and states have to be, and how one knows.

A value that interval arithmetic keeps inside its width is proved, for every input there can be. Where it does not, the
largest value on calibration data is taken with a margin of one bit. Messages of graded neurons are clipped to their
payload: that is their definition, and no overflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ndeploy.data import Data
from ndeploy.decode import encode, for_data
from ndeploy.fixed import DECAY_ONE, IntArray, decay
from ndeploy.ir.lowered import Lowered
from ndeploy.ir.program import Population, Program
from ndeploy.ir.result import RunResult
from ndeploy.neurons import CubaLi, CubaLif, Input, TernaryLif
from ndeploy.search.explanation import SignalReason
from ndeploy.search.extents import Extent, Reach, extents
from ndeploy.search.payloads import choose_payloads, mean_payload, payload_options
from ndeploy.target import Target

__all__ = ["choose_payloads", "mean_payload", "overflow_free", "payload_options", "signal_reasons"]

MARGIN_BITS = 1
"""What is added to the width of what calibration data have shown."""
SAMPLES = 64
"""Calibration samples that are run, spread over all."""
TRACE_BYTES = 1 << 26
"""Traces held at a time; one sample's where that is more."""


@dataclass(eq=False)
class _Seen:
    """What calibration data have shown of a population: the range of its states (None where they were not kept), and
    how often a message was clipped or a value left its width."""

    range: tuple[float, float] | None = None
    events: dict[str, int] = field(default_factory=dict)

    def widen(self, values: IntArray) -> None:
        low, high = self.range or (0.0, 0.0)
        self.range = min(low, float(values.min())), max(high, float(values.max()))


def overflow_free(program: Program) -> tuple[str, ...]:
    """Populations of which a sum, current, state or unclipped message may leave its declared width for some input.

    Empty where overflow is proved impossible, whatever the host injects within its payloads. Graded messages that are
    clipped to their payload and saturate are no overflow.
    """
    return tuple(name for name, extent in extents(program).items() if extent.faults)


def signal_reasons(
    program: Program, lowered: Lowered, target: Target, calibration: Data | None
) -> tuple[SignalReason, ...]:
    """For every population what its messages and its state need, and what says so; nothing is refused.

    state_bits: of the widest of its sums (bias included), current, membrane or accumulators, two's complement; 0 for
    inputs. lowered: says which populations answer with a state. target: its payload and state limits are named where
    they bind. calibration: None leaves what is not proved at the declared width.
    """
    found = extents(program)
    loose = frozenset(name for name, extent in found.items() if extent.faults)
    seen = {} if calibration is None else _observe(program, calibration, loose)
    read = {name for name, variable in lowered.outputs if variable != "message"}
    reasons = []
    for p in program.populations:
        reason = _reason(p, found[p.name], seen.get(p.name), target)
        if p.name in read:
            reason = replace(reason, why=f"{reason.why}; its state is the answer")
        reasons.append(reason)
    return tuple(reasons)


def _reason(p: Population, extent: Extent, seen: _Seen | None, target: Target) -> SignalReason:
    payload = p.neuron.message.bits
    if isinstance(p.neuron, Input):
        return SignalReason(p.name, payload, 0, "clipped", f"the host clips what it injects to {_bits(payload)}")
    if extent.faults:
        bits, proof, why = _loose(extent, seen)
        return SignalReason(p.name, payload, bits, proof, why)
    widest = max(extent.values, key=lambda value: value.bits, default=None)
    bits = 0 if widest is None else int(widest.bits)
    held = "it keeps nothing" if widest is None else f"{_text(widest)} for any input"
    low, high = extent.unclipped
    message = p.neuron.message
    # below an unsigned payload lies what a rectifier takes away
    if high <= message.high and (low >= message.low or not message.signed):
        sent = "" if payload <= 1 else f", and {_bits(payload)} hold every message"
        return SignalReason(p.name, payload, bits, "proved", held + sent)
    return SignalReason(
        p.name, payload, bits, "clipped", f"{held}; messages are clipped to {_bits(payload)}{_count(seen)}"
    )


def _loose(extent: Extent, seen: _Seen | None) -> tuple[int, str, str]:
    """(bits, proof, why) where a value is not proved to stay inside its width."""
    worst = max(extent.faults, key=lambda value: value.bits / value.declared)
    declared = worst.declared
    reach = (
        f"its {worst.name} could reach {_power(worst)}"
        if np.isfinite(worst.bits)
        else (f"nothing bounds its {worst.name}")
    )
    left = {} if seen is None else {event: n for event, n in seen.events.items() if event != "payload-saturated"}
    if seen is None or seen.range is None:
        return declared, f"{declared}-bit", f"{reach} for some input, beyond {declared} bits; overflow is counted"
    bits = int(replace(worst, low=seen.range[0], high=seen.range[1]).bits) + MARGIN_BITS
    shown = f"calibration data reach {bits - MARGIN_BITS} bits, one more is kept"
    if left:
        events = ", ".join(f"{event} {n} times" for event, n in sorted(left.items()))
        return bits, "calibrated", f"{reach}, and it leaves {declared} bits on calibration data: {events}"
    if bits > declared:
        return bits, "calibrated", f"{reach}; {shown}, which is beyond its {declared} bits: overflow is counted"
    return bits, "calibrated", f"{reach} for some input; {shown}"


def _bits(number: int) -> str:
    return "1 bit" if number == 1 else f"{number} bits"


def _text(value: Reach) -> str:
    return f"its {value.name} stays within {_power(value)}"


def _power(value: Reach) -> str:
    """A bound as people read it."""
    largest = max(-value.low, value.high)
    return f"{_bits(int(value.bits))} ({largest:.0f})" if largest < 1e7 else f"{_bits(int(value.bits))} ({largest:.3g})"


def _count(seen: _Seen | None) -> str:
    if seen is None:
        return ""
    clipped = seen.events.get("payload-saturated", 0)
    return f", {clipped} messages of the calibration data were" if clipped else ", none of the calibration data was"


def _observe(program: Program, calibration: Data, loose: frozenset[str]) -> dict[str, _Seen]:
    """Run calibration data, a few samples at a time; values of the populations in `loose` only."""
    from ndeploy.sim import run

    data = calibration.spread(SAMPLES)
    program = for_data(program, data.x)
    values = sum(p.size * (1 + len(p.neuron.state)) for p in program.populations)
    size = len(data)
    if loose:
        size = max(1, TRACE_BYTES // (8 * program.steps * values))
    seen = {p.name: _Seen() for p in program.populations}
    for first in range(0, len(data), size):
        part = data.slice(first, first + size)
        messages = encode(program, part.x, part.x_scale)
        result = run(program, messages, trace=bool(loose), counts=False)
        for name, events in result.overflow.items():
            for event, n in events.items():
                seen[name].events[event] = seen[name].events.get(event, 0) + n
        for p in program.populations:
            if p.name in loose:
                for array in _values(p, result):
                    seen[p.name].widen(array)
    return seen


def _values(p: Population, result: RunResult) -> Iterator[IntArray]:
    """Every value that the population held on the way: its states, its membrane before resets, its messages."""
    states = {name: np.asarray(result.traces[f"state/{p.name}/{name}"], dtype=np.int64) for name in p.neuron.state}
    yield from (array for name, array in states.items() if name not in ("tick", "spiked", "wait"))
    neuron = p.neuron
    if isinstance(neuron, CubaLif | CubaLi | TernaryLif):
        yield _membrane(neuron, states)
    else:
        yield np.asarray(result.traces[f"spikes/{p.name}"], dtype=np.int64)


def _membrane(neuron: CubaLif | CubaLi | TernaryLif, states: Mapping[str, IntArray]) -> IntArray:
    """What the membrane was in each update before it was clipped or reset, (samples, model steps, ...)."""

    def before(name: str) -> IntArray:
        return np.concatenate([np.zeros_like(states[name][:, :1]), states[name][:, :-1]], axis=1)

    raw = decay(before("v"), np.asarray(DECAY_ONE - neuron.dv)) + states["u"] + np.asarray(neuron.bias)
    if isinstance(neuron, CubaLif) and neuron.reset == "subtract-next":
        raw = raw - before("spiked") * np.asarray(neuron.reset_amount)
    if isinstance(neuron, CubaLif) and neuron.reset == "zero-next":
        raw = np.where(before("spiked") > 0, neuron.reset_value, raw)
    return np.asarray(raw, dtype=np.int64)
