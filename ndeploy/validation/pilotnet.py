"""PilotNet on Loihi 2: the published networks, run and priced on the published placement.

The networks are lava-dl's own files (fixtures netx/pilotnet-lif, netx/pilotnet-sdnn). Energy is estimated for what the
notebooks measured, not for what they leave out:

- PilotNet-LIF ran for 10,000 steps on one frame that was kept as the bias of the input neurons, so that input did not
  bound it: no message enters the chip. `kept_frame` makes that program, and the simulator runs it.
- PilotNet-SDNN was fed by the host: the input layer is computed there, its messages come from outside. `fed_by_host`
  makes that program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport
from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.ir.result import Activity, RunResult
from ndeploy.neurons import CubaLif, Input
from ndeploy.place import Placed
from ndeploy.synapses import Conv
from ndeploy.target import Target
from ndeploy.validation.lava_placement import place_as_lava
from ndeploy.validation.measurements import FRAME_SECONDS_SDNN, measured
from ndeploy.validation.rows import ABSENT, RECOMPUTED, SHAPE_ONLY, Row, exactly, rate

LIF_NETWORK = "netx/pilotnet-lif/network.net"
SDNN_NETWORK = "netx/pilotnet-sdnn/network.net"
FRAME = "netx/pilotnet-lif/image.npy"
FRAME_SHAPE = (200, 66, 3)
LIF_STEPS, SDNN_STEPS = 16, 1
INPUT, FIRST = "input", "layer0"

ANOTHER_FRAME = "the notebook's frame 100 of the driving video is not published with the network; another frame is run"
NO_ENERGY = "no energy per operation of Loihi 2 is public: the prices are stand-ins of Loihi 1, argued, not fitted"
LOWER_BOUND = "the time is a lower bound: queues in the mesh and Lava's own management phases are not in it"
OWN_POWER = "the static power is this measurement's own, so that only the time is tested"
OWN_RULE = "the rule was read off the same printed table; it shows that shapes alone give each layer's cores"
HOST_BOUND = "the host's link is not modelled; the notebook says that frames going in are the bottleneck"


@dataclass(frozen=True, eq=False)
class Measured:
    """A network as it was measured, with what was counted and estimated for it."""

    program: Program
    placed: Placed
    report: EnergyReport


def _compiled(path: Path, steps: int) -> Program:
    from ndeploy.pipeline import CompileOptions, compile_model

    return compile_model(path, CompileOptions(target="loihi2", steps=steps)).program


def frame_of(path: Path) -> IntArray:
    """The frame as lava-dl keeps it, (width, height, channels), in the order of the program: (channels, height, width).

    Raises UsageError ND471 where the file is no array of integers of that shape.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: what the header claims is not allocated
    except (OSError, ValueError, EOFError) as error:
        raise _other(path, str(error) or type(error).__name__) from error
    if not isinstance(array, np.ndarray) or array.shape != FRAME_SHAPE or array.dtype.kind not in "iu":
        raise _other(path, f"it holds no integers of shape {FRAME_SHAPE}")
    frame: IntArray = array.transpose(2, 1, 0).astype(np.int64)
    return frame


def _other(what: Path | str, why: str) -> UsageError:
    return UsageError(
        "ND471",
        f"'{what}' is not what was measured: {why}",
        help="take lava-dl's own files (tutorials/lava/lib/dl/netx)",
    )


def kept_frame(program: Program, frame: IntArray) -> Program:
    """The program with the frame as the bias of its first layer and nothing coming in.

    Exact where the first layer forgets its current at once (du = 4095) and has one synapse of weight 1 a neuron, as
    NetX's input layer has: current and bias then enter the membrane alike. Raises UsageError ND471 elsewhere.
    """
    first = _first(program)
    entering = [j for j in program.projections if j.target == FIRST]
    neuron = first.neuron
    if not isinstance(neuron, CubaLif) or not np.all(np.asarray(neuron.du) == 4095) or len(entering) != 1:
        raise _other(program.name, f"'{FIRST}' is no input layer whose current is forgotten at once")
    if entering[0].exponent != 0 or not bool((entering[0].synapses.weight == 1).all()):
        raise _other(program.name, f"'{entering[0].name}' does more than hand its input on")
    if frame.shape != first.shape:
        raise _other(program.name, f"'{FIRST}' has shape {first.shape}, the frame {frame.shape}")
    biased = replace(first, neuron=replace(neuron, bias=frame << neuron.shift))
    return replace(
        program,
        populations=tuple(biased if p.name == FIRST else p for p in program.populations),
        projections=tuple(j for j in program.projections if j.target != FIRST),
    )


