"""Journals: nothing that was measured is lost, nothing that is foreign is written over."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.errors import UsageError
from ndeploy.search import journal as module
from ndeploy.search.journal import FORMAT, Journal

NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**70), 2**70)
VALUES = st.dictionaries(st.text(), NUMBERS | st.none() | st.booleans() | st.text() | st.lists(NUMBERS, max_size=3))


def filled(path: Path, count: int = 4, key: str = "k") -> dict[str, dict[str, float]]:
    values = {f"task {n}": {"loss": 0.1 + n / 3} for n in range(count)}
    with Journal(path, key) as journal:
        for task, value in values.items():
            journal.put(task, value)
    return values


def kept(path: Path, key: str = "k") -> dict[str, dict[str, float]]:
    with Journal(path, key) as journal:
        return {task: dict(value) for n in range(9) if (value := journal.get(task := f"task {n}")) is not None}


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), VALUES, max_size=5), st.text())
def test_values_come_back_as_they_were_put(tmp_path_factory, values, key):
    path = tmp_path_factory.mktemp("journal") / "j"
    for _ in range(2):
        with Journal(path, key) as journal:
            for task, value in values.items():
                journal.put(task, value)
                assert journal.get(task) == value
    with Journal(path, key) as journal:
        assert {task: journal.get(task) for task in values} == values
        assert len(journal) == len(values)
        assert journal.get("another") is None or "another" in values
        # a float that is equal may still be another: -0.0, 1 and 1.0
        assert repr([journal.get(task) for task in values]) == repr(list(values.values()))


def test_without_a_path_values_are_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Journal(None, "k") as journal:
        journal.put("a", {"loss": 1.5})
        assert journal.get("a") == {"loss": 1.5}
        journal.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_line_is_on_the_disk_before_put_returns(tmp_path, monkeypatch):
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((tmp_path / "j").read_bytes()))
    with Journal(tmp_path / "j", "k") as journal:
        journal.put("a", {"loss": 1.5})
        assert json.loads(synced[-1].splitlines()[-1]) == {"task": "a", "value": {"loss": 1.5}}
    header = json.loads((tmp_path / "j").read_text().splitlines()[0])
    assert header == {"format": FORMAT, "key": "k"}


def test_a_file_cut_anywhere_keeps_the_lines_before(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    whole = tmp_path / "whole"
    values = filled(whole, 3)
    data = whole.read_bytes()
    path = tmp_path / "j"
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        complete = max(0, data[:end].count(b"\n") - 1)
        with Journal(path, "k") as journal:
            assert len(journal) == complete
            torn = data[:end].count(b"\n") > 0 and not data[:end].endswith(b"\n")
            assert any("measured again" in note for note in journal.notes) == torn
            for task, value in values.items():
                if journal.get(task) is None:
                    journal.put(task, value)
        assert path.read_bytes() == data


def test_a_damaged_line_is_passed_over_and_said(tmp_path):
    path = tmp_path / "j"
    values = filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (
        b"\xff\x00garbage\n",
        b"[1, 2]\n",
        b'{"task": 3, "value": {}}\n',
        b'{"task": "task 1", "value": 3}\n',
        b"\n",
        b"[" * 100_000 + b"\n",
    ):
        path.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        with Journal(path, "k") as journal:
            assert any("1 damaged lines" in note for note in journal.notes)
        assert kept(path) == {task: value for task, value in values.items() if task != "task 1"}


def test_the_last_of_two_values_counts(tmp_path):
    for value in (1.0, 2.0):
        with Journal(tmp_path / "j", "k") as journal:
            journal.put("a", {"loss": value})
    with Journal(tmp_path / "j", "k") as journal:
        assert journal.get("a") == {"loss": 2.0}


def test_a_journal_of_another_key_is_set_aside(tmp_path):
    path = tmp_path / "j"
    for n, key in enumerate(("one", "two", "three")):
        with Journal(path, key) as journal:
            assert len(journal) == 0
            assert len(journal.notes) == min(n, 1)
            journal.put("task 0", {"loss": float(n)})
    assert "j.old.2" in journal.notes[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j", "j.old", "j.old.2"]
    assert kept(tmp_path / "j.old", "one") == {"task 0": {"loss": 0.0}}
    assert kept(tmp_path / "j.old.2", "two") == {"task 0": {"loss": 1.0}}
    assert kept(path, "three") == {"task 0": {"loss": 2.0}}


def test_a_journal_of_another_version_is_set_aside(tmp_path):
    path = tmp_path / "j"
    content = json.dumps({"format": "ndeploy search journal 99", "key": "k"}) + "\n"
    path.write_text(content)
    with Journal(path, "k") as journal:
        assert "another version" in journal.notes[0]
    assert (tmp_path / "j.old").read_text() == content


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n",
        b"hello",
        b"hello\nworld\n",
        b"\n",
        b"{}\n",
        b'{"format": "other", "key": "k"}\n',
        b"[]\n",
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, content):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no journal") as refused:
        Journal(path, "k")
    assert refused.value.code == "ND710"
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_paths_that_cannot_be_journals(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    for path in ("folder", "pipe", "absent/j", "file/j", "x" * 300):
        with pytest.raises(UsageError) as refused:
            Journal(tmp_path / path, "k")
        assert refused.value.code == "ND710"
        assert path[:20] in refused.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_without_permission(tmp_path):
    filled(tmp_path / "j")
    (tmp_path / "j").chmod(0o400)
    with pytest.raises(UsageError, match="Permission denied"):
        Journal(tmp_path / "j", "k")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "j"
    values = filled(path)
    before = path.read_bytes()
    with Journal(path, "k") as journal:

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(module.os, "fsync", full)
            with pytest.raises(UsageError, match="No space left") as refused:
                journal.put("task 7", {"loss": 1.0})
        assert refused.value.code == "ND710"
        assert path.read_bytes() == before
        journal.put("task 8", {"loss": 2.0})
    assert kept(path) == values | {"task 8": {"loss": 2.0}}


def test_two_at_once_are_refused(tmp_path):
    path = tmp_path / "j"
    with Journal(path, "k") as journal:
        for key in ("k", "another"):
            with pytest.raises(UsageError) as refused:
                Journal(path, key)
            assert refused.value.code == "ND711"
        journal.put("task 0", {"loss": 1.0})
    assert kept(path) == {"task 0": {"loss": 1.0}}


def test_finish_removes_the_file_and_nothing_else(tmp_path):
    path = tmp_path / "j"
    (tmp_path / "j.old").write_text("mine")
    filled(path)
    journal = Journal(path, "k")
    journal.finish()
    journal.finish()
    assert [p.name for p in tmp_path.iterdir()] == ["j.old"]
    with pytest.raises(ValueError, match="closed"):
        journal.put("a", {})


def test_an_abandoned_journal_does_not_stay_locked(tmp_path):
    Journal(tmp_path / "j", "k").put("task 0", {"loss": 1.0})
    assert kept(tmp_path / "j") == {"task 0": {"loss": 1.0}}


WRITER = """
import sys
from ndeploy.search.journal import Journal
journal = Journal(sys.argv[1], "k")
for n in range(1000000):
    journal.put(f"task {n}", {"loss": n / 3})
    print(n, flush=True)
"""


def test_a_killed_search_keeps_all_it_had_said(tmp_path):
    path = tmp_path / "j"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        for _ in range(20):
            writer.stdout.readline()
        with pytest.raises(UsageError) as refused:
            Journal(path, "k")
        assert refused.value.code == "ND711"
    finally:
        writer.send_signal(signal.SIGKILL)
        said = writer.communicate()[0].split()
    with Journal(path, "k") as journal:
        for n in range(20 + len(said)):
            assert journal.get(f"task {n}") == {"loss": n / 3}
