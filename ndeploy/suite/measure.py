"""A case measured: compiled, run, priced, its messages hashed. Runs in this process or in a worker."""

from __future__ import annotations

import hashlib
import platform
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndeploy.data import Data, load
from ndeploy.errors import NdeployError, RefusedError, RunnerError, UnreachableError
from ndeploy.ir.program import Program
from ndeploy.search.workers import threads
from ndeploy.suite import metered, parts
from ndeploy.suite.bench import BOARDS, Bench
from ndeploy.suite.case import Case
from ndeploy.suite.inject import DRAWS, Injection, faulty
from ndeploy.suite.measured import FILES, TIME_OF, Curve, Failure, Measured
from ndeploy.suite.trails import Recorder, apart, of_all
from ndeploy.suite.yardstick import in_yardsticks, timed, yardstick

if TYPE_CHECKING:
    from ndeploy.ir.network import Network
    from ndeploy.place import Placed
    from ndeploy.target import Target

TOOLS = ("ndeploy", "numpy", "numba", "torch", "nir", "lava-nc")
PROBE = 64
"""Samples of the speed measurement."""
QUICK = 10.0
"""Seconds: what compiles faster is compiled again, and the least time counts."""
LEAST_AGAIN, MOST_AGAIN = 0.2, 5
"""Seconds for which, and times that at most, a model is compiled again."""
BOARD_CODES = ("ND62", "ND63", "ND64")
INJECTED = 256
"""Samples of an injected run."""


@dataclass(frozen=True, eq=False)
class Context:
    """What every case shares. timed: whether times are measured, which takes longer than a small case."""

    bench: Bench = field(default_factory=Bench)
    injection: Injection | None = None
    timed: bool = True


@dataclass(frozen=True, eq=False)
class Deployed:
    """A case's program on its target; network: the float original, None where an artifact does not keep it;
    seconds: processor time of compiling, None for an artifact."""

    program: Program
    placed: Placed
    target: Target
    network: Network | None
    seconds: float | None


def measure(context: Context, case: Case) -> Measured | Failure:
    """Never raises: what goes wrong is a `Failure`."""
    board = case.runner in BOARDS
    try:
        return _measured(context, case)
    except NdeployError as error:
        faults = isinstance(error, UnreachableError | RunnerError) or error.code.startswith(BOARD_CODES)
        return Failure(error.code, error.message, error.help, error.exit_code, board and faults)
    except MemoryError as error:
        why = f"memory does not suffice: {error or 'nothing more is known'}"
        return Failure("ND707", why, "lower the case's batch or traced samples, or use fewer --workers", 1)
    except Exception as error:  # a defect met by one case is no reason to lose the others
        why = f"internal error: {type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
        return Failure("ND799", why, f"report it; run it alone with `ndeploy --debug test --case {case.name}`", 70)


