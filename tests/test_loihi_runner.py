"""The runner `loihi` on a stand-in for lava-loihi (fake_loihi.py): its calls and their order, answers and refusals.

No board: these tests cannot say whether lava-loihi itself takes the calls, and whether a chip computes what Lava's
models for the CPU do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_loihi
import numpy as np
import pytest
from fake_loihi import called, calls, needs_lava
from hypothesis import HealthCheck, given, seed, settings
from lava_cases import chain, mismatches, random_messages
from ndeploy.targets._lava.loihi_plan import ChipPlan, chip_plan, describe
from ndeploy.targets._lava.loihi_readout import BadAnswerError, Readout, states
from ndeploy.targets._lava.loihi_runner import Loihi, opened
from ndeploy.targets._lava.schedule import Schedule
from random_programs import Case, cases

from ndeploy import oracle
from ndeploy.errors import RefusedError, UnreachableError, UsageError
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.neurons import Affine, CubaLi, CubaLif, Delta, Input, Relay, Sigma, TernaryLif
from ndeploy.runners import Describes, Opens, Runner, RunnerOptions, find
from ndeploy.synapses import Conv, Dense

OPTIONS = RunnerOptions(time_limit=60)
LIF = CubaLif(du=1000, dv=200, vth=40 << 6)


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_loihi.install(tmp_path_factory.mktemp("lava-loihi"))


@pytest.fixture(scope="module")
def settled(extension: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runner, Path]]:
    """A board that is held for the tests that find it well and leave it so, and the record of its calls."""
    with pytest.MonkeyPatch.context() as patch:
        log = fake_loihi.use(patch, extension, tmp_path_factory.mktemp("board"))
        with opened(OPTIONS) as board:
            yield board, log


@pytest.fixture
def alone(extension: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A board for one test; the record of its calls."""
    return fake_loihi.use(monkeypatch, extension, tmp_path)


# -- what is computed -------------------------------------------------------------------------------------------------


def fitting(program: Program) -> ChipPlan | None:
    try:
        return chip_plan(program)
    except RefusedError:
        return None


@needs_lava
@pytest.mark.parametrize("examples", [3, pytest.param(12, marks=pytest.mark.long)])
def test_random_programs_bit_for_bit(settled: tuple[Runner, Path], examples: int) -> None:
    """Every population, every state, every count; samples in one run and samples apart."""
    ran = {True: 0, False: 0}

    @seed(1)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases(lava_native=True))
    def compare(case: Case) -> None:
        program, messages = case
        plan = fitting(program)
        if plan is not None:
            found = settled[0](program, messages, trace=True, options=OPTIONS)
            assert not mismatches(oracle.run(program, messages), found)
            ran[plan.apart] += 1

    compare()
    assert ran[True]
    assert ran[False]


@needs_lava
def test_graded_messages_keep_their_sign(settled: tuple[Runner, Path]) -> None:
    """The adapters hand over 24 bits without extending the sign."""
    for declared in (True, False):
        program = chain(Relay(vth=3, bits=20, signed=declared), source=Input(8, signed=True))
        messages = random_messages(program)
        found = settled[0](program, messages, trace=True, options=OPTIONS)
        assert not mismatches(oracle.run(program, messages), found)
        assert found.traces["spikes/cell"].min() < 0


@needs_lava
def test_a_convolution_goes_as_single_synapses(settled: tuple[Runner, Path]) -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-60, 60, (2, 1, 3, 3)).astype(np.int16)
    conv = Conv(weight, (1, 5, 5))
    program = chain(CubaLif(du=4095, dv=100, vth=90 << 6), conv, shape=conv.out_shape, source_shape=(1, 5, 5))
    messages = random_messages(program)
    settled[1].write_text("")
    assert not mismatches(oracle.run(program, messages), settled[0](program, messages, trace=True, options=OPTIONS))
    assert "Sparse" in next(c["models"] for c in calls(settled[1]) if c["call"] == "compile")