def _first(program: Program) -> Population:
    names = [p.name for p in program.populations]
    if INPUT not in names or FIRST not in names:
        raise _other(program.name, f"it has no populations '{INPUT}' and '{FIRST}'")
    return program.population(FIRST)


def fed_by_host(program: Program, activity: Activity) -> tuple[Program, Activity]:
    """The program without its first layer, whose messages come from the host, and the activity of that.

    Raises UsageError ND471 where there is no such layer.
    """
    sent = _first(program).neuron.message
    source = replace(program.population(INPUT), neuron=Input(bits=sent.bits, signed=sent.signed))
    kept = tuple(source if p.name == INPUT else p for p in program.populations if p.name != FIRST)
    fed = tuple(replace(j, source=INPUT) if j.source == FIRST else j for j in program.projections if j.target != FIRST)
    messages = {name: sent for name, sent in activity.messages.items() if name != FIRST}
    messages[INPUT] = activity.messages[FIRST]
    arrivals = {name: came for name, came in activity.arrivals.items() if name != FIRST}
    return replace(program, populations=kept, projections=fed), Activity(activity.samples, messages, arrivals)


def dense_macs(program: Program) -> int:
    """Multiply-accumulates of a step if every neuron sent, taps on the padding included, as lava-dl counts them."""
    total = 0
    for projection in program.projections:
        synapses = projection.synapses
        if isinstance(synapses, Conv):
            _, across, height, width = synapses.weight.shape
            total += int(np.prod(synapses.out_shape)) * across * height * width
        elif projection.source != INPUT:
            total += int(synapses.fan_out().sum())
    return total


def _run(program: Program, frame: IntArray) -> RunResult:
    from ndeploy.sim import run

    messages = np.broadcast_to(frame, (1, program.steps, *frame.shape)).copy()
    return run(program, {INPUT: messages}, activity=True)


def _activity(result: RunResult) -> Activity:
    if result.activity is None:
        raise RuntimeError("the simulator gave no activity though it was asked for")
    return result.activity


def lif(fixtures: Path, target: Target) -> Measured:
    """PilotNet-LIF as measured: the frame kept on the chip, 16 steps, Lava's 74 cores."""
    from ndeploy.energy.estimate import estimate

    frame = frame_of(fixtures / FRAME)
    program = kept_frame(_compiled(fixtures / LIF_NETWORK, LIF_STEPS), frame)
    activity = _activity(_run(program, np.zeros_like(frame)))
    placed = place_as_lava(program, target)
    return Measured(program, placed, estimate(program, placed, target, activity))


def sdnn(fixtures: Path, target: Target) -> Measured:
    """PilotNet-SDNN as measured: one step a frame, fed by the host, Lava's 61 cores. The frame comes from rest."""
    from ndeploy.energy.estimate import estimate

    whole = _compiled(fixtures / SDNN_NETWORK, SDNN_STEPS)
    program, activity = fed_by_host(whole, _activity(_run(whole, frame_of(fixtures / FRAME))))
    placed = place_as_lava(program, target)
    return Measured(program, placed, estimate(program, placed, target, activity))


def _counted(report: EnergyReport) -> str:
    """The events that cost most, in words."""
    counts: dict[str, float] = {}
    for term in report.terms:
        family = term.name.partition(".")[0]
        counts[family] = counts.get(family, 0.0) + term.count
    wanted = {"synaptic-op": "synaptic operations", "neuron-update": "updates", "spike": "spikes", "message": "packets"}
    return ", ".join(f"{counts.get(event, 0.0) / 1e6:.2f} M {name}" for event, name in wanted.items())


