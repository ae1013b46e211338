"""`ndeploy sweep` from the outside: what it prints and writes, how it ends, what it keeps."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
from cli_runner import call, spawn, start

Capsys = pytest.CaptureFixture[str]
Files = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return small_model.write(tmp_path_factory.mktemp("small"))


@pytest.fixture
def usual(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Arguments but for the targets; the current folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    return "sweep", files[0], "--calibration", files[1], "--data", files[2]


def test_a_sweep_prints_its_table_and_leaves_nothing(capsys: Capsys, usual: tuple[object, ...]) -> None:
    done = call(capsys, *usual, "--targets", "loihi1,loihi2", "--bits", "8,12,4")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if line.split()[:1] in (["loihi1"], ["loihi2"])]
    assert [line[:2] for line in rows] == [[t, b] for t in ("loihi1", "loihi2") for b in ("8", "12", "4")]
    assert [line[2] for line in rows if line[1] == "12"] == ["ND411", "ND411"]
    assert "4 of 6 combinations can be built." in done.out
    assert os.listdir() == []


def test_json_and_files_hold_the_same_rows_whatever_the_workers(capsys: Capsys, usual: tuple[object, ...]) -> None:
    asked = (*usual, "-t", "loihi2,loihi1", "--bits", "8,4", "--json")
    one = call(capsys, *asked, "--html", "a.html", "--svg", "a.svg", "--csv", "a.csv")
    two = call(capsys, *asked, "--html", "b.html", "--svg", "b.svg", "--csv", "b.csv", "--workers", "2")
    assert (one.code, two.code) == (0, 0), one.err + two.err
    first, second = json.loads(one.out), json.loads(two.out)
    assert first["schema"] == "ndeploy.sweep/1"
    assert (first.pop("html"), second.pop("html")) == ("a.html", "b.html")
    for name in ("svg", "csv"):
        del first[name], second[name]
    assert first == second
    assert [(row["target"], row["bits"]) for row in first["rows"]] == [
        ("loihi2", 8),
        ("loihi2", 4),
        ("loihi1", 8),
        ("loihi1", 4),
    ]
    assert all(row["energy_joules"]["nominal"] > 0 for row in first["rows"])
    assert first["command"] == (
        "ndeploy sweep small.nir --targets loihi2,loihi1 --bits 8,4 --data eval.npz --calibration calibration.npz"
    )
    for kind in ("html", "svg", "csv"):
        assert Path(f"a.{kind}").read_bytes() == Path(f"b.{kind}").read_bytes()
    assert sorted(os.listdir()) == [f"{n}.{kind}" for n in "ab" for kind in ("csv", "html", "svg")]


def test_the_energy_page_takes_a_sweep_as_its_frontier(capsys: Capsys, usual: tuple[object, ...], files: Files) -> None:
    done = call(capsys, *usual, "-t", "loihi2", "--bits", "8,4", "--json")
    Path("sweep.json").write_text(done.out)
    assert call(capsys, "compile", files[0], "-t", "loihi2", "--calibration", files[1], "-o", "m.ndp").code == 0
    priced = call(capsys, "energy", "m.ndp", "--data", files[2], "--frontier", "sweep.json", "--html", "m.html")
    assert priced.code == 0, priced.err
    page = Path("m.html").read_text()
    assert '<section id="frontier">' in page
    assert "loihi2, 4 bits" in page


def test_artifacts_are_compared_side_by_side(capsys: Capsys, usual: tuple[object, ...], files: Files) -> None:
    for bits in (8, 4):
        made = ("-t", "loihi2", "--bits", bits, "--calibration", files[1], "-o", f"{bits}.ndp")
        assert call(capsys, "compile", files[0], *made).code == 0
    given = ("energy", "8.ndp", "4.ndp", "--data", files[2])
    done = call(capsys, *given, "--html", "c.html", "--csv", "c.csv")
    assert done.code == 0, done.err
    assert "4.ndp: " in done.out
    assert "the dynamic energy of 8.ndp" in done.out
    assert "8.ndp" in Path("c.html").read_text()
    found = json.loads(call(capsys, *given, "--json").out)
    assert [entry["name"] for entry in found["artifacts"]] == ["8.ndp", "4.ndp"]
    assert found["warnings"] == []
    energy = found["contrasts"][0]["quantities"][0]
    assert energy["common_constants"]
    assert energy["ratio"]["low"] <= energy["ratio"]["nominal"] <= energy["ratio"]["high"]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--targets", "loihi2,"), "empty value"),
        (("--targets", "loihi2,loihi2"), "twice"),
        (("--targets", "loihi2", "--bits", "8,08"), "twice"),
        (("--targets", "loihi2", "--bits", "1"), "from 2 to 16"),
        (("--targets", "loihi2", "--bits", "eight"), "from 2 to 16"),
        (("--targets", "loihi2", "--steps", "0"), "from 1 to"),
        (("--targets", "loihi2", "--attention", "none"), "not one of"),
        (("--targets", "loihi2", "--place", "fast"), "not one of"),
        (("--targets", "loihi2", "--bits", ",".join(str(n % 15 + 2) for n in range(65))), "twice"),
        (("--targets", ",".join(f"t{n}" for n in range(65))), "at most 64"),
    ],
)
def test_bad_lists_are_usage_errors(
    capsys: Capsys, usual: tuple[object, ...], more: tuple[object, ...], word: str
) -> None:
    done = call(capsys, *usual, *more)
    assert done.code == 2
    assert word in " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("-t", "loihi9"), "ND401"),
        (("-t", "loihi2", "--model", "no-such-table"), "ND43"),
        (("-t", "loihi2", "--svg", "missing/a.svg"), "ND702"),
        (("-t", "loihi2", "--workers", "many"), "ND610"),
        (("-t", "loihi2", "--method", "none"), "ND205"),
        (("-t", "loihi2", "--steps", "3"), "ND461"),
    ],
)
def test_what_no_row_can_be_built_with_is_an_error(
    capsys: Capsys, usual: tuple[object, ...], more: tuple[object, ...], code: str
) -> None:
    done = call(capsys, *usual, *more)
    assert done.error.startswith(code), done.err
    assert done.code == 2


def test_files_that_are_none_are_one_error(capsys: Capsys, usual: tuple[object, ...], files: Files) -> None:
    done = call(capsys, "sweep", "missing.nir", "-t", "loihi1,loihi2", "--data", files[2])
    assert (done.code, done.error) == (2, "ND101")
    assert os.listdir() == []
    assert call(capsys, "sweep", files[0], "-t", "loihi2", "--data", "missing.npz").error == "ND101"
    np.savez("other.npz", x=np.zeros((4, 6, 5), np.uint8))
    done = call(capsys, "sweep", files[0], "-t", "loihi2", "--data", "other.npz", "--calibration", files[1])
    assert (done.code, done.error) == (2, "ND502")


def test_nothing_that_can_be_built_is_a_valid_no(capsys: Capsys, usual: tuple[object, ...]) -> None:
    done = call(capsys, *usual, "-t", "loihi1,loihi2", "--bits", "12", "--json")
    assert done.code == 1
    assert [row["refused"]["code"] for row in json.loads(done.out)["rows"]] == ["ND411", "ND411"]


def test_outputs_do_not_overwrite_inputs(capsys: Capsys, usual: tuple[object, ...], files: Files) -> None:
    for option in ("--html", "--svg", "--csv", "--journal"):
        done = call(capsys, *usual, "-t", "loihi2", option, files[2])
        assert done.code == 2
        assert "--data" in done.err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupted_sweep_keeps_its_rows(files: Files, tmp_path: Path) -> None:
    bits = "8,7,6,5,4,3"
    arguments: tuple[Any, ...] = ("sweep", files[0], "-t", "loihi1,loihi2", "--bits", bits, "--data", files[2])
    arguments += ("--calibration", files[1])
    journal = tmp_path / "small.nir.sweep.jsonl"
    process = start(*arguments, cwd=tmp_path)
    patience = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < patience:
        if journal.is_file() and journal.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the sweep was done before it could be interrupted")
    assert process.returncode == 130, err
    assert out == ""
    assert "what was measured is kept in small.nir.sweep.jsonl" in err.replace("\n", "")
    done = spawn(*arguments, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found["rows"]) == 12
    assert any("measurements are taken from it" in note for note in found["notes"])
    assert not journal.exists()
