"""Sweeping: every combination is a row, the same wherever it is measured, and none is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
from test_search_workers import dask_cluster

from ndeploy import data, pipeline, plugins
from ndeploy.energy.measure import Options
from ndeploy.energy.measure import measure as measured_alone
from ndeploy.errors import UsageError
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.sweep import Context, cases, measure, sweep
from ndeploy.sweep_rows import Case, Row

CASES = cases(["loihi1", "loihi2"], [8, 12, 4])


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    model, calibration, held = small_model.write(tmp_path_factory.mktemp("small"))
    return Context(model, data.load(held), CompileOptions(calibration=calibration))


@pytest.fixture(scope="module")
def rows(context: Context) -> tuple[Row, ...]:
    return tuple(sweep(context, CASES))


def found(row: Row) -> Any:
    assert row.measured is not None, row.refusal
    return row.measured


def test_cases_are_all_combinations_in_order() -> None:
    made = cases(["b", "a"], [8, 4], [None, 6])
    assert [(c.target, c.bits, c.steps) for c in made] == [
        (t, b, s) for t in ("b", "a") for b in (8, 4) for s in (None, 6)
    ]
    with pytest.raises(UsageError) as refused:
        cases(["a"], list(range(30)), list(range(30)))
    assert refused.value.code == "ND460"


def test_rows_are_what_compile_and_energy_say_of_each(context: Context, rows: tuple[Row, ...]) -> None:
    row = rows[CASES.index(Case("loihi2", 4))]
    options = replace(context.base, target="loihi2", bits=4)
    compiled = compile_model(context.model, options)
    report, _ = measured_alone(compiled.program, compiled.target, context.data, Options(), compiled.placed)
    measured = found(row)
    assert report.energy is not None
    for name, value in measured.cost.quantities.items():
        assert value == getattr(report, name), name
    assert (measured.accuracy, measured.cores, measured.steps) == (report.accuracy, compiled.placed.cores, 6)
    assert 0.85 < measured.float_accuracy <= 1
    assert measured.labels == "labels"


def test_what_cannot_be_built_is_a_row_with_its_reason(rows: tuple[Row, ...]) -> None:
    reasons = {row.case: row.refusal for row in rows if row.refusal is not None}
    assert set(reasons) == {Case("loihi1", 12), Case("loihi2", 12)}
    refusal = reasons[Case("loihi1", 12)]
    assert refusal is not None
    assert (refusal.code, refusal.exit_code) == ("ND411", 1)
    assert "8" in refusal.message


def test_processes_give_the_same_rows(context: Context, rows: tuple[Row, ...]) -> None:
    assert tuple(sweep(context, CASES, "2")) == rows


def test_a_cluster_gives_the_same_rows(context: Context, rows: tuple[Row, ...]) -> None:
    with dask_cluster(1) as address:
        assert tuple(sweep(context, CASES, address)) == rows


def test_workers_elsewhere_name_the_files_that_the_user_knows(context: Context, tmp_path: Path) -> None:
    from ndeploy.sweep import _files

    broken = tmp_path / "broken.nir"
    broken.write_bytes(b"not a network")
    here = replace(context, model=broken)
    away = replace(here, files=_files(here))
    assert measure(away, CASES[0]) == measure(here, CASES[0])
    refusal = measure(away, CASES[0]).refusal
    assert refusal is not None
    assert str(broken) in refusal.message


def test_an_interrupted_sweep_goes_on_where_it_stopped(
    context: Context, rows: tuple[Row, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "sweep.jsonl"
    begun = sweep(context, CASES, journal=journal)
    first = [next(begun), next(begun)]
    begun.close()
    assert first == list(rows[:2])
    compiled: list[str] = []

    def counting(path: Path, options: CompileOptions, *more: Any) -> Any:
        compiled.append(f"{options.target} {options.bits}")
        return compile_model(path, options, *more)

    monkeypatch.setattr(pipeline, "compile_model", counting)
    notes: list[str] = []
    assert tuple(sweep(context, CASES, journal=journal, note=notes.append)) == rows
    assert len(compiled) == len(CASES) - 2
    assert any("2 measurements are taken from it" in note for note in notes)


def test_more_combinations_take_over_what_is_there(context: Context, rows: tuple[Row, ...], tmp_path: Path) -> None:
    journal = tmp_path / "sweep.jsonl"
    list(sweep(context, CASES[:1], journal=journal))
    lines: list[str] = []
    list(sweep(context, CASES[:2], journal=journal, progress=lines.append))
    assert lines[0] == "1 of 2 combinations"


@pytest.mark.parametrize("damage", ['"bits": "8"', '"bits": 1e999', '"bits": 9'])
def test_rows_of_a_damaged_journal_are_measured_again(
    context: Context, rows: tuple[Row, ...], tmp_path: Path, damage: str
) -> None:
    journal = tmp_path / "sweep.jsonl"
    list(sweep(context, CASES[:1], journal=journal))
    text = journal.read_text()
    journal.write_text(text.replace('"case": {"target": "loihi1", "bits": 8', '"case": {"target": "loihi1", ' + damage))
    assert journal.read_text() != text
    assert next(sweep(context, CASES[:1], journal=journal)) == rows[0]


def test_other_data_take_nothing_over(context: Context, tmp_path: Path) -> None:
    journal = tmp_path / "sweep.jsonl"
    list(sweep(context, CASES[:1], journal=journal))
    notes: list[str] = []
    list(sweep(replace(context, data=context.data.slice(0, 8)), CASES[:1], journal=journal, note=notes.append))
    assert any("was of other work" in note for note in notes)


@pytest.mark.parametrize(("error", "code"), [(ZeroDivisionError("zero"), "ND799"), (MemoryError(), "ND707")])
def test_a_defect_in_one_row_loses_no_other_and_is_tried_again(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: str
) -> None:
    journal = tmp_path / "sweep.jsonl"

    def failing(path: Path, options: CompileOptions, *more: Any) -> Any:
        if options.bits == 8:
            raise error
        return compile_model(path, options, *more)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "compile_model", failing)
        broken, whole = sweep(context, cases(["loihi2"], [8, 4]), journal=journal)
    assert broken.refusal is not None
    assert broken.refusal.code == code
    assert whole.measured is not None
    (again,) = sweep(context, cases(["loihi2"], [8]), journal=journal)
    assert again.measured is not None


def test_steps_that_sequences_overrule_are_refused(context: Context) -> None:
    row = measure(context, Case("loihi2", 8, steps=3))
    assert row.refusal is not None
    assert (row.refusal.code, row.refusal.exit_code) == ("ND461", 2)
    assert found(measure(context, Case("loihi2", 8, steps=6))).steps == 6


def test_without_labels_rows_agree_with_the_float_network(context: Context) -> None:
    bare = replace(context, data=replace(context.data, y=None), kept={})
    measured = found(measure(bare, Case("loihi2", 8)))
    assert measured.labels == "float model"
    assert measured.float_accuracy is None
    assert measured.accuracy > 0.9


def test_prices_may_be_another_table(context: Context) -> None:
    target = plugins.target("loihi2")
    dear = tuple(replace(p, low=2 * p.low, nominal=2 * p.nominal, high=2 * p.high) for p in target.energy)
    table = replace(target.table, name="dear", energy=dear)
    plain = found(measure(context, Case("loihi2", 8)))
    other = found(measure(replace(context, tables={"loihi2": table}), Case("loihi2", 8)))
    assert other.cost.model == "dear"
    assert other.cost.quantities["energy"].nominal == pytest.approx(2 * plain.cost.quantities["energy"].nominal)


def test_silent_data_are_refused(context: Context) -> None:
    silent = replace(context.data, x=np.zeros_like(context.data.x))
    row = measure(replace(context, data=silent, kept={}), Case("loihi2", 8))
    assert row.refusal is not None
    assert row.refusal.code == "ND434"
