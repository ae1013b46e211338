"""What a client believes of an answer: all that can be checked without running the program itself.

The board says what it received and sent, what its memory holds, and what it counted. Each is compared with what we sent
and got, and with what the program makes certain whatever the data are. An error inside the chip that is consistent with
the chip's own counters passes: only another execution finds it (`ndeploy verify`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndeploy.board import arrays
from ndeploy.board.device import features as described
from ndeploy.board.protocol import Frame, FrameError, flag, number, text
from ndeploy.board.software import ACTIVITY, COUNTS
from ndeploy.counts import count, fan_out
from ndeploy.decode import predict
from ndeploy.errors import UnreachableError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity, Counts, RunResult
from ndeploy.neurons import Input
from ndeploy.printable import printable

MOST_SOURCE = 200
AGAIN = "try again; a board that does this again is broken: take it out of use"


def untrue(what: str) -> UnreachableError:
    """The board did not do what it was told, or the link changed it: never an answer of the model."""
    return UnreachableError("ND626", f"the board's answer is not to be trusted: {what}", help=AGAIN)


def contradicting(what: str) -> UnreachableError:
    """The board's own numbers contradict each other, or the program."""
    return UnreachableError("ND627", f"the board contradicts itself: {what}", help=AGAIN)


@dataclass(frozen=True)
class Power:
    """A meter that only goes up: joules and the seconds it has measured while the board worked on streams, and when we
    read it (time.monotonic)."""

    joules: float
    seconds: float
    read_at: float


def power(fields: Mapping[str, Any], welcome: Mapping[str, Any], before: Power | None) -> Power | None:
    """The meter's reading, None where the board has none. welcome: says whether, and which watts the board can draw.

    Raises UnreachableError ND627 for one that no meter of this board can show: not finite, going down, of more time
    than has passed, of a power the board cannot draw. A lie within these bounds cannot be told from the truth.
    """
    if "power" not in described(welcome):
        return None
    said = fields.get("power")
    values: list[Any] = [said.get(name) for name in ("joules", "seconds")] if isinstance(said, dict) else []
    if len(values) != 2 or not all(_is_quantity(value) for value in values):
        raise contradicting("its power meter shows no finite energy and time")
    now = Power(float(values[0]), float(values[1]), time.monotonic())
    if before is None:
        return now
    joules, seconds = now.joules - before.joules, now.seconds - before.seconds
    if joules < 0 or seconds < 0:
        raise contradicting(f"its power meter went back by {max(-joules, -seconds):g}")
    passed = now.read_at - before.read_at
    if seconds > passed * 1.05 + 1.0:
        raise contradicting(f"its power meter measured {seconds:.3g} s in {passed:.3g} s")
    low, high = _range(welcome.get("watts"))
    if not low * seconds * 0.99 <= joules <= high * seconds * 1.01 + 1e-12:
        raise contradicting(f"{joules:.3g} J in {seconds:.3g} s are not the {low:g} to {high:g} W that it can draw")
    return now


SCOPES = ("dynamic", "total")


def meter(welcome: Mapping[str, Any]) -> tuple[str, str, str]:
    """(who says what the meter shows, "dynamic" or "total", the target whose chip it measures or ""). A board that does
    not say has a meter in its supply, which measures static energy too. Raises FrameError."""
    said = welcome.get("meter")
    if said is None:
        return f"the meter of '{printable(text(welcome, 'runner', '?', 80))}'", "total", ""
    if not isinstance(said, dict) or said.get("scope") not in SCOPES:
        raise FrameError(f"the meter is not described with a source and a scope of {', '.join(SCOPES)}")
    source = printable(text(said, "source", "", MOST_SOURCE).replace(";", ",")) or "a meter without a name"
    return source, said["scope"], printable(text(said, "chip", "", 80))