@pytest.mark.long
@needs_lava
def test_adapters_that_take_chip_steps(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told how many, the runner reads the same; not told, the answer differs, which verify would find."""
    program = chain(LIF, steps=6)
    messages = random_messages(program, 3)
    expected = oracle.run(program, messages)
    monkeypatch.setenv("FAKE_LOIHI_STEPS", "2,1")
    monkeypatch.setenv("NDEPLOY_LOIHI_STEPS", "2,1")
    with opened(OPTIONS) as board:
        assert not mismatches(expected, board(program, messages, trace=True, options=OPTIONS))
        assert isinstance(board, Loihi)
        board._late = (0, 0)
        found = board(program, messages, trace=False, options=OPTIONS)
        assert (found.counts.spikes["cell"] != expected.counts.spikes["cell"]).any()


# -- how Lava is called -----------------------------------------------------------------------------------------------


@needs_lava
def test_the_calls_in_their_order(settled: tuple[Runner, Path]) -> None:
    board, log = settled
    program = chain(CubaLi(du=500, dv=300), steps=5)
    log.write_text("")
    result = board(program, random_messages(program, 3), trace=False, options=OPTIONS)
    said = calls(log)
    window, late = 8, 1
    total = 2 * window + late + program.steps
    assert called(log) == [
        "PyToNxAdapter", "StateProbe", "energy_probe", "compile", "boot", "attach", "attach", "halt",
        "detach", "detach", "energy_breakdown",
    ]  # fmt: skip
    assert said[2]["num_steps"] == total
    assert said[3]["models"] == {
        "RingBuffer": "PySendModelFixed", "PyToNxAdapter": "IntoModel", "Dense": "NcDense", "LIFReset": "NcLIFReset",
    }  # fmt: skip
    assert said[4]["LOIHI_GEN"] == "N3B3"
    assert said[7]["steps"] == total
    assert result.power is not None
    assert result.power.joules == pytest.approx(2e-6 * total)
    assert result.power.seconds == pytest.approx(2e-6 * total / 0.5)
    assert (result.power.samples, result.power.scope) == (3, "total")
    assert "energy probe" in result.power.meter


@needs_lava
def test_samples_apart_configure_the_chip_anew(settled: tuple[Runner, Path]) -> None:
    """A recurrent network's messages would reach the next sample: every sample has the chip for itself."""
    weight = np.random.default_rng(0).integers(-30, 60, (4, 4)).astype(np.int16)
    base = chain(CubaLif(du=1000, dv=200, vth=30 << 6), Dense(weight), shape=(4,), source_shape=(4,), steps=5)
    program = replace(base, projections=(*base.projections, Projection("again", "cell", "cell", Dense(weight))))
    messages = random_messages(program, 3)
    settled[1].write_text("")
    result = settled[0](program, messages, trace=True, options=OPTIONS)
    assert not mismatches(oracle.run(program, messages), result)
    said = called(settled[1])
    assert said.count("boot") == said.count("compile") == said.count("energy_breakdown") == 3
    assert result.power is not None
    assert result.power.samples == 3


@pytest.mark.long
@needs_lava
def test_the_board_of_the_environment(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What names the board reaches lava-loihi."""
    for name, value in {"SLURM": "1", "BOARD": "og-05", "LOIHI_GEN": "N3C1"}.items():
        monkeypatch.setenv(name, value)
    program = chain(LIF, steps=3)
    messages = random_messages(program, 1)
    result = find("loihi")(program, messages, trace=False, options=OPTIONS)
    boot = next(c for c in calls(alone) if c["call"] == "boot")
    assert (boot["SLURM"], boot["BOARD"], boot["LOIHI_GEN"]) == ("1", "og-05", "N3C1")
    assert result.power is not None
    assert "BOARD=og-05" in result.power.meter


@needs_lava
@pytest.mark.parametrize("switch", ["off", pytest.param("on", marks=pytest.mark.long)])
def test_without_a_profiler_there_is_no_power(
    switch: str, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither invented nor missed in silence."""
    lacking = fake_loihi.install(tmp_path / "lacking", without=["lava/utils/loihi2_profiler_api.py"])
    if switch == "on":
        monkeypatch.setenv("PYTHONPATH", str(lacking))
    monkeypatch.setenv("NDEPLOY_LOIHI_POWER", switch)
    told: list[str] = []
    program = chain(LIF, steps=3)
    options = replace(OPTIONS, progress=told.append)
    assert find("loihi")(program, random_messages(program, 1), trace=False, options=options).power is None
    assert any("no energy was read" in line for line in told)


@needs_lava
def test_behind_a_board_server(alone: Path) -> None:
    """What `ndeploy board serve --runner loihi` lends answers the client's checks: counters against traces too."""
    program = chain(LIF, steps=4)
    messages = random_messages(program, 2)
    address = f"exec:{sys.executable} -m ndeploy board serve --stdio --runner loihi"
    found = find("board")(program, messages, trace=True, options=replace(OPTIONS, board=address))
    assert not mismatches(oracle.run(program, messages), found)
    assert "boot" in called(alone)


# -- what is refused --------------------------------------------------------------------------------------------------


def refusal(program: Program) -> str:
    with pytest.raises(RefusedError) as caught:
        find("loihi")(program, random_messages(program, 1), trace=False, options=OPTIONS)
    assert caught.value.code == "ND676"
    return caught.value.message


def test_parts_without_a_chip_process_are_named_before_anything_starts(alone: Path) -> None:
    two = chain(Affine(9, True, 300, 9))
    extra = Population("other", (6,), CubaLif(du=10, dv=10, vth=100), 1)  # no multiple of 64
    link = Projection("link", "in", "other", two.projections[0].synapses)
    program = replace(two, populations=(*two.populations, extra), projections=(*two.projections, link))
    message = refusal(program)
    assert "2 parts" in message
    assert "cell: " in message
    assert "other: " in message
    assert not called(alone)
    listed = {part.name: reason for part, reason in describe(program)}
    assert listed["cell"]
    assert listed["other"]
    assert not listed["in"]
    assert not listed["first"]


def test_other_refusals() -> None:
    assert "chip steps" in refusal(chain(LIF, period=4))
    assert "bias of its current" in refusal(chain(CubaLif(du=1, dv=1, vth=64, input_bias=3)))
    assert "24 pass" in refusal(chain(Sigma(30)))
    scored = chain(LIF)
    product = Product("p", "in", "in", "cell", (5,), (5,), "a,a->a")
    assert "p: Lava has no product" in refusal(replace(scored, products=(product,)))
    weight = Dense(np.ones((6, 6), dtype=np.int16))
    biased = chain(CubaLif(du=1, dv=1, vth=64, bias=640), offset=2, delay=2)
    again = Projection("again", "cell", "cell", weight)
    assert "again: 'cell' would send on it" in refusal(replace(biased, projections=(*biased.projections, again)))


def test_input_beyond_its_payload_is_refused() -> None:
    program = chain(LIF)
    with pytest.raises(RefusedError, match="in: messages 0 to 5") as caught:
        find("loihi")(
            program,
            {"in": np.full((1, program.steps, 5), 5) * np.eye(5, dtype=np.int64)[0]},
            trace=False,
            options=OPTIONS,
        )
    assert caught.value.code == "ND676"


@needs_lava
def test_lava_would_compute_it_on_the_host(settled: tuple[Runner, Path]) -> None:
    """Loihi2HwCfg falls back to the CPU where lava-loihi has no model: the stand-in has none for TernaryLIF."""
    program = chain(TernaryLif(du=100, dv=100, vth_low=-640, vth_high=640))
    settled[1].write_text("")
    with pytest.raises(RefusedError, match="cell: Lava has only") as caught:
        settled[0](program, random_messages(program, 1), trace=False, options=OPTIONS)
    assert caught.value.code == "ND676"
    assert not {"compile", "boot"} & set(called(settled[1]))
    whole = chain(Delta(vth=10, bits=16))
    messages = random_messages(whole, 2)
    again = settled[0](whole, messages, trace=True, options=OPTIONS)
    assert not mismatches(oracle.run(whole, messages), again)


@needs_lava
def test_without_lava_loihi(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing, where to get it, and no simulation in its place."""
    monkeypatch.delenv("PYTHONPATH")
    program = chain(LIF, steps=3)
    with pytest.raises(UnreachableError, match=r"lava\.magma\.core\.model") as caught:
        find("loihi")(program, random_messages(program, 1), trace=False, options=OPTIONS)
    assert (caught.value.code, caught.value.exit_code) == ("ND675", 3)
    assert "inrc_interest@intel.com" in caught.value.help
    assert "untested" in caught.value.help


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NDEPLOY_LOIHI_STEPS", "1"),
        ("NDEPLOY_LOIHI_STEPS", "1,-2"),
        ("NDEPLOY_LOIHI_STEPS", "9999,0"),
        ("NDEPLOY_LOIHI_POWER", "maybe"),
        ("LOIHI_GEN", "N2A2"),
    ],
)
def test_settings_that_mean_nothing(name: str, value: str, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught, opened(OPTIONS):
        pass
    assert caught.value.code == "ND679"


# -- what comes back --------------------------------------------------------------------------------------------------


def test_a_chip_that_sends_what_is_no_spike() -> None:
    readout = Readout("a", 1, Schedule(4, 1, 8, 1), 0, 4, True, False, np.zeros((1, 4, 2), dtype=np.int64))
    readout.take(1, np.array([1, 0]))
    with pytest.raises(BadAnswerError, match="sent 3 for a spike of population 'a'"):
        readout.take(2, np.array([0, 3]))
    with pytest.raises(BadAnswerError, match="not 2 neurons x 9 chip steps"):
        states(np.zeros((2, 8)), Schedule(4, 1, 8, 1), 1, 0, 9, 2)


def test_the_runner_is_registered_and_says_what_it_is() -> None:
    runner = find("loihi")
    assert isinstance(runner, Opens)
    assert isinstance(runner, Describes)
    listed = {part.name: part for part in runner.describe(chain(LIF), OPTIONS)}
    assert listed["cell"].by == "LIFReset"
    assert "untested" in listed["cell"].reason
    assert "UNTESTED" in (type(runner).__doc__ or "")