def _measured(context: Context, case: Case) -> Measured:
    from ndeploy.board.flaky import faults_of
    from ndeploy.decode import for_data
    from ndeploy.energy.estimate import estimate
    from ndeploy.energy.measure import Options, counted, silent_remarks
    from ndeploy.evaluate import evaluate, mean_per_sample
    from ndeploy.summary import summarise

    data = load(case.data, case.limit)
    unit = yardstick()
    deployed = _deployed(case)
    program = for_data(deployed.program, data.x)
    wanted = _float_accuracy(deployed.network, data)
    program, simulated, activity = counted(deployed.program, data, Options(batch=case.batch, threads=threads()))
    evaluation = simulated
    with context.bench.lend(case.runner, case.time_limit, threads()) as (runner, options):
        if case.runner != "sim":
            evaluation = evaluate(program, data, runner, options, batch=case.batch)
        trails, mismatch = _trails(program, data.slice(0, case.traced), case.runner, runner, options)
        faults = faults_of(runner)
    mismatch = mismatch or apart(simulated.result, evaluation.result, case.runner)
    trails |= of_all(evaluation.result.outputs, evaluation.result.activity)
    remarks = [remark.message for remark in silent_remarks(program, activity)]
    report = estimate(program, deployed.placed, deployed.target, activity, None, allow_unpriced=True)
    power = evaluation.result.power
    remarks += [*faults.lines(), *metered.remarks(power, report)]
    if report.energy is None:
        remarks.append(f"no energy: {'; '.join(report.unpriced[:3])}")
    if not context.timed:
        remarks.append("times were not measured")
    curve = None
    try:
        if context.injection is not None:
            curve = _curve(program, data, context.injection, case.batch)
    except RefusedError as error:  # a network without such places is none the worse for it
        remarks.append(f"no faults injected: {error.message}")
    counts = evaluation.result.counts
    found = parts.parts(deployed.program)
    numbers: dict[str, float | None] = {
        "samples": float(evaluation.samples),
        "accuracy": _answer(evaluation.accuracy, evaluation.sequence_accuracy),
        "float_accuracy": wanted,
        "synaptic_ops": mean_per_sample(counts.synaptic_ops),
        "neuron_updates": mean_per_sample(counts.neuron_updates),
        "spikes": mean_per_sample(counts.spikes),
        "energy": None if report.energy is None else report.energy.nominal,
        "latency": None if report.latency is None else report.latency.nominal,
        "cores": float(deployed.placed.cores) if deployed.target.placed else None,
        "chips": float(deployed.placed.chips) if deployed.target.placed else None,
        "chip_steps": float(summarise(program).chip_steps_per_sample),
        "compile_time": None if deployed.seconds is None or not context.timed else _ratio(deployed.seconds / unit),
        "speed": _ratio(_speed(program, data)) if context.timed else None,
        **metered.numbers(power, report),
    }
    return Measured(
        identity=_identity(case, deployed, found) | ({} if power is None else {"meter": power.meter}),
        toolchain=toolchain(),
        numbers=numbers,
        trails=trails,
        parts=found,
        costs={
            term.name: (term.count, term.unit_energy.nominal)
            for term in report.terms
            if term.group == "chip" and term.unit_energy is not None
        }
        | {f"{TIME_OF}{price.name}": (1.0, price.nominal) for price in deployed.target.time},
        timing=tuple((p.name, p.offset) for p in program.populations),
        period=program.period,
        mismatch=mismatch,
        curve=curve,
        remarks=tuple(remarks),
        retried=faults.by_code,
    )


def _deployed(case: Case) -> Deployed:
    if case.artifact is not None:
        return _loaded(case.artifact)
    from threadpoolctl import threadpool_limits

    from ndeploy.pipeline import CompileOptions, compile_model

    asked = CompileOptions(
        target=case.target,
        steps=case.steps,
        bits=case.bits,
        method=case.method,
        settings=case.settings,
        attention=case.attention,
        mode=case.mode,
        calibration=case.calibration,
        coding=case.coding,
        activation_bits=case.activation_bits,
        place=case.place,
    )
    assert case.model is not None
    model = case.model
    with threadpool_limits(1):  # roundings do not depend on how many cores there are
        compiled, seconds = timed(lambda: compile_model(model, asked))
        again = 0.0  # the first of a process also imports and compiles kernels, and what is short is soon disturbed
        while seconds < QUICK and again < LEAST_AGAIN:
            more = timed(lambda: compile_model(model, asked))[1]
            seconds, again = min(seconds, more), again + max(more, LEAST_AGAIN / MOST_AGAIN)
    _require_wellformed(compiled.program)
    return Deployed(compiled.program, compiled.placed, compiled.target, compiled.network, seconds)


def _require_wellformed(program: Program) -> None:
    """As whoever loads it from an artifact would. Raises RefusedError ND701, which names the part."""
    from ndeploy import wellformed

    try:
        wellformed.check(program)
    except ValueError as error:
        raise RefusedError(
            "ND701", f"the compiler made a program that is none: {error}", help="report it, with the model"
        ) from error


def _loaded(path: Path) -> Deployed:
    from ndeploy import artifact, plugins
    from ndeploy.graph.read import read_nir
    from ndeploy.place import place
    from ndeploy.place.record import restore

    loaded = artifact.load(path)
    target = plugins.target(str(loaded.meta.get("target", "")))
    if "slices" in loaded.placement:
        placed = restore(loaded.program, target, loaded.placement)
    else:
        placed = place(loaded.program, target)
    network = None if loaded.network is None else read_nir(loaded.network)
    return Deployed(loaded.program, placed, target, network, None)


def _float_accuracy(network: Network | None, data: Data) -> float | None:
    """The float network's accuracy on labelled data; None without labels or without the network."""
    from ndeploy.search.score import reference

    if network is None or data.y is None:
        return None
    found = reference(network, data)
    return found.accuracy if found.labelled else None


