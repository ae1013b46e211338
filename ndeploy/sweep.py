"""What if: one model compiled for every combination of targets, widths and steps, and what each costs on the same data.

A combination is a `Case`, its result a `Row`: measured, or refused with the coded reason. Rows do not depend on each
other, nor on where they are measured: in this process, in local processes or on a dask cluster (`ndeploy.search`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndeploy.data import Data
from ndeploy.errors import NdeployError, UsageError
from ndeploy.search.journal import Journal
from ndeploy.search.workers import pool, threads
from ndeploy.sweep_rows import Case, Measured, Refusal, Row, from_json, to_json

if TYPE_CHECKING:
    from ndeploy.pipeline import Compiled, CompileOptions
    from ndeploy.search.score import Reference
    from ndeploy.target import PriceTable

MOST_CASES = 512
MOST_BESIDE = 1 << 20
"""Bytes of a settings file beside the model that goes to a cluster with it."""
NOT_KEPT = ("ND707", "ND799")
"""Refusals that another try may not meet: short memory, and defects."""


@dataclass(frozen=True, eq=False)
class Context:
    """What every combination shares.

    base: options of the compiler, of which a case replaces some; calibration too is a path there. tables: prices by
    target, where not the target's own. files: by name, what workers on other machines lack (model, calibration, the
    settings beside the model), None where all see this file system. kept: what one process has found out already.
    """

    model: Path
    data: Data
    base: CompileOptions
    tables: Mapping[str, PriceTable] = field(default_factory=dict)
    batch: int = 64
    allow_unpriced: bool = False
    files: Mapping[str, bytes] | None = None
    kept: dict[Any, Any] = field(default_factory=dict)


def cases(
    targets: Sequence[str],
    bits: Sequence[int],
    steps: Sequence[int | None] = (None,),
    activation_bits: Sequence[int | None] = (None,),
    attention: Sequence[str] = ("parallel",),
    place: Sequence[str] = ("cores",),
) -> tuple[Case, ...]:
    """Every combination, the last of these varying fastest. Raises UsageError ND460 for more than `MOST_CASES`."""
    found = list(
        itertools.islice(itertools.product(targets, bits, steps, activation_bits, attention, place), 1 + MOST_CASES)
    )
    if len(found) > MOST_CASES:
        raise UsageError(
            "ND460", f"more than {MOST_CASES} combinations", help="sweep fewer values at once, or in several commands"
        )
    return tuple(Case(*values) for values in found)


def sweep(
    context: Context,
    asked: Sequence[Case],
    workers: str = "1",
    journal: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
    note: Callable[[str], None] = lambda line: None,
) -> Iterator[Row]:
    """Rows in the order of the cases, each as soon as it and all before it are there.

    journal: keeps rows that are done, and gives those that an interrupted sweep of the same files has kept; it is left
    where it is. progress: called for every row that is done; note: with what journal and workers have to say. Raises
    what `search.workers.pool` and `search.journal.Journal` raise: a case that cannot be built is a row, a worker that
    dies is an error.
    """
    if workers.startswith(("tcp:", "tls:")):
        context = replace(context, files=_files(context))
    with Journal(journal, _fingerprint(context)) as kept:
        known = {case: row for case in asked if (row := _taken(kept.get(_task(context, case)), case)) is not None}
        waiting = [case for case in dict.fromkeys(asked) if case not in known]
        progress(f"{len(known)} of {len(set(asked))} combinations")
        with pool(workers if waiting else "1", context) as measurers:
            for line in (*kept.notes, *measurers.notes):
                note(line)
            fresh = measurers.map(measure, waiting)
            for case in asked:
                while case not in known:
                    row = next(fresh)
                    known[row.case] = row
                    if row.refusal is None or row.refusal.code not in NOT_KEPT:
                        kept.put(_task(context, row.case), to_json(row))
                    progress(f"{len(known)} of {len(set(asked))} combinations: {row.case.named}")
                yield known[case]


def measure(context: Context, case: Case) -> Row:
    """One combination: compiled, run on the data, placed and priced; or why not."""
    try:
        with _present(context) as (model, calibration, shown):
            try:
                return Row(case, measured=_measured(context, case, model, calibration))
            except NdeployError as error:
                return Row(case, Refusal(error.code, shown(error.message), shown(error.help), error.exit_code))
    except MemoryError as error:
        why = f"memory does not suffice: {error or 'nothing more is known'}"
        return Row(case, Refusal("ND707", why, "run fewer samples at once (--batch, --limit), or fewer --workers", 1))
    except Exception as error:  # a defect in one combination is no reason to lose the others
        why = f"internal error: {type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
        return Row(case, Refusal("ND799", why, f"report it; compile this one with --debug: {case.named}", 70))


def _measured(context: Context, case: Case, model: Path, calibration: Path | None) -> Measured:
    from threadpoolctl import threadpool_limits

    from ndeploy.decode import clipped
    from ndeploy.energy.compare import cost_of
    from ndeploy.energy.estimate import estimate
    from ndeploy.energy.measure import Options, counted, silent_remarks
    from ndeploy.evaluate import beyond_classes
    from ndeploy.pipeline import compile_model
    from ndeploy.search.score import STATEFUL, judge, unit
    from ndeploy.summary import summarise

    asked = replace(
        context.base,
        target=case.target,
        bits=case.bits,
        steps=case.steps,
        activation_bits=case.activation_bits,
        attention=case.attention,
        place=case.place,
        calibration=calibration,
    )
    with threadpool_limits(1):  # roundings do not depend on how many cores there are
        compiled = compile_model(model, asked)
        wanted = _reference(context, compiled)
    program, evaluation, activity = counted(
        compiled.program, context.data, Options(batch=context.batch, threads=threads())
    )
    _same_steps(case, program.steps)
    silent = silent_remarks(program, activity)
    placed = compiled.placed
    report = estimate(
        program,
        placed,
        compiled.target,
        activity,
        context.tables.get(case.target),
        allow_unpriced=context.allow_unpriced,
        accuracy=evaluation.accuracy,
    )
    port, result = program.outputs[0], evaluation.result
    judged = judge(result.outputs[port.population], result.predictions, port, unit(program, port), wanted)
    told = (*compiled.diagnostics, *silent, *clipped(program, context.data.x, context.data.x_scale))
    told = (*told, *beyond_classes(program, context.data.y))
    summary = summarise(program)
    return Measured(
        samples=evaluation.samples,
        labels="" if wanted.labels is None else "labels" if wanted.labelled else "float model",
        accuracy=judged.accuracy,
        float_accuracy=wanted.accuracy if wanted.labelled else None,
        # an error relative to nothing is none
        loss=judged.loss if wanted.output.any() else None,
        weight_bits_mean=summary.weight_bits_mean,
        neurons=summary.neurons,
        steps=program.steps,
        chip_steps=program.chip_steps_per_sample,
        mode=program.mode,
        cores=placed.cores,
        cores_lower_bound=placed.cores_lower_bound,
        chips=placed.chips,
        memory_bytes=placed.weight_memory_bytes,
        # as `score` counts it: graded messages are clipped by design, states are not
        overflow=sum(
            sum(events.values())
            for name, events in result.overflow.items()
            if isinstance(program.population(name).neuron, STATEFUL)
        ),
        cost=cost_of(report),
        bound=report.bound,
        unpriced=report.unpriced,
        warnings=tuple((diagnostic.code, diagnostic.message) for diagnostic in told),
    )


def _same_steps(case: Case, run: int) -> None:
    """Raises UsageError ND461 where the data's sequences, not the case, say how many steps run."""
    if case.steps is not None and case.steps != run:
        raise UsageError(
            "ND461",
            f"{case.steps} model steps were asked for, and the sequences of the data have {run}: so many would run",
            help="leave out --steps, or give data with one value a sample or with sequences of that length",
        )


