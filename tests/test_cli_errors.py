"""What the command line does when things go wrong: coded errors, signals, readers that leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_runner import call, start
from small_artifact import X, write

from ndeploy import artifact, runners

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path)


def test_missing_files(capsys: Capsys, small: tuple[Path, Path], tmp_path: Path) -> None:
    model, data = small
    absent = tmp_path / "absent"
    for arguments in (
        ["run", absent, "--data", data],
        ["run", model, "--data", absent],
        ["verify", absent, "--data", data],
        ["energy", absent, "--data", data],
        ["inspect", absent],
        ["compile", absent, "--target", "loihi2", "-o", tmp_path / "x.ndp"],
    ):
        done = call(capsys, *arguments)
        assert (done.code, done.error, done.out) == (2, "ND101", "")


def test_coded_errors_in_json_mode_stay_on_stderr(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    done = call(capsys, "run", model, "--data", data, "--runner", "nothing", "--json")
    assert (done.code, done.error, done.out) == (2, "ND601", "")


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"x": np.zeros((2, 5))}, "ND502"),
        ({"x": np.zeros((2, 4, 3))}, "ND502"),
        ({"x": np.zeros((0, 4))}, "ND503"),
        ({"x": np.array([[0, 1, np.nan, 1]])}, "ND501"),
        ({"x": np.array([list("abcd")])}, "ND501"),
        ({"x": X, "y": np.zeros((5, 4), dtype=int)}, "ND502"),
        ({"y": np.zeros(3)}, "ND501"),
    ],
)
def test_bad_data(capsys: Capsys, small: tuple[Path, Path], arrays: dict[str, np.ndarray], code: str) -> None:
    model, data = small
    np.savez(data, **arrays)
    for command in (["run", "--runner", "oracle"], ["energy"], ["verify", "--against", "oracle"]):
        if command[0] == "verify" and "y" in arrays and code == "ND502":
            continue  # verify does not read labels
        done = call(capsys, command[0], model, "--data", data, *command[1:])
        assert (done.code, done.error) == (2, code)


def test_sequences_set_the_steps_and_longer_ones_are_warned_of(capsys: Capsys, small: tuple[Path, Path]) -> None:
    model, data = small
    compiled = artifact.load(model).program.steps
    for steps, warned in ((compiled - 1, False), (compiled, False), (compiled + 3, True)):
        np.savez(data, x=np.ones((2, steps, 4), dtype=np.uint8))
        for command in (["run", "--runner", "oracle"], ["verify", "--against", "oracle"]):
            done = call(capsys, command[0], model, "--data", data, *command[1:])
            assert done.code == 0
            assert ("ND505" in done.err) == warned


def test_unwritable_output_is_told_before_the_work(capsys: Capsys, small: tuple[Path, Path], tmp_path: Path) -> None:
    model, data = small
    for output in (tmp_path, tmp_path / "absent" / "r.npz", "/proc/r.npz"):
        done = call(capsys, "run", model, "--data", data, "--output", output)
        assert (done.code, done.error) == (2, "ND702")
    assert sorted(os.listdir(tmp_path)) == ["small.ndp", "small.npz"]


def test_an_unforeseen_error_is_coded_and_says_how_to_report(
    capsys: Capsys, small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("unforeseen")

    model, data = small
    monkeypatch.setattr(runners, "BUILT_IN", {"broken": broken})
    done = call(capsys, "run", model, "--data", data, "--runner", "broken")
    assert (done.code, done.error) == (70, "ND799")
    assert "--debug" in done.err
    done = call(capsys, "--debug", "run", model, "--data", data, "--runner", "broken")
    assert done.code == 70
    assert "Traceback" in done.err
    assert "ZeroDivisionError: unforeseen" in done.err


@pytest.fixture(autouse=True)
def no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    from ndeploy.cli import guard

    monkeypatch.setattr(guard, "_debug", False)


def test_a_reader_that_leaves_is_no_error(small: tuple[Path, Path]) -> None:
    model, _ = small
    command = f"{sys.executable} -m ndeploy inspect {model} --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "{0\n"
    assert done.stderr == ""


def wait_until_caught(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Until the process has its handler: on a busy machine, an interpreter takes seconds to get there."""
    status = Path(f"/proc/{process.pid}/status")
    for _ in range(600):
        if not status.exists():
            return  # no such files here: what follows waits long enough on a machine with nothing else to do
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (number - 1) & 1:
            return
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_runs_end_clean(tmp_path: Path, number: signal.Signals, code: int) -> None:
    model, data = write(tmp_path)
    # enough samples for the slow oracle to be still busy when the signal comes
    np.savez(data, x=np.tile(X, (20_000, 1)))
    process = start("run", model, "--data", data, "--runner", "oracle", "--output", tmp_path / "r.npz")
    wait_until_caught(process, signal.SIGTERM)
    time.sleep(2.0)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["small.ndp", "small.npz"]