def _range(watts: Any) -> tuple[float, float]:
    if isinstance(watts, list) and len(watts) == 2 and all(_is_quantity(w) for w in watts) and watts[0] <= watts[1]:
        return float(watts[0]), float(watts[1])
    return 0.0, math.inf


def _is_quantity(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18


def result(
    program: Program, messages: Mapping[str, IntArray], answer: Frame, counters: Frame, features: Any, *, trace: bool
) -> RunResult:
    """The run that the two frames tell of. features: what the board says it can do.

    Raises FrameError (not of the protocol's form), UnreachableError ND626 or ND627.
    """
    samples = len(next(iter(messages.values())))
    outputs, traces = _values(program, samples, arrays.unpack(answer.fields.get("arrays"), answer.body), trace)
    if "digests" in features:
        if text(counters.fields, "received") != arrays.digest(messages):
            raise untrue("it did not receive the messages that it was sent")
        if text(counters.fields, "sent") != arrays.digest(outputs):
            raise untrue("what arrived is not what it sent")
    named = arrays.unpack(counters.fields.get("arrays"), counters.body)
    counts = _counts(program, samples, named)
    _agree(program, messages, outputs, traces, counts)
    chip_steps = number(answer.fields, "chip_steps", -1, 0, 2**53)
    if chip_steps != program.chip_steps_per_sample:
        raise contradicting(f"a sample took {chip_steps:g} chip steps, not {program.chip_steps_per_sample}")
    first = program.outputs[0]
    return RunResult(
        outputs=outputs,
        predictions=predict(outputs[first.population], first.decode, first.answer, first.scale),
        counts=counts,
        chip_steps=program.chip_steps_per_sample,
        seconds=number(answer.fields, "seconds", 0.0, 0.0, 1e9),
        traces=traces,
        overflow=_overflow(program, counters.fields.get("overflow", {})),
        activity=_activity(program, samples, named) if flag(counters.fields, "activity") else None,
    )


def _values(
    program: Program, samples: int, named: Mapping[str, IntArray], trace: bool
) -> tuple[dict[str, IntArray], dict[str, IntArray]]:
    """(outputs, traces), of the shapes and names that the program has."""
    outputs = {n.removeprefix("outputs/"): v for n, v in named.items() if n.startswith("outputs/")}
    traces = {n.removeprefix("traces/"): v for n, v in named.items() if n.startswith("traces/")}
    if len(outputs) + len(traces) != len(named) or set(outputs) != {port.population for port in program.outputs}:
        raise FrameError("the outputs are not those of the program")
    known: dict[str, tuple[int, ...]] = {}
    for p in program.populations:
        shape = (samples, program.steps, *p.shape)
        known[f"spikes/{p.name}"] = shape
        known |= {f"state/{p.name}/{variable}": shape for variable in p.neuron.state}
    if set(traces) != (set(known) if trace else set()):
        raise FrameError("the traces are not those of the program")
    for port in program.outputs:
        if outputs[port.population].shape != (samples, program.steps, *program.population(port.population).shape):
            raise FrameError(f"output '{port.population}' has another shape than the program's")
    if any(value.shape != known[name] for name, value in traces.items()):
        raise FrameError("a trace has another shape than the program's")
    return outputs, traces


def _counts(program: Program, samples: int, named: Mapping[str, IntArray]) -> Counts:
    found: dict[str, dict[str, IntArray]] = {kind: {} for kind in COUNTS}
    for name, value in named.items():
        kind, _, owner = name.partition("/")
        if kind == "activity":
            continue
        if kind not in found or value.shape != (samples,):
            raise FrameError("a counter has an unknown name or a wrong shape")
        if value.min() < 0:
            raise contradicting(f"a counter of {kind} is negative")
        found[kind][owner] = value
    populations = {p.name for p in program.populations}
    links = {p.name for p in program.projections} | {p.name for p in program.products}
    if not populations <= set(found["spikes"]) or not {p.name for p in program.projections} <= set(
        found["synaptic_ops"]
    ):
        raise FrameError("the counters do not name every population and projection")
    if any(set(owned) - populations - links for owned in found.values()):
        raise FrameError("a counter names nothing of the program's")
    return Counts(**found)


def _agree(
    program: Program,
    messages: Mapping[str, IntArray],
    outputs: Mapping[str, IntArray],
    traces: Mapping[str, IntArray],
    counts: Counts,
) -> None:
    """Counters against messages that we know: what we sent, what came out, and with traces all of them."""
    known: dict[str, IntArray] = {}
    for population in program.populations:
        made = program.steps if population.updates is None else min(population.updates, program.steps)
        if isinstance(population.neuron, Input):
            sent = messages[population.name].copy()
            sent[:, made:] = 0
            known[population.name] = sent
        if (counts.spikes[population.name] > population.size * made).any():
            raise contradicting(f"population '{population.name}' sent more messages than it has neurons and updates")
    for port in program.outputs:
        if port.variable == "message":
            known[port.population] = outputs[port.population]
    for name, message in known.items():
        flat = np.count_nonzero(message.reshape(len(message), -1), axis=1)
        if not np.array_equal(counts.spikes[name], flat):
            where = int(np.flatnonzero(counts.spikes[name] != flat)[0])
            raise contradicting(
                f"population '{name}' sent {int(flat[where])} messages in sample {where}, the counter says "
                f"{int(counts.spikes[name][where])}"
            )
    for projection in program.projections:
        if projection.source in known:
            message = known[projection.source]
            sent = np.count_nonzero(message.reshape(len(message), program.steps, -1), axis=1)
            if not np.array_equal(sent @ fan_out(projection.synapses), counts.synaptic_ops[projection.name]):
                raise contradicting(
                    f"projection '{projection.name}' counts other synaptic operations than its messages"
                )
    for port in program.outputs:
        key = f"spikes/{port.population}" if port.variable == "message" else f"state/{port.population}/{port.variable}"
        if key in traces and not np.array_equal(traces[key], outputs[port.population]):
            raise contradicting(f"output '{port.population}' is not what its trace holds")
    if traces:
        wanted = count(program, traces)
        for kind in ("synaptic_ops", "spikes"):
            for name, value in getattr(wanted, kind).items():
                if not np.array_equal(value, getattr(counts, kind).get(name)):
                    raise contradicting(f"the counter of {kind} of '{name}' is not what the trace holds")


def _overflow(program: Program, said: Any) -> dict[str, dict[str, int]]:
    names = {p.name for p in program.populations}
    if not isinstance(said, dict) or not set(said) <= names:
        raise FrameError("overflow names nothing of the program's")
    found: dict[str, dict[str, int]] = {}
    for name, events in said.items():
        if not isinstance(events, dict) or len(events) > 64:
            raise FrameError("overflow events are listed wrongly")
        found[name] = {event[:80]: int(number(events, event, 0, 0, 2**53)) for event in events}
    return found


def _activity(program: Program, samples: int, named: Mapping[str, IntArray]) -> Activity:
    kinds: dict[str, dict[str, IntArray]] = {kind: {} for kind in ACTIVITY}
    owners = {p.name: p.size for p in program.populations}
    products = {p.name for p in program.products}
    for name, value in named.items():
        prefix, _, rest = name.partition("/")
        if prefix != "activity":
            continue
        kind, _, owner = rest.partition("/")
        fits = value.ndim == 2 and len(value) == program.steps and not (value.size and int(value.min()) < 0)
        own = value.ndim == 2 and (owner in products if kind == "live" else owners.get(owner) == value.shape[1])
        if kind not in kinds or not fits or not own:
            raise FrameError("activity is listed wrongly")
        kinds[kind][owner] = value
    if set(kinds["messages"]) != set(owners):
        raise FrameError("activity does not name every population")
    return Activity(samples, kinds["messages"], kinds["arrivals"], kinds["live"])