def _answer(accuracy: float | None, sequences: float | None) -> float | None:
    return accuracy if sequences is None else sequences


def _trails(program: Program, data: Data, name: str, runner: Any, options: Any) -> tuple[dict[str, Any], str]:
    """Hashes of the runner's messages, and where it parts from the simulator, "" where it does not."""
    from ndeploy.decode import encode
    from ndeploy.runners import find
    from ndeploy.verify import batch_size, verify

    recorder = Recorder(runner)
    if name != "sim":
        found = verify(program, data, {"sim": find("sim"), name: recorder}, options)
        first = found.first_mismatch
        if first is None:
            return recorder.trails(), ""
        values = ", ".join(f"{who} {value}" for who, value in first.values.items())
        where = f"sample {first.sample}, model step {first.model_step}, population '{first.population}'"
        return recorder.trails(), f"{where}, neuron {list(first.neuron)}: {first.variable} is {values}"
    batch = batch_size(program)
    for start in range(0, len(data), batch):
        part = data.slice(start, start + batch)
        recorder(program, encode(program, part.x, part.x_scale), trace=True, options=options)
    return recorder.trails(), ""


def _speed(program: Program, data: Data) -> float:
    """What a sample costs the simulator on one thread, in yardsticks."""
    from ndeploy import sim
    from ndeploy.decode import encode

    some = data.slice(0, PROBE)
    messages = encode(program, some.x, some.x_scale)
    return in_yardsticks(lambda: sim.run(program, messages, threads=1)) / len(some)


def _ratio(value: float) -> float:
    """Three digits are what a time is worth."""
    return float(f"{value:.3g}")


def _curve(program: Program, data: Data, injection: Injection, batch: int) -> Curve | None:
    """Accuracy by number of faults; None without labels."""
    from ndeploy.evaluate import evaluate
    from ndeploy.runners import RunnerOptions, find

    if data.y is None:
        return None
    some = data.spread(INJECTED)
    told, runner = RunnerOptions(threads=threads()), find("sim")

    def accuracy(of: Program) -> float:
        found = evaluate(of, some, runner, told, batch=batch)
        return _answer(found.accuracy, found.sequence_accuracy) or 0.0

    points: list[tuple[int, tuple[float, ...]]] = [(0, (accuracy(program),))]
    for faults in injection.levels():
        draws = range(injection.seed, injection.seed + DRAWS)
        points.append((faults, tuple(accuracy(faulty(program, injection.kind, faults, seed)) for seed in draws)))
    return Curve(injection.kind, injection.seed, len(some), tuple(points))


# -- identity ----------------------------------------------------------------------------------------------------------


def _identity(case: Case, deployed: Deployed, found: parts.Parts) -> dict[str, str]:
    return {
        **digests(case),
        "options": case.options_digest(),
        "target": hashlib.sha256(repr(deployed.target).encode()).hexdigest(),
        "program": parts.digest(found),
        "runner": case.runner,
    }


def digests(case: Case) -> dict[str, str]:
    """SHA-256 of the case's files. Raises OSError."""
    from ndeploy.artifact import sha256_of

    found = {name: sha256_of(path) for name in FILES if (path := getattr(case, name)) is not None}
    if case.model is not None:
        found["model"] = _with_settings(case.model, found["model"])
    return found


def _with_settings(model: Path, digest: str) -> str:
    """Of a model and the settings that lie beside it, where there are some."""
    names = dict.fromkeys((model.name + ".json", model.name.split(".", 1)[0] + ".json", "config.json"))
    beside = [path for name in names if (path := model.with_name(name)).is_file()]
    if not beside:
        return digest
    told = hashlib.sha256(digest.encode())
    for path in beside:
        told.update(path.name.encode() + path.read_bytes())
    return told.hexdigest()


def toolchain() -> dict[str, str]:
    """Versions of what computes the numbers, the interpreter's, and the instructions that sums of floats use."""
    from ndeploy import __version__

    found: dict[str, str] = {"python": ".".join(map(str, sys.version_info[:2]))}
    for name in TOOLS:
        try:
            found[name] = __version__ if name == "ndeploy" else version(name)
        except PackageNotFoundError:
            continue
    import torch

    found["cpu"] = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {_instructions()}"
    return found


def _instructions() -> str:
    """A digest of the processor's instruction sets: libraries choose kernels by them, and kernels round differently."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:12]