def _cores_elsewhere(program: Program, target: Target) -> str:
    from ndeploy.place import place

    placed = place(program, target)
    return f"by the public limits alone this compiler needs {placed.cores} (lower bound {placed.cores_lower_bound})"


def lif_rows(fixtures: Path, target: Target) -> tuple[Row, ...]:
    """Every PilotNet-LIF measurement beside its estimate."""
    found = lif(fixtures, target)
    report = found.report
    neurons = sum(p.size for p in found.program.populations if p.name != INPUT)
    on_cores = f"{_counted(report)} in a run of the published network, priced on Lava's {found.placed.cores} cores"
    energy = (NO_ENERGY, ANOTHER_FRAME)
    total = None if report.energy is None or report.static is None else report.energy + report.static
    return (
        Row(measured("pilotnet-lif/neurons"), exactly(neurons), RECOMPUTED, "neurons of the compiled program"),
        Row(
            measured("pilotnet-lif/macs"),
            exactly(dense_macs(found.program)),
            RECOMPUTED,
            "synapses of the compiled program and the taps that fall on padding",
        ),
        Row(
            measured("pilotnet-lif/cores"),
            exactly(found.placed.cores),
            RECOMPUTED,
            "Lava's rule on the published shapes (ndeploy/validation/lava_placement.py)",
            (OWN_RULE, _cores_elsewhere(found.program, target)),
        ),
        _energy("pilotnet-lif/energy", report.energy, on_cores, energy),
        _rate("pilotnet-lif/frames", report.interval, "16 chip steps of the busiest core and the barrier"),
        _rate("pilotnet-lif/frames-older", report.interval, "the same estimate against the notebook's other run"),
        _energy(
            "pilotnet-lif/static",
            report.static,
            "static power times the estimated frame time",
            (OWN_POWER, LOWER_BOUND),
        ),
        _energy("pilotnet-lif/total", total, "dynamic and static energy", (*energy, LOWER_BOUND)),
    )


def _energy(name: str, energy: Range | None, how: str, missing: tuple[str, ...], basis: str = RECOMPUTED) -> Row:
    if energy is None:
        return Row(measured(name), None, ABSENT, "an event that happened has no price", missing)
    return Row(measured(name), energy, basis, how, missing)


def _rate(
    name: str, interval: Range | None, how: str, missing: tuple[str, ...] = (LOWER_BOUND,), basis: str = RECOMPUTED
) -> Row:
    if interval is None or not interval.low:
        return Row(measured(name), None, ABSENT, "the target's prices hold no times", missing)
    return Row(measured(name), rate(interval), basis, how, missing)


def sdnn_rows(fixtures: Path, target: Target) -> tuple[Row, ...]:
    """Every PilotNet-SDNN measurement beside its estimate."""
    found = sdnn(fixtures, target)
    report = found.report
    from_rest = "no video is published with the network: one frame from rest is run, more than a change between frames"
    at_time = None
    if report.energy is not None and target.static_power is not None:
        power = target.static_power
        static = Range(power.low, power.nominal, power.high).times(FRAME_SECONDS_SDNN * found.placed.chips)
        at_time = report.energy + static
    chip = "the chip's own time a step; the host's is not in it"
    return (
        Row(
            measured("pilotnet-sdnn/cores"),
            exactly(found.placed.cores),
            RECOMPUTED,
            "Lava's rule on the published shapes; the input layer is the host's",
            (OWN_RULE,),
        ),
        _rate("pilotnet-sdnn/frames", report.interval, chip, (HOST_BOUND, from_rest), SHAPE_ONLY),
        _rate("pilotnet-sdnn/frames-older", report.interval, chip, (HOST_BOUND, from_rest), SHAPE_ONLY),
        _energy(
            "pilotnet-sdnn/total",
            report.total,
            "dynamic, host and static energy at the estimated frame time",
            (HOST_BOUND, from_rest),
            SHAPE_ONLY,
        ),
        _energy(
            "pilotnet-sdnn/total-at-time",
            at_time,
            "static power times the measured 59 ms, and the estimated dynamic energy",
            ("the chip's energy while it waits for the host, beyond its static power, is not modelled", from_rest),
            SHAPE_ONLY,
        ),
    )
