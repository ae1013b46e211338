"""A board server and its clients. Who should not get far with it: test_board_strangers.py."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from boards import TERMS, TOKEN, ask, client, closed, left_open, lent, raw, same, where
from ndeploy.hwtests.programs import messages, programs
from small_artifact import PROGRAM, X

from ndeploy import oracle
from ndeploy.board.leases import LeaseBook, QueueFullError
from ndeploy.board.link import Link
from ndeploy.board.protocol import AnswerError, Frame, GoneError
from ndeploy.board.runner import Patience
from ndeploy.board.software import SoftwareBoard
from ndeploy.decode import encode
from ndeploy.errors import NdeployError, RefusedError, RunnerError, UnreachableError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import RunResult
from ndeploy.runners import BUILT_IN, RunnerOptions

MESSAGES = encode(PROGRAM, X)
WANTED = oracle.run(PROGRAM, MESSAGES)
LONG = float(os.environ.get("NDEPLOY_LONG_SECONDS", "600"))


class Slow:
    """A runner that takes its time and notices company. intervals: when it ran."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.inside, self.overlaps = seconds, 0, 0
        self.programs: list[str] = []

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        self.inside += 1
        self.overlaps += self.inside > 1
        self.programs.append(program.name)
        time.sleep(self.seconds)
        self.inside -= 1
        return oracle.run(program, dict(messages))


# -- what it is for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", [False, True])
def test_a_run_over_tcp_is_the_runners(trace: bool) -> None:
    with lent() as server, client(server.url) as board:
        found = ask(board, PROGRAM, MESSAGES, trace=trace, activity=True)
    assert same(found, WANTED)
    assert found.activity is not None
    assert found.activity.samples == len(X)
    wanted = oracle.run(PROGRAM, MESSAGES, activity=True).activity
    assert wanted is not None
    np.testing.assert_array_equal(found.activity.arrivals["out"], wanted.arrivals["out"])
    assert (found.traces.keys() == WANTED.traces.keys()) if trace else not found.traces
    for key, value in found.traces.items():
        np.testing.assert_array_equal(value, WANTED.traces[key])


@pytest.mark.parametrize("runner", ["oracle", "sim"])
def test_every_kind_of_program_goes_over_the_wire(runner: str) -> None:
    """Delays, convolutions, products, states as outputs; traced, so that every counter is checked against the trace."""
    with lent(SoftwareBoard(BUILT_IN[runner], runner), replace(TERMS, run=60.0)) as server:
        for program in programs().values():
            given = messages(program)
            wanted = oracle.run(program, given, activity=True)
            with client(server.url) as board:
                found = ask(board, program, given, trace=True, activity=True)
                assert not board.retried
            assert same(found, wanted), program.name
            assert found.overflow == wanted.overflow
            assert found.activity is not None
            assert wanted.activity is not None
            for kind in ("messages", "arrivals", "live"):
                mine, theirs = getattr(found.activity, kind), getattr(wanted.activity, kind)
                assert mine.keys() == theirs.keys()
                assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_samples_go_in_parts_where_the_board_takes_little() -> None:
    lines: list[str] = []
    small = replace(TERMS, stream_bytes=500)
    with lent(terms=small) as server, client(server.url) as board:
        found = ask(board, PROGRAM, MESSAGES, progress=lines.append)
    assert same(found, WANTED)
    assert lines == ["2 of 5 samples", "4 of 5 samples", "5 of 5 samples"]


def test_what_is_too_large_is_refused_by_name() -> None:
    for terms in ({"stream_bytes": 100}, {"artifact_bytes": 100}):
        less = replace(TERMS, **terms)
        with lent(terms=less) as server, client(server.url) as board, pytest.raises(NdeployError) as caught:
            ask(board, PROGRAM, MESSAGES)
        assert (caught.value.code, caught.value.exit_code) == ("ND633", 1)


