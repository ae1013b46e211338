"""`ndeploy.suite`: clean runs pass, planted regressions are caught and named, blame falls on whom it belongs to."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_artifact import PROGRAM, X
from suite_cases import PLANTED, TEXT, neuron, save, suite

from ndeploy import plugins, runners, sim
from ndeploy.errors import RunnerError, UnreachableError
from ndeploy.ir.result import RunResult
from ndeploy.suite import baseline, measure
from ndeploy.suite.case import Case
from ndeploy.suite.inject import Injection
from ndeploy.suite.measure import Context, Deployed
from ndeploy.suite.measured import Failure, Measured
from ndeploy.suite.run import commit_of, run
from ndeploy.suite.toml_file import load
from ndeploy.suite.verdict import CaseResult, Check, SuiteResult


def verdict_of(path: Path, update: bool = False, context: Context | None = None) -> SuiteResult:
    return run(load(path), context or Context(), update=update, pauses=(0.01, 0.02))


def only(result: SuiteResult) -> CaseResult:
    (case,) = result.results
    return case


def check(case: CaseResult, name: str) -> Check:
    return next(c for c in case.checks if c.name == name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A suite with its baseline."""
    found = suite(tmp_path)
    assert verdict_of(found, update=True).passed
    return found


def planted(monkeypatch: pytest.MonkeyPatch, program: object) -> None:
    """What the compiler would give, were it to change: the files stay as they are."""
    real = measure._deployed

    def wrong(case: object) -> Deployed:
        return replace(real(case), program=program)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "_deployed", wrong)


def test_a_clean_run_passes(path: Path) -> None:
    result = verdict_of(path)
    assert result.passed
    assert result.exit_code == 0
    outcomes = {c.name: c.outcome for c in only(result).checks}
    assert outcomes["spikes"] == outcomes["accuracy"] == outcomes["energy"] == outcomes["speed"] == "passed"
    assert outcomes["float"] == outcomes["compile_time"] == "skipped"
    assert not only(result).remarks


def test_without_a_baseline_it_says_so(tmp_path: Path) -> None:
    result = verdict_of(suite(tmp_path))
    assert result.passed
    assert any("--update-baseline" in text for text in only(result).remarks)
    assert check(only(result), "spikes").outcome == "skipped"


def test_the_baseline_is_the_same_bytes_but_for_times(path: Path) -> None:
    found = path.with_suffix(".baseline.json")
    first = json.loads(found.read_text())
    verdict_of(path, update=True)
    second = json.loads(found.read_text())
    for tree in (first, second):
        del tree["cases"]["small"]["numbers"]["speed"]
    assert first == second


@pytest.mark.parametrize("kind", PLANTED)
def test_a_toolchain_that_computes_another_program_is_caught_and_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made, cause = PLANTED[kind]
    planted(monkeypatch, made())
    case = only(verdict_of(path))
    assert (case.outcome, case.blame) == ("failed", "toolchain")
    assert cause in check(case, "program").cause
    if kind in ("threshold", "delay"):  # of the others, none of the five samples shows anything
        assert cause in check(case, "spikes").cause
        assert "first in population" in check(case, "spikes").reason


@pytest.mark.parametrize("kind", PLANTED)
def test_a_model_that_changed_is_stale_and_its_change_named(path: Path, kind: str) -> None:
    made, cause = PLANTED[kind]
    save(path.parent, made())
    case = only(verdict_of(path))
    assert (case.outcome, case.blame) == ("stale", "model")
    assert "stale: artifact changed" in check(case, "baseline").reason
    assert cause in check(case, "baseline").cause
    assert verdict_of(path, update=True).passed
    assert verdict_of(path).passed


