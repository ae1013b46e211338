"""What `--against` names: the other side of a comparison, and how causes are told apart beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ndeploy import artifact as artifacts
from ndeploy import runners
from ndeploy.artifact import Artifact
from ndeploy.data import Data
from ndeploy.decode import for_data
from ndeploy.divergence import engines, exact, sides
from ndeploy.divergence.engines import Engine, FloatEngine, ProgramEngine
from ndeploy.divergence.sides import Side
from ndeploy.divergence.today import Today, compiled_today
from ndeploy.errors import UsageError
from ndeploy.ir.program import Program
from ndeploy.runners import Runner, RunnerOptions

FLOAT, COMPILE = "float", "compile"
"""Words of `--against` that are no runner and no file."""
ARTIFACT, TRACE = ".ndp", ".npz"
FILES = (ARTIFACT, TRACE)
"""Ends of `--against` that are files, whether they exist or not."""
A_COMPILE = "a compile of today"


@dataclass(frozen=True)
class Asked:
    """against: as given. artifact, data: calibration data may lie beside them. calibration: the file, None for none
    given."""

    against: str
    artifact: Path
    data: Path
    calibration: Path | None
    options: RunnerOptions

    @property
    def path(self) -> Path:
        """`against` as a file."""
        return Path(self.against)

    @property
    def progress(self) -> Callable[[str], None]:
        """Told what is done."""
        return self.options.progress


@dataclass(frozen=True, eq=False)
class Reference:
    """The other side; engine: None where causes cannot be told apart, `why` says so. today, told, other,
    one_unit: as `compare.compare` takes them."""

    name: str
    side: Side
    engine: Engine | None = None
    why: str = ""
    today: ProgramEngine | None = None
    told: str = ""
    other: FloatEngine | None = None
    one_unit: bool = True


def find(asked: Asked, loaded: Artifact, program: Program, data: Data, held: Runner | None) -> Reference:
    """The reference of a program, `loaded` as it runs on the data.

    held: the runner of `--against`, opened, where it names one. Raises UsageError ND653 where the artifact cannot be
    compiled again and is asked for, ND650, ND652, and what reading raises.
    """
    if asked.against == FLOAT:
        return _float_network(asked, loaded, program, data)
    if asked.against == COMPILE:
        return _compile(asked, loaded, program, data)
    if held is not None:
        why = (
            f"{asked.against} runs the same numbers: what differs is how it computes; `ndeploy verify` compares every "
            "state"
        )
        return Reference(asked.against, sides.Executed(program, held, asked.options), None, why)
    if asked.against.endswith(ARTIFACT) or artifacts.is_artifact(asked.path):
        return _artifact(asked, loaded, program, data)
    side = sides.recorded(asked.path, program, data)
    why = "a trace holds what was computed, not with which numbers: compare the artifact with float, or with another"
    return Reference(f"the trace {asked.path.name}{side.recorder}", side, None, why)


def runner_of(against: str) -> Runner | None:
    """The runner that `--against` names, None where it names something else. Raises UsageError ND601."""
    if against in (FLOAT, COMPILE) or against.endswith(FILES) or Path(against).is_file():
        return None
    return runners.find(against)


def _float_network(asked: Asked, loaded: Artifact, program: Program, data: Data) -> Reference:
    name = "the float network"
    network = exact.read(loaded.network)
    numbers, why = exact.beside(network, program, loaded.meta)
    if numbers is None:
        return Reference(name, sides.Floats(network, program), None, why)
    made = _today(asked, loaded, data)
    if made.program is None:
        told = f"what a compile of today gives is not known: {made.why}"
        engine = FloatEngine(program, numbers)
        return Reference(name, sides.Mended(engine), engine, told=told)
    other = engines.why_not(program, made.program)
    if other:
        told = f"a compile of today gives a program with which this one cannot be mixed: {other}"
        engine = FloatEngine(program, numbers)
        return Reference(name, sides.Mended(engine), engine, told=told)
    engine = FloatEngine(program, numbers, made.program)
    beside = ProgramEngine(program, made.program, asked.options.threads)
    differing = beside.differing(data)
    told = "a compile of today gives this program, integer for integer"
    if differing:
        told = f"a compile of today gives another program: {', '.join(differing)}"
    return Reference(name, sides.Mended(engine), engine, today=beside, told=told)


def _today(asked: Asked, loaded: Artifact, data: Data) -> Today:
    folders = (asked.artifact.parent, asked.data.parent, Path())
    made = compiled_today(loaded, folders, asked.calibration, asked.progress)
    return made if made.program is None else Today(for_data(made.program, data.x), samples=made.samples)


def _compile(asked: Asked, loaded: Artifact, program: Program, data: Data) -> Reference:
    made = _today(asked, loaded, data)
    if made.program is None:
        raise UsageError(
            "ND653",
            f"'{asked.artifact.name}' cannot be compiled again: {made.why}",
            help="compile the model yourself and give the new artifact as --against",
        )
    return _beside(A_COMPILE, made.program, program, asked)


def _beside(name: str, reference: Program, program: Program, asked: Asked) -> Reference:
    if program.steps != reference.steps:
        raise UsageError(
            "ND650",
            f"the programs have {program.steps} and {reference.steps} model steps: no step of one is a step of the "
            "other",
            help="compile both with the same --steps",
        )
    why = engines.why_not(program, reference)
    engine = None if why else ProgramEngine(program, reference, asked.options.threads)
    return Reference(name, sides.plain_simulator(reference, asked.options.threads), engine, why, one_unit=not why)


def _artifact(asked: Asked, loaded: Artifact, program: Program, data: Data) -> Reference:
    """Another artifact; without common units each of the two is set beside its own float network."""
    theirs = artifacts.load(asked.path)
    reference = for_data(theirs.program, data.x)
    found = _beside(asked.path.name, reference, program, asked)
    if found.engine is not None:
        return found
    pair = []
    for which, held, own in (("the artifact", loaded, program), (asked.path.name, theirs, reference)):
        numbers, why = (None, "no float network is kept")
        if held.network is not None:
            numbers, why = exact.beside(exact.read(held.network), own, held.meta)
        if numbers is None:
            return replace(found, why=f"{found.why}; of {which}: {why}")
        pair.append(FloatEngine(own, numbers))
    told = f"{found.why}: each of the two is set beside its own float network"
    if loaded.network != theirs.network:
        told += "; these networks differ"
    return replace(found, engine=pair[0], why="", told=told, other=pair[1])