def fight(url: str, runner: Slow, rounds: float, end: float) -> int:
    """Leases had by two clients that want the board again and again. Fails where they overlap or get a wrong answer."""
    failures: list[BaseException] = []
    had = [0, 0]

    def want(n: int) -> None:
        try:
            while had[n] < rounds and time.monotonic() < end:
                with client(url) as board:
                    for _ in range(2):
                        assert same(ask(board, PROGRAM, MESSAGES), WANTED)
                    assert not board.retried
                had[n] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=want, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert runner.overlaps == 0
    assert len(runner.programs) == 2 * sum(had)
    assert min(had) > 0.4 * sum(had)  # in turn
    return sum(had)


def test_two_clients_fight_and_never_overlap() -> None:
    runner = Slow(0.01)
    with lent(SoftwareBoard(runner, "slow"), replace(TERMS, run=60.0)) as server:
        assert fight(server.url, runner, 8, time.monotonic() + 60) == 16
        assert server.leases.granted == 16


@pytest.mark.long
def test_two_clients_fight_for_ten_minutes() -> None:
    """NDEPLOY_LONG_SECONDS sets another time than the ten minutes."""
    before = left_open()
    runner = Slow(0.02)
    with lent(SoftwareBoard(runner, "slow"), replace(TERMS, run=60.0)) as server:  # other work may hold the processor
        leases = fight(server.url, runner, float("inf"), time.monotonic() + LONG)
        assert server.leases.granted == leases > LONG
    assert left_open() == before


class Chip:
    """A runner that drives a chip, which is lost when it runs."""

    drives = "loihi2"

    def __init__(self, error: NdeployError) -> None:
        self.error = error

    def __call__(
        self, program: Program, messages: Mapping[str, IntArray], *, trace: bool, options: RunnerOptions
    ) -> RunResult:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (UnreachableError("ND678", "the board is gone", help="look at it"), "ND630", 3),
        (RunnerError("ND606", "the worker died", help="start a new one"), "ND630", 3),
        (RefusedError("ND676", "population 'x' has no process on the chip", help="use sim"), "ND676", 1),
    ],
    ids=lambda value: value.code if isinstance(value, NdeployError) else "",
)
def test_a_chip_that_is_lost_is_the_boards_fault(error: NdeployError, code: str, exit_code: int) -> None:
    with lent(SoftwareBoard(Chip(error), "chip")) as server, client(server.url) as board:
        assert board.status()["features"] == ["counters", "digests"]  # nobody here reads a chip's memory
        with pytest.raises(NdeployError) as caught:
            ask(board, PROGRAM, MESSAGES)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert error.message in caught.value.message


def test_the_queue_is_served_in_order_and_has_an_end() -> None:
    with lent() as server:
        links = [Link(where(server), TOKEN) for _ in range(4)]
        links[0].request(Frame("lease"), 1.0)
        order: list[int] = []

        def wait(n: int) -> None:
            links[n].request(Frame("lease", {"wait": 10.0}), 10.0)
            order.append(n)

        threads = [threading.Thread(target=wait, args=(n,)) for n in (1, 2)]
        for n, thread in enumerate(threads, 1):
            thread.start()
            while server.leases.snapshot()[1] < n:
                time.sleep(0.005)
        with pytest.raises(AnswerError) as full:
            links[3].request(Frame("lease", {"wait": 10.0}), 1.0)
        assert full.value.kind == "busy"
        links[0].close()
        threads[0].join()
        links[1].request(Frame("release"), 1.0)
        threads[1].join()
        for link in links:
            link.close()
    assert order == [1, 2]


def test_a_busy_board_exits_3_after_the_wait() -> None:
    with lent() as server, Link(where(server), TOKEN) as other:
        other.request(Frame("lease"), 1.0)
        with client(server.url, Patience(wait=0.2, request=1.0)) as board, pytest.raises(UnreachableError) as caught:
            ask(board, PROGRAM, MESSAGES)
        assert caught.value.code == "ND623"
        assert server.leases.granted == 1


