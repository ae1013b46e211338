"""A suite over SLURM: submitit starts dask workers as jobs, `ndeploy test` runs over them, and all of it ends.

    pip install submitit distributed
    python submitit_suite.py --workers 4 --boards 2 --partition lab -- --suite my.toml --journal my.journal

What follows `--` is for `ndeploy test`, whose exit code is that of this script. The scheduler of dask runs here: nodes
must reach this machine, and see this folder, the suite's files and ndeploy at the same paths. `--executor local` starts
the jobs on this machine, without SLURM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import submitit

Job = Any

HERE = Path(__file__).resolve().parent
PATIENCE = 30.0
"""Seconds for the scheduler to start, and for workers to end."""


def main() -> int:
    """Jobs, suite, end."""
    asked = arguments()
    signal.signal(signal.SIGTERM, leave)  # as Ctrl-C: nothing of this stays behind
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"PYTHON": sys.executable, "NDEPLOY_CLUSTER": str(HERE)}  # jobs inherit the environment
    jobs: list[Job] = []
    with scheduler(asked.host, folder / "scheduler.log") as address:
        try:
            jobs += [submitted(asked, folder, address, board=False) for _ in range(asked.workers)]
            jobs += [submitted(asked, folder, address, board=True) for _ in range(asked.boards)]
            wait(address, jobs, asked.wait)
            return test(address, asked.test)
        finally:
            end(address, jobs)


@contextlib.contextmanager
def scheduler(host: str, log: Path) -> Iterator[str]:
    """A scheduler of dask on this machine: its address."""
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as said:
        told = Path(folder) / "scheduler.json"
        words = ["--host", host, "--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
        # a session of its own: Ctrl-C is for the suite, which leaves the cluster in order
        command = [sys.executable, "-m", "dask", "scheduler", *words]
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        try:
            deadline = time.monotonic() + PATIENCE
            while not told.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            if not told.exists():
                sys.exit(f"no scheduler of dask starts at {host}: name this machine with --host, and see {log}")
            yield str(json.loads(told.read_text())["address"])
        finally:
            process.terminate()
            process.wait()


def submitted(asked: argparse.Namespace, folder: Path, address: str, board: bool) -> Job:
    """A job that is a worker."""
    executor = submitit.AutoExecutor(folder=folder, cluster=asked.executor)
    executor.update_parameters(
        name="ndeploy-board" if board else "ndeploy-worker",
        timeout_min=asked.minutes,
        cpus_per_task=1 if board else asked.cpus,
        slurm_partition=asked.partition,
        slurm_additional_parameters={"gres": asked.gres} if board else {},
    )
    words = ["bash", str(HERE / "worker.sh"), address, *(["board"] if board else [])]
    return executor.submit(submitit.helpers.CommandFunction(words))


def wait(address: str, jobs: list[Job], seconds: float) -> None:
    """Until every job is a worker. A lane of the suite is a thread, or a board, that is there when the suite begins."""
    deadline = time.monotonic() + seconds
    with distributed.Client(address, set_as_default=False) as client:
        while len(client.scheduler_info(n_workers=-1)["workers"]) < len(jobs):
            for job in jobs:
                if job.done():
                    sys.exit(f"job {job.job_id} ended before the suite began:\n{job.stderr()}")
            if time.monotonic() > deadline:
                sys.exit(f"not all of {len(jobs)} jobs have started within {seconds:g} s: see squeue, and --wait")
            time.sleep(0.5)


def test(address: str, options: list[str]) -> int:
    """The exit code of the suite."""
    workers = address.replace("tcp://", "dask://")
    process = subprocess.Popen([sys.executable, "-m", "ndeploy", "test", "--workers", workers, *options])
    try:
        return process.wait()
    except BaseException:
        process.terminate()  # gives boards back, and keeps in the journal what is measured
        process.wait(PATIENCE)
        raise


def end(address: str, jobs: list[Job]) -> None:
    """End the workers, and with them the jobs; what does not end is cancelled."""
    with contextlib.suppress(Exception), distributed.Client(address, timeout=5, set_as_default=False) as client:
        client.shutdown()
    deadline = time.monotonic() + PATIENCE
    while not all(job.done() for job in jobs) and time.monotonic() < deadline:
        time.sleep(0.2)
    for job in jobs:
        if not job.done():
            job.cancel()


def leave(*_: object) -> None:
    """End by an exception."""
    sys.exit(128 + signal.SIGTERM)


def arguments() -> argparse.Namespace:
    """The command line's."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--executor", choices=("slurm", "local"), default="slurm")
    found.add_argument("--workers", type=int, default=1, help="jobs for cases without boards")
    found.add_argument("--boards", type=int, default=0, help="jobs with a board each")
    found.add_argument("--cpus", type=int, default=2, help="of a job without a board: cases at once")
    found.add_argument("--gres", default="board:1", help="what SLURM calls one board")
    found.add_argument("--partition", help="of SLURM")
    found.add_argument("--minutes", type=int, default=120, help="time limit of the jobs")
    found.add_argument("--wait", type=float, default=3600.0, help="seconds for all jobs to start")
    found.add_argument("--host", default=socket.getfqdn(), help="name of this machine, as nodes reach it")
    found.add_argument(
        "--folder", type=Path, default=Path("ndeploy-jobs"), help="for the jobs' logs, seen by all nodes"
    )
    found.add_argument("test", nargs="*", help="options of `ndeploy test`, after --")
    return found.parse_args()


if __name__ == "__main__":
    sys.exit(main())
