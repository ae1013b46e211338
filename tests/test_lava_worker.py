"""The Lava worker when something goes wrong: a coded error, and nothing left running or in shared memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lava_cases import assert_equal_to_oracle, chain, needs_lava, random_messages
from ndeploy.targets._lava.cleanup import segments_of, session_members
from ndeploy.targets._lava.runner import LavaRun, execute
from ndeploy.targets._lava.session import Session

from ndeploy.errors import RunnerError, UnreachableError, UsageError
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLif
from ndeploy.runners import RunnerOptions, find

pytestmark = [needs_lava, pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")]
TRANSPORTS = ("threads", "processes")
LIF = CubaLif(4095, 100, 64 * 90)
ENDLESS = 1 << 19
"""Steps of a run that nobody waits for: minutes."""


def raising() -> Program:
    """Its population's step fails: the reset amount does not fit its neurons."""
    return chain(CubaLif(4095, 100, 64 * 90, reset="subtract", reset_amount=np.arange(4)))


def gone(worker: int, segments: set[str]) -> bool:
    """Whether no process of the worker's session and none of its shared memory exists, now or within ten seconds."""
    for _ in range(200):
        if not session_members(worker) and not any(os.path.exists(path) for path in segments):
            return True
        time.sleep(0.05)
    return False


def later(action: Callable[[], object], seconds: float = 1.0) -> None:
    threading.Timer(seconds, action).start()


def wait_for_models(worker: int) -> set[str]:
    """Until Lava's processes run; their shared memory."""
    for _ in range(400):
        members = session_members(worker)
        segments = segments_of(members)
        if len(members) > 6 and segments:
            return segments
        time.sleep(0.05)
    raise AssertionError("Lava's processes did not start")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_model_that_raises(transport: str) -> None:
    program = raising()
    session = Session(stall=30, transport=transport)
    worker = session.pid
    began = time.monotonic()
    with pytest.raises(RunnerError) as caught:
        execute(session, program, random_messages(program), LavaRun())
    assert time.monotonic() - began < 20, "it waited for the stall limit instead of hearing of the failure"
    assert caught.value.code == "ND605"
    assert "ValueError" in caught.value.message
    kept = Path(caught.value.message.split("traceback: ")[1].rstrip(")"))
    assert "in _sums" in kept.read_text() or "in step" in kept.read_text()
    kept.unlink()
    assert gone(worker, set())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_killed_worker(transport: str) -> None:
    program = chain(LIF, steps=ENDLESS)
    session = Session(stall=30, transport=transport)
    worker, segments = session.pid, set()

    def kill() -> None:
        if transport == "processes":
            segments.update(wait_for_models(worker))
        os.kill(worker, signal.SIGKILL)

    later(kill)
    with pytest.raises(RunnerError) as caught:
        execute(session, program, random_messages(program, samples=1), LavaRun())
    assert caught.value.code == "ND606"
    assert "signal 9" in caught.value.message
    assert gone(worker, segments)
    assert bool(segments) == (transport == "processes")


def test_a_killed_model_process() -> None:
    """Lava's neighbours of a model that was killed wait for ever: the stall limit ends it."""
    program = chain(LIF, steps=ENDLESS)
    session = Session(stall=4, transport="processes")
    worker, segments = session.pid, set()

    def kill() -> None:
        segments.update(wait_for_models(worker))
        os.kill(max(session_members(worker)), signal.SIGKILL)

    later(kill)
    with pytest.raises(RunnerError) as caught:
        execute(session, program, random_messages(program, samples=1), LavaRun())
    assert caught.value.code == "ND607"
    assert gone(worker, segments)


def test_a_time_limit_and_progress() -> None:
    seen: list[str] = []
    program = chain(LIF, steps=ENDLESS)
    with pytest.raises(RunnerError) as caught:
        find("lava")(
            program,
            random_messages(program, samples=1),
            trace=False,
            options=RunnerOptions(time_limit=4, progress=seen.append),
        )
    assert caught.value.code == "ND607"
    assert any("chip step" in line for line in seen)


PARENT = """
import sys
sys.path.insert(0, {tests!r})
from lava_cases import chain, random_messages
from ndeploy.neurons import CubaLif
from ndeploy.targets._lava.runner import LavaRun, execute
from ndeploy.targets._lava.session import Session
program = chain(CubaLif(4095, 100, 64 * 90), steps={steps})
session = Session(transport={transport!r})
print(session.pid, session._folder, flush=True)
execute(session, program, random_messages(program, samples=1), LavaRun())
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_parent_that_ends(transport: str, sent: signal.Signals) -> None:
    text = PARENT.format(tests=str(Path(__file__).parent), steps=ENDLESS, transport=transport)
    parent = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    line = parent.stdout.readline().split()
    worker, folder = int(line[0]), Path(line[1])
    segments = wait_for_models(worker) if transport == "processes" else set()
    time.sleep(1.0)
    assert session_members(worker)
    parent.send_signal(sent)
    parent.wait(timeout=20)
    assert gone(worker, segments)
    assert not folder.exists()
    parent.stdout.close()


def test_workers_leave_each_other_alone() -> None:
    program = chain(LIF)
    with Session(transport="processes") as one:
        other = Session(transport="processes")
        assert_equal_to_oracle(other, program, random_messages(program), ("native",))
        other.close()
        assert_equal_to_oracle(one, program, random_messages(program))


def test_no_such_interpreter() -> None:
    with pytest.raises(UsageError) as caught:
        Session("/no/such/python")
    assert caught.value.code == "ND602"
    assert caught.value.exit_code == 2


def test_an_interpreter_without_lava(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with pytest.raises(UnreachableError) as caught:
        Session(str(tmp_path / "bare" / "bin" / "python"))
    assert caught.value.code == "ND603"
    assert "lava-nc==0.10.0" in caught.value.help


def test_an_interpreter_that_is_none(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho not today >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(UnreachableError) as caught:
        Session(str(program))
    assert caught.value.code == "ND604"
    assert "status 3" in caught.value.message
    Path(caught.value.message.split("output: ")[1].rstrip(")")).unlink()


def test_unknown_mode() -> None:
    program = chain(LIF)
    with pytest.raises(UsageError) as caught:
        find("lava")(program, random_messages(program), trace=False, options=RunnerOptions(lava_mode="quick"))
    assert caught.value.code == "ND608"