def test_who_waits_too_long_with_others_behind_loses_the_board() -> None:
    terms = replace(TERMS, longest=0.1)
    with lent(terms=terms) as server, Link(where(server), TOKEN) as first, Link(where(server), TOKEN) as second:
        first.request(Frame("lease"), 1.0)
        time.sleep(0.15)
        with pytest.raises(AnswerError) as alone:
            first.request(Frame("readback"), 1.0)
        assert alone.value.kind == "fault"  # nobody waits: it may go on, and has loaded nothing
        thread = threading.Thread(target=lambda: second.request(Frame("lease", {"wait": 5.0}), 5.0))
        thread.start()
        while not server.leases.snapshot()[1]:
            time.sleep(0.005)
        with pytest.raises(AnswerError) as taken:
            first.request(Frame("readback"), 1.0)
        assert taken.value.kind == "lease"
        thread.join()


def test_the_next_client_sees_nothing_of_the_last() -> None:
    with lent() as server:
        with client(server.url) as board:
            ask(board, PROGRAM, MESSAGES)
        with Link(where(server), TOKEN) as link:
            link.request(Frame("lease", {"wait": 5.0}), 5.0)
            for operation in ("readback", "read", "stream"):
                with pytest.raises(AnswerError, match="holds no program"):
                    link.request(Frame(operation), 1.0)


def test_a_client_that_leaves_while_the_board_works_frees_it() -> None:
    with lent(SoftwareBoard(Slow(0.3), "slow")) as server:
        before = time.monotonic()
        with client(server.url) as board, pytest.raises(NdeployError) as caught:
            ask(board, PROGRAM, MESSAGES, time_limit=0.1)
        assert (caught.value.code, caught.value.exit_code) == ("ND690", 1)
        with client(server.url) as board:
            ask(board, PROGRAM, MESSAGES)
        assert time.monotonic() - before < 3.0


def test_closing_ends_every_client_and_leaves_nothing() -> None:
    before = left_open()
    failures: list[NdeployError] = []
    with lent(SoftwareBoard(Slow(0.2), "slow")) as server:
        board = client(server.url, Patience(retries=0))

        def run() -> None:
            try:
                ask(board, PROGRAM, MESSAGES)
            except NdeployError as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while server.leases.snapshot()[0] is None:
            time.sleep(0.005)
        idle = raw(server)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 3.0
        thread.join()
        assert closed(idle, 1.0)
        idle.close()
        board.close()
    assert [error.exit_code for error in failures] == [3]
    assert left_open() == before


# -- leases ------------------------------------------------------------------------------------------------------------


def test_a_lease_book_lends_in_order() -> None:
    now = [0.0]
    book = LeaseBook(1, clock=lambda: now[0])
    first, second = book.enter("a"), book.enter("b")
    assert (first.granted, second.granted) == (0.0, None)
    with pytest.raises(QueueFullError):
        book.enter("c")
    assert book.snapshot() == ("a", 1)
    now[0] = 5.0
    assert book.overdue(first, 4.0)
    assert not book.wait(second, 0.0)
    book.leave(first)
    book.leave(first)
    assert book.wait(second, 0.0)
    assert second.granted == 5.0
    now[0] = 100.0
    assert not book.overdue(second, 4.0)  # nobody waits


def test_a_place_given_up_is_nobodys() -> None:
    book = LeaseBook(3)
    tickets = [book.enter(name) for name in "abc"]
    book.leave(tickets[1])
    book.leave(tickets[0])
    assert tickets[1].granted is None
    assert tickets[2].granted is not None
    assert book.granted == 2


def test_gone_is_told_from_slow() -> None:
    with lent() as server:
        link = Link(where(server), TOKEN)
        server.close()
        with pytest.raises((GoneError, AnswerError)):
            link.request(Frame("status"), 2.0)
        link.close()
