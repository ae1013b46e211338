"""A disk that is full while a suite runs: no measurement that has been made is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from racks import loaded

from ndeploy.errors import UsageError
from ndeploy.search import journal as journals
from ndeploy.suite import baseline
from ndeploy.suite.measure import Context
from ndeploy.suite.run import run

UNTIMED = Context(timed=False)


def test_a_disk_that_is_full_costs_what_would_be_kept_and_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, journal = loaded(tmp_path, 3, "sim"), tmp_path / "journal"
    calls: list[int] = []
    real = os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the header, the first case, the second
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(journals.os, "fsync", full)
    notes: list[str] = []
    result = run(suite, UNTIMED, journal=journal, note=notes.append)
    assert [found.outcome for found in result.results] == ["passed"] * 3
    assert len(calls) == 4  # the third is kept again
    assert notes == [f"journal '{journal}' cannot be written: No space left on device; not kept: 1 of 3 cases"]


def test_a_baseline_that_cannot_be_written_leaves_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, journal = loaded(tmp_path, 2, "sim"), tmp_path / "journal"

    def refuse(*given: object) -> None:
        raise UsageError("ND702", "no space", help="make some")

    with monkeypatch.context() as patch:
        patch.setattr(baseline, "save", refuse)
        with pytest.raises(UsageError):
            run(suite, UNTIMED, update=True, journal=journal)
    notes: list[str] = []
    run(suite, UNTIMED, update=True, journal=journal, note=notes.append)
    assert notes == [f"journal '{journal}': 2 measurements are taken from it"]
    assert not journal.exists()
