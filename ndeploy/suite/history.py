"""Results of every run, kept in an SQLite file, so that reports show trends."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ndeploy import atomic
from ndeploy.errors import UsageError
from ndeploy.suite.verdict import SuiteResult

APPLICATION = 0x4E444550
"""SQLite's application id of these files, "NDEP": no other database is written to."""
FORMAT = 2
"""1 had no measured energy; such files are brought up to date."""
TRENDS = ("accuracy", "energy", "measured_energy", "latency", "synaptic_ops", "speed", "compile_time")
"""Numbers kept, as `ndeploy.suite.measured.NUMBERS` defines them."""
MOST_RUNS = 200
"""Runs that a report looks back on."""
WAIT = 10.0
"""Seconds to wait while another suite writes."""


@dataclass(frozen=True)
class Point:
    """A case in a run: when it was (ISO 8601), at which commit, with which outcome and numbers."""

    when: str
    commit: str
    outcome: str
    numbers: Mapping[str, float | None]


def add(path: Path, result: SuiteResult) -> dict[str, tuple[Point, ...]]:
    """Append a run, whole or not at all; answers the last runs by case, oldest first.

    Raises UsageError ND663 for a file that is not such a history, or cannot be written.
    """
    try:
        with _opened(path) as base:
            with base:
                row = base.execute(
                    "INSERT INTO runs (suite, at, git, passed) VALUES (?, ?, ?, ?)",
                    (result.suite, result.when, result.commit, int(result.passed)),
                ).lastrowid
                columns = ", ".join(TRENDS)
                holes = ", ".join("?" for _ in TRENDS)
                for case in result.results:
                    numbers = [case.numbers.get(name) for name in TRENDS]
                    base.execute(
                        f"INSERT INTO cases (run, name, outcome, {columns}) VALUES (?, ?, ?, {holes})",
                        (row, case.name, case.outcome, *numbers),
                    )
            return {case.name: _points(base, result.suite, case.name) for case in result.results}
    except sqlite3.Error as error:
        raise _bad(path, str(error)) from error


def check(path: Path) -> None:
    """Before long work whose result goes there. Makes no file. Raises UsageError ND663 as `add` does, ND702."""
    if not path.exists() and path.parent.is_dir():
        atomic.check_writable(path)
        return
    try:
        with _opened(path):
            pass
    except sqlite3.Error as error:
        raise _bad(path, str(error)) from error


def _points(base: sqlite3.Connection, suite: str, name: str) -> tuple[Point, ...]:
    rows = base.execute(
        f"SELECT at, git, outcome, {', '.join(TRENDS)} FROM cases JOIN runs ON runs.id = cases.run "
        "WHERE runs.suite = ? AND cases.name = ? ORDER BY runs.id DESC LIMIT ?",
        (suite, name, MOST_RUNS),
    ).fetchall()
    return tuple(
        Point(
            str(at)[:40],
            str(git)[:64],
            str(outcome)[:20],
            {key: _number(value) for key, value in zip(TRENDS, values, strict=True)},
        )
        for at, git, outcome, *values in reversed(rows)
    )


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database with its tables. Raises UsageError ND663, sqlite3.Error."""
    if path.is_dir() or not path.parent.is_dir():
        raise _bad(path, "it is a folder, or its folder does not exist")
    base = sqlite3.connect(path, timeout=WAIT)
    try:
        base.execute("PRAGMA trusted_schema = OFF")  # a stranger's file may hold views and triggers
        with base:
            base.execute("BEGIN IMMEDIATE")
            application = base.execute("PRAGMA application_id").fetchone()[0]
            version = base.execute("PRAGMA user_version").fetchone()[0]
            tables = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if (application, version) == (APPLICATION, 1):
                base.execute("ALTER TABLE cases ADD COLUMN measured_energy REAL")
                base.execute(f"PRAGMA user_version = {FORMAT}")
            elif (application, version) != (APPLICATION, FORMAT):
                if application or version or tables:
                    raise _bad(path, "it is another database, or one of a newer ndeploy")
                base.execute(f"PRAGMA application_id = {APPLICATION}")
                base.execute(f"PRAGMA user_version = {FORMAT}")
                base.execute(
                    "CREATE TABLE runs (id INTEGER PRIMARY KEY, suite TEXT, at TEXT, git TEXT, passed INTEGER)"
                )
                numbers = ", ".join(f"{name} REAL" for name in TRENDS)
                base.execute(
                    f"CREATE TABLE cases (run INTEGER REFERENCES runs (id), name TEXT, outcome TEXT, {numbers})"
                )
                base.execute("CREATE INDEX cases_by_name ON cases (name)")
        yield base
    finally:
        base.close()


def _bad(path: Path, why: str) -> UsageError:
    return UsageError(
        "ND663",
        f"history '{path}' cannot be used: {why}",
        help="give --history a file that `ndeploy test` has written, or a new name",
    )