def test_the_first_divergence_has_population_step_and_samples(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read off the oracle's traces, not off the hashes."""
    from ndeploy import oracle
    from ndeploy.decode import encode

    changed = neuron(PROGRAM, "out", vth=50 << 6)
    before, after = (oracle.run(p, encode(p, X)).traces["spikes/out"] for p in (PROGRAM, changed))
    differ = (before != after).any(axis=2)
    step = int(np.flatnonzero(differ.any(axis=0))[0])
    planted(monkeypatch, changed)
    reason = check(only(verdict_of(path)), "spikes").reason
    assert "1 of 3 populations" in reason
    assert f"population 'out' at model step {step} (chip step {2 + step})" in reason
    which = [str(i) for i in np.flatnonzero(differ.any(axis=1))]
    assert ("sample " + which[0] if len(which) == 1 else "samples " + ", ".join(which)) in reason


def test_prices_that_drift_are_caught_and_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = plugins.target("loihi2")
    dear = tuple(replace(p, nominal=p.nominal * 1.05, high=p.high * 1.05) for p in real.energy)
    changed = replace(real, energy=dear)
    monkeypatch.setattr(plugins, "target", lambda name: changed)
    case = only(verdict_of(path))
    assert (case.outcome, case.blame) == ("failed", "toolchain")
    assert {c.name for c in case.failed} == {"energy"}
    assert "price of message" in check(case, "energy").cause


def test_a_slower_kernel_is_caught(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sim.run

    def slow(*arguments: object, **options: object) -> RunResult:
        began = time.process_time()
        found = real(*arguments, **options)  # type: ignore[arg-type]
        spent = time.process_time() - began
        while time.process_time() - began < 12 * spent + 0.02:
            pass
        return found

    monkeypatch.setattr(sim, "run", slow)
    case = only(verdict_of(path))
    assert {c.name for c in case.failed} == {"speed"}
    assert case.blame == "toolchain"
    assert "itself is slower" in check(case, "speed").cause


def test_other_data_are_not_compared(path: Path) -> None:
    np.savez(path.parent / "small.npz", x=X[::-1], y=np.zeros(5, dtype=np.int64))
    case = only(verdict_of(path))
    assert case.outcome == "stale"
    assert {c.name for c in case.failed} == {"baseline"}
    assert check(case, "energy").outcome == "skipped"


def test_budgets_hold_whatever_the_baseline_says(path: Path) -> None:
    path.write_text(TEXT + "budgets = { accuracy = 0.9, cores = 1, energy_joules = 1e-15 }\n")
    case = only(verdict_of(path))
    assert {c.name for c in case.failed} == {"budget of accuracy", "budget of energy"}
    assert (case.outcome, case.blame) == ("failed", "model")
    assert "80.00 %, not at least 90.00 %" in check(case, "budget of accuracy").reason


def wrong_board(result: RunResult) -> RunResult:
    traces = {name: np.array(value) for name, value in result.traces.items()}
    if "spikes/out" in traces:
        traces["spikes/out"][1, 2, 0] ^= 1
    return replace(result, traces=traces)


def board(monkeypatch: pytest.MonkeyPatch, fault: object) -> None:
    """A board that computes with the simulator, and then `fault` happens."""

    def call(program: object, messages: object, *, trace: bool, options: object) -> RunResult:
        if isinstance(fault, Exception):
            raise fault
        found = sim.run(program, messages, trace=trace)  # type: ignore[arg-type]
        return fault(found) if callable(fault) else found

    monkeypatch.setattr(runners, "BUILT_IN", {**runners.BUILT_IN, "board": call})


def test_a_board_that_works_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board(monkeypatch, None)
    path.write_text(TEXT + 'runner = "board"\n')
    case = only(verdict_of(path))
    assert case.outcome == "passed"
    assert check(case, "agreement").outcome == "passed"


@pytest.mark.parametrize(
    "fault",
    [RunnerError("ND690", "it hangs", help="wait"), UnreachableError("ND612", "nobody answers", help="look")],
)
def test_a_board_that_fails_is_no_regression_of_the_model(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    board(monkeypatch, fault)
    path.write_text(TEXT + 'runner = "board"\n')
    result = verdict_of(path)
    assert (only(result).outcome, only(result).blame, result.exit_code) == ("error", "board", 3)
    (quarantined,) = result.quarantined  # its canary failed in the same way
    assert str(fault).splitlines()[0] in quarantined.fault


def test_a_lent_board_runs_a_case_with_one_lease(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board on 127.0.0.1, spoken to through its protocol; then with another token, and when it is gone."""
    from boards import TOKEN, lent

    path.write_text(TEXT + 'runner = "board"\n')
    monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", TOKEN)
    with lent() as server:
        monkeypatch.setenv("NDEPLOY_BOARD", server.url)
        case = only(verdict_of(path))
        assert case.outcome == "passed", case.failed
        assert check(case, "agreement").outcome == "passed"
        monkeypatch.setenv("NDEPLOY_BOARD_TOKEN", "b" * 32)
        case = only(verdict_of(path))
        assert (case.outcome, case.blame, case.code) == ("error", "board", "ND622")


def test_a_board_that_computes_something_else_is_to_blame(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board(monkeypatch, wrong_board)
    path.write_text(TEXT + 'runner = "board"\n')
    case = only(verdict_of(path))
    assert (case.outcome, case.blame) == ("failed", "board")
    assert "sample 1, model step 2, population 'out'" in check(case, "agreement").reason


@pytest.mark.parametrize("what", ["answer", "counter"])
def test_a_board_that_is_wrong_at_a_sample_that_is_not_traced(
    path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What it changes in accuracy and in the hashes over all samples is neither the model's nor the toolchain's."""

    def wrong(result: RunResult) -> RunResult:
        if len(next(iter(result.outputs.values()))) < 5:
            return result
        if what == "answer":
            outputs = {name: np.array(value) for name, value in result.outputs.items()}
            outputs["out"][3, 2, 0] += 1
            return replace(result, outputs=outputs)
        spikes = {name: np.array(value) for name, value in result.counts.spikes.items()}
        spikes["hidden"][3] += 1
        return replace(result, counts=replace(result.counts, spikes=spikes))

    path.write_text(TEXT.replace("traced = 5", "traced = 1"))
    assert verdict_of(path, update=True).passed
    path.write_text(path.read_text() + 'runner = "board"\n')
    board(monkeypatch, wrong)
    case = only(verdict_of(path))
    assert (case.outcome, case.blame) == ("failed", "board")
    assert check(case, "agreement").reason.startswith("board is not the simulator: sample 3, ")


def test_what_cannot_be_measured_is_the_toolchains_where_it_could_be_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path.parent / "small.ndp").write_bytes(b"no artifact")
    case = only(verdict_of(path))
    assert (case.outcome, case.blame, case.code) == ("error", "model", "ND701")
    save(path.parent, PROGRAM)
    verdict_of(path, update=True)

    def defect(case: object) -> Deployed:
        raise UnboundLocalError("a defect")

    monkeypatch.setattr(measure, "_deployed", defect)
    case = only(verdict_of(path))
    assert (case.outcome, case.blame, case.code) == ("error", "toolchain", "ND799")


def test_an_error_keeps_the_old_baseline(path: Path) -> None:
    before = baseline.load(path.with_suffix(".baseline.json"))
    (path.parent / "small.ndp").write_bytes(b"no artifact")
    result = verdict_of(path, update=True)
    assert not result.updated
    assert baseline.load(path.with_suffix(".baseline.json")) == before


def test_another_toolchain_is_remarked(path: Path) -> None:
    found = path.with_suffix(".baseline.json")
    tree = json.loads(found.read_text())
    tree["cases"]["small"]["toolchain"]["numpy"] = "1.0"
    found.write_text(json.dumps(tree))
    case = only(verdict_of(path))
    assert case.outcome == "passed"
    assert not case.same_toolchain
    assert any("numpy 1.0 ->" in text for text in case.remarks)


def test_injected_faults_give_a_curve_and_a_check(path: Path) -> None:
    path.write_text(TEXT.replace("speed = 5", "speed = 5, injected_points = 0"))
    case = only(verdict_of(path, context=Context(injection=Injection("stuck", 5))))
    assert case.curve is not None
    assert [faults for faults, _ in case.curve.points] == [0, 1, 2, 4, 5]
    assert case.curve.points[0][1] == (0.8,)
    assert check(case, "injected faults").outcome == "failed"


def test_a_network_without_places_for_faults_is_none_the_worse(path: Path) -> None:
    case = only(verdict_of(path, context=Context(injection=Injection("stuck", 6))))
    assert case.outcome == "passed"
    assert case.curve is None
    assert "no faults injected: 'small' has 5 spiking neurons, 6 were to be faulty" in case.remarks


def test_workers_give_what_one_process_gives(tmp_path: Path) -> None:
    more = TEXT + '[[case]]\nname = "again"\nartifact = "small.ndp"\ndata = "small.npz"\nlimit = 3\n'
    loaded = load(suite(tmp_path, more))
    here, there = run(loaded, Context()), run(loaded, Context(), workers="2")
    for left, right in zip(here.results, there.results, strict=True):
        assert left.outcome == right.outcome
        assert {**left.numbers, "speed": 0} == {**right.numbers, "speed": 0}


def test_the_commit_is_that_of_the_repository(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
    assert len(commit_of(Path(__file__).parent)) in (0, 40, 64)


def test_a_suite_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished cases are not measured again, and give what they gave; the journal goes when the suite has ended."""
    from ndeploy.suite import lanes as module

    more = TEXT + '[[case]]\nname = "again"\nartifact = "small.ndp"\ndata = "small.npz"\nlimit = 3\n'
    loaded, journal = load(suite(tmp_path, more)), tmp_path / "journal"
    seen: list[str] = []

    def counting(context: Context, case: Case) -> Measured | Failure:
        seen.append(case.name)
        if case.name == "again" and len(seen) == 2:
            raise KeyboardInterrupt
        return measure.measure(context, case)

    monkeypatch.setattr(module, "measure", counting)
    context, notes = Context(injection=Injection("bits", 2)), list[str]()
    with pytest.raises(KeyboardInterrupt):
        run(loaded, context, journal=journal)
    assert journal.is_file()
    result = run(loaded, context, journal=journal, note=notes.append)
    assert seen == ["small", "again", "again"]
    assert "1 measurements are taken from it" in notes[0]
    assert not journal.exists()
    whole = run(loaded, context)
    for left, right in zip(result.results, whole.results, strict=True):
        assert left.curve == right.curve
        assert {**left.numbers, "speed": 0} == {**right.numbers, "speed": 0}


def test_what_another_file_or_fault_gave_is_not_taken(path: Path) -> None:
    from ndeploy.suite import kept
    from ndeploy.suite.schedule import Settled

    case = load(path).cases[0]
    found = measure.measure(Context(), case)
    assert isinstance(found, Measured)
    settled = Settled(case, found, "tcp://lab:5580", ("from another",), alike=True)
    told = kept.to_json(settled)
    assert told is not None
    assert kept.from_json(case, json.loads(json.dumps(told))) == settled
    assert kept.to_json(Settled(case, Failure("ND624", "silent", "look", 3, board=True))) is None
    first = kept.task(case)
    save(path.parent, neuron(PROGRAM, "out", vth=0))
    assert kept.task(case) != first
    assert kept.key(Context()) == kept.key(Context())
    assert kept.key(Context()) != kept.key(Context(injection=Injection("bits", 2)))
    bads = (("period", "x"), ("timing", 3), ("curve", ["odd", 0, 1, []]), ("numbers", {"odd": 1}), ("moves", 3))
    for name, bad in bads:
        assert kept.from_json(case, {**told, name: bad}) is None
