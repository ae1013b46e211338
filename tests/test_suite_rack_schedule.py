"""Which board measures which case, and what is said of boards and cases that fail: with lanes that answer as told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fake_lanes import BUSY, DEAD, FAULT, GOOD, TOKEN, FakeLane, apart, cases, turns
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy.errors import UsageError
from ndeploy.suite.case import Case
from ndeploy.suite.lanes import Lane
from ndeploy.suite.measured import Failure, Measured
from ndeploy.suite.schedule import Schedule, Settled

PAUSES = (0.01, 0.02)


def ran(given_cases: Sequence[Case], lanes: Sequence[Lane], **options: Any) -> tuple[dict[str, Settled], Schedule]:
    schedule = Schedule(given_cases, lanes, pauses=options.pop("pauses", PAUSES), **options)
    found = list(schedule.run())
    assert [settled.case for settled in found] == list(given_cases)
    return {settled.case.name: settled for settled in found}, schedule


def failure(settled: Settled) -> Failure:
    assert isinstance(settled.found, Failure)
    return settled.found


def test_every_lane_has_one_case_at_a_time_and_the_order_is_that_of_the_cases() -> None:
    lanes = [FakeLane(name, seconds=0.01) for name in "abc"]
    found, schedule = ran(cases(*map(str, range(20))), lanes)
    assert all(settled.found is GOOD for settled in found.values())
    assert sorted(int(name) for lane in lanes for name in lane.ran) == list(range(20))
    assert all(lane.most == 1 and lane.ran for lane in lanes)
    assert not schedule.quarantined


def test_boards_measure_cases_of_boards_and_the_others_the_others() -> None:
    board, plain = FakeLane("board"), FakeLane("plain", board=False)
    found, _ = ran((*cases("a", "b"), *cases("c", "d", runner="sim")), [board, plain])
    assert (board.ran, plain.ran) == (["a", "b"], ["c", "d"])
    assert [found[name].board for name in "abcd"] == ["board", "board", "", ""]


def test_a_case_moves_from_a_board_whose_canary_fails_and_the_board_gets_no_more() -> None:
    sick, well = FakeLane("sick", lambda case: FAULT, lambda: FAULT), FakeLane("well", seconds=0.005)
    found, schedule = ran(cases(*"abcdef"), [sick, well])
    assert all(settled.found is GOOD and settled.board == "well" for settled in found.values())
    assert sick.ran == ["a"]
    assert found["a"].moves == ("sick: error[ND630]: the board reports a fault",)
    (entry,) = schedule.quarantined
    assert (entry.board, entry.returned) == ("sick", False)
    assert "ND630" in entry.fault


def test_a_board_comes_back_after_two_canaries() -> None:
    lane = FakeLane("a", turns(FAULT, GOOD), turns(FAULT, FAULT, None, FAULT, None, None))
    found, schedule = ran(cases("x", "y"), [lane], pauses=(0.01, 0.01, 0.01))
    assert all(settled.found is GOOD for settled in found.values())
    assert lane.probes == 6  # one for the fault, and in quarantine: no, yes, no, yes, yes
    assert [entry.returned for entry in schedule.quarantined] == [True]


def test_a_fault_that_repeats_isolates_a_board_whose_canary_is_right() -> None:
    bad = FakeLane("bad", lambda case: FAULT)
    good = FakeLane("good", seconds=0.02)
    found, schedule = ran(cases(*"abcdefgh"), [bad, good], pauses=(10.0,))
    assert all(settled.found is GOOD for settled in found.values())
    (entry,) = schedule.quarantined
    assert entry.board == "bad"
    assert "it failed at a before" in entry.fault
    assert len(bad.ran) == 2


def test_a_case_that_two_good_boards_fail_at_is_an_error_and_the_boards_stay() -> None:
    def answer(case: str) -> Any:
        return FAULT if case == "poison" else GOOD

    lanes = [FakeLane(name, answer) for name in "abc"]
    found, schedule = ran(cases("w", "poison", "x", "y", "z"), lanes)
    assert failure(found["poison"]).board
    assert "are well otherwise" in failure(found["poison"]).message
    assert len(found["poison"].moves) == 2
    assert sum(lane.ran.count("poison") for lane in lanes) == 2
    assert not schedule.quarantined
    assert all(found[name].found is GOOD for name in "wxyz")


def test_values_that_one_board_alone_shows_are_not_kept() -> None:
    wrong = FakeLane("wrong", turns(apart("neuron 3"), GOOD))
    right = FakeLane("right", seconds=0.01)
    found, _ = ran(cases("x"), [wrong, right])
    assert found["x"].found is GOOD
    assert found["x"].board == "right"
    assert "neuron 3" in found["x"].moves[0]


def test_a_difference_that_two_boards_show_alike_is_no_boards() -> None:
    lanes = [FakeLane(name, lambda case: apart("neuron 3")) for name in "ab"]
    found, schedule = ran(cases("x"), lanes)
    assert found["x"].alike
    assert isinstance(found["x"].found, Measured)
    assert not schedule.quarantined
    unlike = [FakeLane(name, lambda case, name=name: apart(f"neuron of {name}")) for name in "ab"]
    found, _ = ran(cases("x"), unlike)
    assert not found["x"].alike
    assert isinstance(found["x"].found, Measured)


def doubted(case: Case, found: Measured) -> str:
    return "its meter shows more than it should" if "meter" in found.numbers else ""


def test_a_board_whose_meter_lies_loses_its_cases_and_then_its_place() -> None:
    lying = replace(GOOD, numbers={"meter": 1.0})
    liar, honest = FakeLane("liar", lambda case: lying), FakeLane("honest", seconds=0.02)
    found, schedule = ran(cases(*"abcdef"), [liar, honest], doubt=doubted, pauses=(10.0,))
    assert all(settled.found is GOOD and settled.board == "honest" for settled in found.values())
    assert "meter shows more" in found["a"].moves[0]
    (entry,) = schedule.quarantined
    assert entry.board == "liar"
    assert len(liar.ran) == 2


def test_meters_that_say_the_same_are_no_boards_fault_and_one_alone_is_not_asked_twice() -> None:
    high = replace(GOOD, numbers={"meter": 1.0})
    found, schedule = ran(cases("x", "y"), [FakeLane(name, lambda case: high) for name in "ab"], doubt=doubted)
    assert all(settled.alike and settled.found is high for settled in found.values())
    assert not schedule.quarantined
    alone = FakeLane("a", lambda case: high)
    found, schedule = ran(cases("x", "y"), [alone], doubt=doubted)
    assert alone.ran == ["x", "y"]
    assert not schedule.quarantined


def test_the_only_board_gets_a_second_try() -> None:
    lane = FakeLane("a", turns(FAULT, GOOD))
    assert ran(cases("x"), [lane])[0]["x"].found is GOOD
    stubborn = FakeLane("a", lambda case: FAULT if case == "x" else GOOD)
    found, schedule = ran(cases("x", "y"), [stubborn])
    assert failure(found["x"]) == FAULT
    assert stubborn.ran.count("x") == 2
    assert found["y"].found is GOOD
    assert not schedule.quarantined


def test_no_board_left_is_an_error_of_the_boards_for_every_case() -> None:
    lanes = [FakeLane(name, lambda case: FAULT, lambda: FAULT) for name in "ab"]
    found, schedule = ran(cases(*"xyz"), lanes)
    assert {failure(settled).exit_code for settled in found.values()} == {3}
    assert all(failure(settled).board for settled in found.values())
    assert failure(found["z"]).code == "ND666"
    assert {entry.board for entry in schedule.quarantined} == {"a", "b"}


def test_another_token_is_not_waited_for() -> None:
    lane = FakeLane("a", lambda case: TOKEN)
    found, _ = ran(cases("x", "y"), [lane], pauses=(1000.0,))
    assert failure(found["x"]).code == "ND622"
    assert failure(found["x"]).exit_code == 2
    assert lane.probes == 0


def test_what_stands_in_the_way_of_a_board_is_no_models_fault() -> None:
    lane = FakeLane("a", lambda case: replace(TOKEN, code="ND668", board=False))
    assert failure(ran(cases("x"), [lane])[0]["x"]).board


def test_a_busy_board_is_not_isolated() -> None:
    busy, free = FakeLane("busy", lambda case: BUSY), FakeLane("free", seconds=0.005)
    found, schedule = ran(cases("x", "y"), [busy, free])
    assert all(settled.board == "free" for settled in found.values())
    assert busy.probes == 0
    assert not schedule.quarantined
    found, _ = ran(cases("x"), [FakeLane("busy", lambda case: BUSY)])
    assert failure(found["x"]).code == "ND623"


@pytest.mark.parametrize("runner", ["sim", "board"])
def test_a_case_whose_process_dies_is_tried_once_more(runner: str) -> None:
    lane = FakeLane("a", turns(DEAD, GOOD), board=runner == "board")
    found, _ = ran(cases("x", "y", runner=runner), [lane])
    assert all(settled.found is GOOD for settled in found.values())
    assert "SIGKILL: tried once more" in found["x"].moves[0]
    killer = FakeLane("a", lambda case: DEAD if case == "x" else GOOD, board=runner == "board")
    found, _ = ran(cases("x", "y", runner=runner), [killer])
    assert failure(found["x"]).code == "ND667"
    assert not failure(found["x"]).board
    assert found["y"].found is GOOD


def test_what_a_worker_refuses_keeps_its_own_code_and_remedy() -> None:
    """As files that a worker of a cluster does not see: nothing died, and no memory is short."""
    unseen = UsageError("ND672", "worker 1 does not see x.npz", help="share the folder")
    blind, seeing = (
        FakeLane("blind", lambda case: unseen, board=False),
        FakeLane("seeing", board=False, seconds=0.05),
    )
    found, _ = ran(cases("x", "y", runner="sim"), [blind, seeing])
    assert all(settled.found is GOOD for settled in found.values())  # another worker sees them
    found, _ = ran(cases("x", runner="sim"), [FakeLane("blind", lambda case: unseen, board=False)])
    said = failure(found["x"])
    assert (said.code, said.help, said.exit_code) == ("ND672", "share the folder", 2)
    assert "help" not in found["x"].moves[0]


def test_a_lane_that_only_dies_takes_nobody_down() -> None:
    dead, alive = FakeLane("dead", lambda case: DEAD, board=False), FakeLane("alive", board=False, seconds=0.002)
    found, _ = ran(cases(*"abcdefgh", runner="sim"), [dead, alive])
    assert all(settled.found is GOOD for settled in found.values())
    assert len(dead.ran) <= 2


def test_what_ends_is_kept_at_once_and_not_when_its_turn_comes() -> None:
    kept: list[str] = []
    slow, fast = FakeLane("slow", seconds=0.3), FakeLane("fast")
    run = Schedule(cases("a", "b", "c"), [slow, fast], keep=lambda s: kept.append(s.case.name)).run()
    assert next(run).case.name == "a"
    assert kept[:2] == ["b", "c"]
    run.close()


def test_what_has_ended_when_the_suite_is_left_is_kept() -> None:
    kept: list[str] = []
    lanes = [FakeLane("a"), FakeLane("b", seconds=0.05)]
    run = Schedule(cases("a", "b"), lanes, keep=lambda s: kept.append(s.case.name)).run()
    next(run)
    while lanes[1].busy:
        pass
    run.close()
    assert sorted(kept) == ["a", "b"]


def test_what_is_known_is_not_measured_again() -> None:
    lane = FakeLane("a")
    (old, new) = cases("old", "new")
    known = Settled(old, GOOD, "elsewhere", ("moved",))
    kept: list[str] = []
    found, _ = ran((old, new), [lane], taken={"old": known}, keep=lambda s: kept.append(s.case.name))
    assert found["old"] is known
    assert lane.ran == kept == ["new"]


ANSWERS: tuple[Callable[[], Any], ...] = (
    lambda: GOOD,
    lambda: FAULT,
    lambda: BUSY,
    lambda: TOKEN,
    lambda: DEAD,
    lambda: apart("one"),
    lambda: apart("two"),
)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_lanes_answer_it_ends_and_every_case_is_settled(data: st.DataObject) -> None:
    """No hang, no case lost, no good measurement thrown away, and what is no board's fault is not said to be one."""
    script = st.lists(st.sampled_from([make() for make in ANSWERS]), min_size=1, max_size=6)
    canaries = st.lists(st.sampled_from([None, FAULT, BUSY]), min_size=1, max_size=6)
    boards = data.draw(st.integers(1, 4))
    lanes = [FakeLane(f"b{i}", turns(*data.draw(script)), turns(*data.draw(canaries))) for i in range(boards)]
    plain = FakeLane(
        "p", turns(*data.draw(st.lists(st.sampled_from([GOOD, DEAD]), min_size=1, max_size=4))), board=False
    )
    names = [f"c{i}" for i in range(data.draw(st.integers(1, 5)))]
    asked = (*cases(*names), *cases("s", runner="sim"))
    found, _ = ran(asked, [*lanes, plain], pauses=(0.001, 0.002))
    assert set(found) == {*names, "s"}
    for settled in found.values():
        if isinstance(settled.found, Failure) and settled.found.code != "ND667":
            assert settled.found.board
        if settled.alike:
            assert isinstance(settled.found, Measured)
            assert settled.found.mismatch
    assert all(lane.most <= 1 for lane in (*lanes, plain))
