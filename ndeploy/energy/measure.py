"""From a program and data to its energy report: run, place, price, and put baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ndeploy.data import Data
from ndeploy.energy.result import EnergyReport
from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.ir.diagnostic import Diagnostic
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.place import Placed, embedded_operations
from ndeploy.target import PriceTable, Target

if TYPE_CHECKING:
    from ndeploy.evaluate import Evaluation

TRACED = 4
"""Samples whose membranes are traced: the one metric that needs every value, not only who sent."""


@dataclass(frozen=True)
class Options:
    """objective: how to place anew, None for the placement given; table: None for the target's own prices."""

    objective: str | None = None
    table: PriceTable | None = None
    allow_unpriced: bool = False
    batch: int = 64
    threads: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    progress: Callable[[str], None] = lambda line: None


def counted(program: Program, data: Data, options: Options) -> tuple[Program, Evaluation, Activity]:
    """The program for the data's number of steps, its run on the simulator, and who sent what when."""
    from ndeploy import runners
    from ndeploy.decode import for_data
    from ndeploy.evaluate import evaluate

    fitted = for_data(program, data.x)
    told = runners.RunnerOptions(threads=options.threads, progress=options.progress)
    evaluation = evaluate(fitted, data, runners.find("sim"), told, batch=options.batch, activity=True)
    activity = evaluation.result.activity
    if activity is None:
        raise UsageError("ND434", "the simulator kept no activity", help="this is a defect of ndeploy: report it")
    return fitted, evaluation, activity


def measure(
    program: Program, target: Target, data: Data, options: Options, placed: Placed | None = None
) -> tuple[EnergyReport, tuple[Diagnostic, ...]]:
    """What a sample of the data costs, and remarks on the data.

    placed: where the program is, None to place it. Raises UsageError ND434 where the data make no neuron send
    anything, and what running and placing raise.
    """
    from ndeploy.energy.baselines import baselines
    from ndeploy.energy.estimate import estimate
    from ndeploy.energy.neurobench import metrics
    from ndeploy.place import place

    fitted, evaluation, activity = counted(program, data, options)
    remarks = silent_remarks(fitted, activity)
    options.progress("placing")
    if placed is None or options.objective is not None:
        placed = place(fitted, target, options.objective or "cores", activity)
    elif fitted is not program:  # the processor's operations are those of the data's steps
        placed = replace(placed, embedded_ops=embedded_operations(fitted))
    options.progress("pricing")
    traces = _membranes(fitted, data)
    traced = {"MembraneUpdates samples": len(next(iter(traces.values()), ()))}
    report = estimate(
        fitted,
        placed,
        target,
        activity,
        options.table,
        allow_unpriced=options.allow_unpriced,
        baselines=baselines(fitted, activity),
        neurobench=metrics(fitted, activity, traces or None) | traced,
        provenance=options.provenance,
        accuracy=evaluation.accuracy,
    )
    return report, remarks


def _membranes(program: Program, data: Data) -> Mapping[str, IntArray]:
    """Membranes of the first samples: NeuroBench counts how often they change."""
    from ndeploy import sim
    from ndeploy.decode import encode
    from ndeploy.energy.neurobench import membranes

    names = membranes(program)
    if not names:
        return {}
    some = data.slice(0, TRACED)
    return sim.run(program, encode(program, some.x, some.x_scale), counts=False, traces=names).traces


def silent_remarks(program: Program, activity: Activity) -> tuple[Diagnostic, ...]:
    """Raises UsageError ND434 where nothing was sent at all; a remark where only the inputs are silent."""
    sent = {name: int(values.sum()) for name, values in activity.messages.items()}
    if not any(sent.values()):
        raise UsageError(
            "ND434",
            f"no neuron of '{program.name}' sends anything in {activity.samples} samples: all rates are zero",
            help="give data that the network was trained for; check that x is not all zeros and x_scale is right",
        )
    inputs = [p.name for p in program.populations if isinstance(p.neuron, Input)]
    silent = [name for name in inputs if not sent[name]]
    dead = [name for name, n in sent.items() if not n and name not in inputs and _sends(program, name)]
    found = []
    if silent:
        found.append(f"input {', '.join(repr(name) for name in silent)} sends nothing")
    if dead:
        found.append(f"{', '.join(repr(name) for name in dead)} never sends anything")
    if not found:
        return ()
    help_ = "check that the data are what the network was trained for: energy of silent neurons is idle energy"
    return (Diagnostic("ND434", f"on these samples {'; '.join(found)}", help_),)


def _sends(program: Program, name: str) -> bool:
    """Whether anything listens to the population: what is only read from outside need not send."""
    return any(j.source == name for j in program.projections) or any(
        name in (x.left, x.right) for x in program.products
    )
