"""Workers of a search: the same results and errors wherever they run, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from networks import chain, lif
from worker_tasks import (
    Context,
    answering_unsendable,
    dying,
    failing,
    leaving,
    mean_spikes,
    raising_unsendable,
    sleeping,
    slow_first,
    summed,
)

from ndeploy.data import Data
from ndeploy.errors import NdeployError, RefusedError, RunnerError, UnreachableError, UsageError
from ndeploy.ir import network as net
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule
from ndeploy.plugins import target
from ndeploy.quantizer import Request
from ndeploy.search import cluster as cluster_module
from ndeploy.search.workers import Pool, pool

HERE = Path(__file__).resolve().parent


CLUSTER = """
import asyncio, sys
from distributed import Scheduler, Worker
async def main():
    async with Scheduler(port=0, host="127.0.0.1", dashboard=False) as scheduler:
        if sys.argv[1] == "0":
            print(scheduler.address, flush=True)
            await scheduler.finished()
        async with Worker(scheduler.address, nthreads=2, dashboard=False):
            print(scheduler.address, flush=True)
            await scheduler.finished()
if __name__ == "__main__":
    asyncio.run(main())
"""


@contextmanager
def dask_cluster(workers: int) -> Iterator[str]:
    """The address of a scheduler of its own process, with one worker or none."""
    pytest.importorskip("distributed")
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(workers)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def workers_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Pool, Path]]]:
    """Pools of every kind, each with the folder where its context counts."""
    with ExitStack() as stack:
        address = stack.enter_context(dask_cluster(1))
        found = {}
        for kind, text in {"here": "1", "processes": "2", "dask": address}.items():
            folder = tmp_path_factory.mktemp(kind)
            found[kind] = stack.enter_context(pool(text, Context(str(folder), np.arange(3.0)))), folder
        yield found


@pytest.fixture
def started() -> Callable[[], list[object]]:
    """The processes that the test has started and that live."""
    before = multiprocessing.active_children()
    return lambda: [child for child in multiprocessing.active_children() if child not in before]


KINDS = pytest.mark.parametrize("kind", ["here", "processes", "dask"])


@KINDS
def test_results_come_in_order_and_the_context_once_a_worker(workers_of, kind):
    workers, folder = workers_of[kind]
    assert workers.notes == ()
    said: list[tuple[int, int]] = []
    for _ in range(2):
        said.clear()
        found = list(workers.map(summed, range(6), lambda done, of: said.append((done, of))))
        assert [entry[:3] for entry in found] == [(n, 3.0**n, 1) for n in range(6)]
        assert {entry[3] for entry in found} == {{"here": None, "processes": 1, "dask": 2}[kind]}
        assert said == [(n, 6) for n in range(1, 7)]
    assert list(workers.map(summed, [])) == []
    loads = [path.name.partition("-")[0] for path in folder.iterdir()]
    assert len(loads) == len(set(loads)) == {"here": 0, "processes": 2, "dask": 1}[kind]
    assert str(os.getpid()) not in loads


@KINDS
def test_a_slow_task_holds_back_what_comes_after(workers_of, kind):
    workers, _ = workers_of[kind]
    assert list(workers.map(slow_first, range(5))) == list(range(5))


@KINDS
def test_the_first_task_that_fails_is_what_is_raised(workers_of, kind):
    workers, _ = workers_of[kind]
    results = workers.map(failing, range(4))
    assert next(results) == 0
    with pytest.raises(RefusedError) as refused:
        next(results)
    assert (refused.value.code, refused.value.message, refused.value.help) == (
        "ND301",
        "weight 300 of 'a'",
        "take 8 bits",
    )
    if kind != "here":
        assert "in failing" in str(refused.value.__cause__)
    with pytest.raises(ZeroDivisionError, match="two"):
        list(workers.map(failing, [0, 2, 0]))
    # and then the pool works on
    assert list(workers.map(slow_first, [3])) == [3]


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_what_cannot_be_sent_back_is_an_error_with_its_text(workers_of, kind):
    workers, _ = workers_of[kind]
    with pytest.raises(RuntimeError, match="UnsendableError: 1 and 2"):
        list(workers.map(raising_unsendable, [0]))
    with pytest.raises(TypeError, match="cannot be sent"):
        list(workers.map(answering_unsendable, [0]))


def small_request() -> Request:
    rng = np.random.default_rng(0)
    network = chain(
        ("in", net.Input((6,))),
        ("w0", net.Linear(rng.normal(size=(8, 6)))),
        ("n0", lif((8,))),
        ("w1", net.Linear(rng.normal(size=(3, 8)))),
        ("n1", lif((3,), 0.5)),
        ("out", net.Output((3,))),
    )
    lowered = lower(network, 4, graded=True)
    x = rng.integers(0, 2, (5, 4, 6)).astype(np.float32)
    given = {"input_scale": 1.0, "input_bits": 1}
    return Request(lowered, schedule(lowered), target("lava"), 8, "small", Data(x), given, network=network)


def test_programs_measured_anywhere_are_the_same(workers_of):
    request = small_request()
    found = []
    for text in ("1", "2", workers_of["dask"][0]._address):
        with pool(text, request) as workers:
            found.append(list(workers.map(mean_spikes, [2, 3, 4, 8])))
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) > 1


def test_a_worker_that_is_killed_is_named_and_none_stays(started):
    with pool("2", None) as workers:
        with pytest.raises(RunnerError, match=r"worker [12] \(process \d+\) was killed by SIGKILL at 1") as died:
            list(workers.map(dying, range(4)))
        assert died.value.code == "ND613"
        assert started() == []
        # new ones take their place
        assert list(workers.map(dying, [0, 2])) == [0, 2]
    assert started() == []
    with pool("2", None) as workers, pytest.raises(RunnerError, match="ended with exit code 3"):
        list(workers.map(leaving, [0]))
    assert started() == []


def test_leaving_the_results_early_stops_what_runs(started):
    with pool("2", None) as workers:
        results = workers.map(sleeping, [0.0, 600.0, 600.0])
        next(results)
        results.close()
        assert started() == []


def test_a_context_that_cannot_be_sent_or_loaded(tmp_path, started):
    with pytest.raises(RunnerError, match="cannot be sent") as refused:
        pool("2", lambda: None)
    assert refused.value.code == "ND613"
    context = Context(str(tmp_path / "absent"), np.zeros(1))
    with (
        pool("2", context) as workers,
        pytest.raises(RunnerError, match="cannot load what it is to measure: FileNotFound"),
    ):
        list(workers.map(summed, [0]))
    assert started() == []


SEARCH = """
import sys
from ndeploy.search.workers import pool
from worker_tasks import sleeping
if __name__ == "__main__":
    with pool("2", None) as workers:
        for n, found in enumerate(workers.map(sleeping, [0.0, 0.0, 600.0, 600.0])):
            print(found, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_search(tmp_path, how):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    [process.stdout.readline() for _ in range(2)]
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        os.kill(process.pid, how)
    _, said = process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    for left in alive:
        left.kill()
    assert alive == []
    if how is signal.SIGINT:
        # one traceback, the parent's
        assert said.count("KeyboardInterrupt") == 1


@pytest.mark.parametrize(
    "text", ["0", "-1", "257", "two", "", "1.5", "tcp://", "tcp://host", "tcp://:80", "tcp://host:0", "tcp://host:70000",
    "tcp://host:x", "http://host:80", "host:80", "tcp://host:80/path", "٣", " 2"]
)  # fmt: skip
def test_texts_that_name_no_workers(text):
    with pytest.raises(UsageError) as refused:
        pool(text, None)
    assert refused.value.code == "ND610"
    assert f"'{text}'" in refused.value.message


def test_without_dask_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="pip install distributed") as refused:
        pool("tcp://127.0.0.1:8786", None)
    assert refused.value.code == "ND611"