def _reference(context: Context, compiled: Compiled) -> Reference:
    """The float network on the data, once a process for each number of steps."""
    from ndeploy.search.score import reference

    key = ("reference", compiled.network.steps)
    if key not in context.kept:
        context.kept[key] = reference(compiled.network, context.data)
    found: Reference = context.kept[key]
    return found


# -- files and journal -------------------------------------------------------------------------------------------------


def _files(context: Context) -> Mapping[str, bytes]:
    """What a worker that does not see this file system needs. Raises UsageError ND101."""
    found = {}
    beside = (context.model.with_name(name) for name in _settings_names(context.model))
    for path in (context.model, *(p for p in beside if p.is_file() and p.stat().st_size <= MOST_BESIDE)):
        found[f"model/{path.name}"] = _read(path)
    if context.base.calibration is not None:
        found[f"calibration/{context.base.calibration.name}"] = _read(context.base.calibration)
    return found


def _settings_names(model: Path) -> tuple[str, ...]:
    """Names under which settings may lie beside a model."""
    return tuple(dict.fromkeys((model.name + ".json", model.name.split(".", 1)[0] + ".json", "config.json")))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            "ND101", f"'{path}' cannot be read: {error.strerror or error}", help="check the path and its permissions"
        ) from error


@contextmanager
def _present(context: Context) -> Iterator[tuple[Path, Path | None, Callable[[str], str]]]:
    """Model and calibration as files, and what to do with a message that names them: the user knows other paths."""
    calibration = context.base.calibration
    if context.files is None:
        yield context.model, calibration, str
        return
    with tempfile.TemporaryDirectory(prefix="ndeploy-sweep-") as name:
        folder = Path(name)
        for part, content in context.files.items():
            path = folder / part
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        there = None if calibration is None else folder / "calibration" / calibration.name
        homes = {str(folder / "model"): str(context.model.parent)}
        if calibration is not None:
            homes[str(folder / "calibration")] = str(calibration.parent)

        def shown(text: str) -> str:
            for away, home in homes.items():
                text = text.replace(away + os.sep, "" if home == "." else home + os.sep)
            return text

        yield folder / "model" / context.model.name, there, shown


def _fingerprint(context: Context) -> str:
    """SHA-256 of all that a row depends on but its case: files, data, options, versions."""
    import numpy as np

    from ndeploy import __version__

    told = hashlib.sha256()
    paths = [context.model, *(context.model.with_name(name) for name in _settings_names(context.model))]
    for path in (*paths, context.base.calibration):
        digest = "" if path is None or not path.is_file() else hashlib.sha256(path.read_bytes()).hexdigest()
        told.update(f"{None if path is None else path.name}:{digest}\n".encode())
    for array in (context.data.x, context.data.y):
        if array is not None:
            told.update(f"{array.dtype.str}{array.shape}".encode())
            told.update(np.ascontiguousarray(array).tobytes())
    base = replace(context.base, calibration=None)
    options = (context.data.x_scale, context.batch, context.allow_unpriced, sorted(context.base.settings.items()))
    told.update(repr((__version__, np.__version__, options, replace(base, settings={}))).encode())
    return told.hexdigest()


def _task(context: Context, case: Case) -> str:
    """The case, and a digest of its target and prices: their files may change between two runs."""
    from ndeploy.plugins import target

    prices = hashlib.sha256(repr((target(case.target), context.tables.get(case.target))).encode()).hexdigest()
    return json.dumps({**asdict(case), "prices": prices}, sort_keys=True)


def _taken(value: Mapping[str, Any] | None, case: Case) -> Row | None:
    """A row from the journal; None where there is none, or what stands there is none of this case."""
    if value is None:
        return None
    try:
        row = from_json(value)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return row if row.case == case else None