def test_clusters_that_do_not_answer(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster_module, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        addresses = [f"tcp://127.0.0.1:{port}", f"tls://127.0.0.1:{port}", "tcp://no-such-host.invalid:8786"]
        for address in addresses:
            with pytest.raises(UnreachableError, match=address) as refused:
                pool(address, None)
            assert (refused.value.code, refused.value.exit_code) == ("ND612", 3)
    with dask_cluster(0) as address, pytest.raises(UnreachableError, match="has no workers") as refused:
        pool(address, None)
    assert refused.value.code == "ND612"


def test_a_cluster_that_goes_away_is_an_error():
    with dask_cluster(1) as address, pool(address, None) as workers:
        with pytest.raises(RunnerError, match="are gone") as lost:
            list(workers.map(leaving, [0, 1]))
        assert lost.value.code == "ND613"


def test_workers_of_another_version_are_refused(workers_of, monkeypatch):
    workers, _ = workers_of["dask"]
    here = cluster_module.versions()
    monkeypatch.setattr(cluster_module.ndeploy, "__version__", "0.0.1")
    with pytest.raises(RunnerError, match=rf"has ndeploy {here['ndeploy']}, this is 0.0.1"):
        pool(workers._address, None)
    monkeypatch.undo()
    monkeypatch.setattr(cluster_module.np, "__version__", "1.0.0")
    with pool(workers._address, None) as other:
        assert "numpy" in other.notes[0]


@pytest.mark.parametrize("kind", [UsageError, RefusedError, RunnerError, UnreachableError])
def test_errors_cross_between_processes(kind):
    error = pickle.loads(pickle.dumps(kind("ND301", "a weight", help="less")))
    assert type(error) is kind
    assert (str(error), error.code, error.help) == ("error[ND301]: a weight\nhelp: less", "ND301", "less")
    assert isinstance(error, NdeployError)
