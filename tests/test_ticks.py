"""Per-tick verification: a float side that is known to be off by so much, at this tick, in that signal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import call
from small_artifact import write as write_small
from thinking import PROGRAM, TICKS, X, write

from ndeploy import artifact, oracle
from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.errors import UsageError
from ndeploy.graph import reference
from ndeploy.graph.write import nir_bytes
from ndeploy.ir import network as net
from ndeploy.runners import BUILT_IN, RunnerOptions
from ndeploy.tick_sources import Trace, load_trace, trace_data
from ndeploy.ticks import LIMIT, TickReport, compare, message_scale

Capsys = pytest.CaptureFixture[str]
ORACLE = BUILT_IN["oracle"]
SIGNALS = ("pre", "post", "synch_out")


def exact() -> dict[str, np.ndarray]:
    """What the program computes, in real values: (ticks, samples, ...) by signal; logits as the reference has them."""
    traces = oracle.run(PROGRAM, encode(PROGRAM, X)).traces
    found = {name: np.moveaxis(traces[f"spikes/{name}"] * PROGRAM.population(name).scale, 1, 0) for name in SIGNALS}
    return found | {"logits": np.moveaxis(traces["spikes/logits"] * 0.5, 1, 2), "x": X.astype(np.float32)}


def save(path: Path, **changes: Any) -> Path:
    arrays = exact() | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def compared(**changes: Any) -> TickReport:
    arrays = exact() | changes
    signals = {name: np.moveaxis(arrays[name], 0, 1) for name in SIGNALS}
    source = Trace(signals, np.moveaxis(arrays["logits"], 2, 1), None)
    return compare(PROGRAM, Data(X), source, ORACLE, RunnerOptions())


def test_equal_values_are_equal() -> None:
    found = compared()
    assert [s.name for s in found.signals] == [*SIGNALS, "logits"]
    assert all(value == LIMIT for s in found.signals for value in s.sqnr)
    assert found.first_below is None
    assert found.agreement is not None
    assert (found.agreement.answers, found.agreement.certain_ticks) == (1.0, 1.0)
    assert found.agreement.argmax == (1.0,) * TICKS


def test_the_level_is_that_of_the_error_and_the_first_tick_is_named() -> None:
    values = exact()
    off = {"post": values["post"].copy(), "synch_out": values["synch_out"].copy()}
    power = float((values["post"][3] ** 2).sum())
    off["post"][3, 2, 1] += np.sqrt(power / 100)  # that sample and neuron are silent there
    power = float((values["synch_out"][2] ** 2).sum())
    off["synch_out"][2, 2, 0] -= np.sqrt(power / 10)
    found = compared(**off)
    levels = {s.name: s.sqnr for s in found.signals}
    noise = 20.0 + 10 * np.log10(1 + 1 / 100)  # the float side's own power grew
    assert levels["post"][3] == pytest.approx(noise)
    assert levels["synch_out"][2] == pytest.approx(10.0 + 10 * np.log10(1.1))
    assert sum(value < LIMIT for row in levels.values() for value in row) == 2
    assert found.first_below is not None
    tick, signal = found.first_below
    assert (tick, signal.name) == (2, "synch_out")
    assert replace(found, min_sqnr=5.0).first_below is None
    both = replace(found, min_sqnr=30.0).first_below
    assert both is not None
    assert both[0] == 2


def test_batches_add_up() -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=exact()[name].shape) for name in SIGNALS}
    signals = {name: np.moveaxis(value, 0, 1) for name, value in values.items()}
    whole = compare(PROGRAM, Data(X), Trace(signals, None, None), ORACLE, RunnerOptions())
    import ndeploy.ticks as ticks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticks, "batch_size", lambda program: 4)
        parts = compare(PROGRAM, Data(X), Trace(signals, None, None), ORACLE, RunnerOptions())
    for a, b in zip(whole.signals, parts.signals, strict=True):
        assert a.sqnr == pytest.approx(b.sqnr)
    assert whole.agreement is None


def test_silence_and_infinity_are_no_numbers_of_db() -> None:
    zero = np.zeros_like(exact()["pre"])
    infinite = np.full_like(exact()["post"], np.inf)
    levels = {s.name: s.sqnr for s in compared(pre=zero, post=infinite).signals}
    assert set(levels["pre"]) == set(levels["post"]) == {-LIMIT}


def test_a_population_that_stopped_keeps_what_it_sent() -> None:
    program = replace(PROGRAM, populations=(PROGRAM.populations[0], *(
        replace(p, updates=2) if p.name == "synch_out" else p for p in PROGRAM.populations[1:])))  # fmt: skip
    values = np.moveaxis(exact()["synch_out"], 0, 1).copy()
    values[:, 2:] = values[:, 1:2]
    found = compare(program, Data(X), Trace({"synch_out": values}, None, None), ORACLE, RunnerOptions())
    assert set(found.signals[0].sqnr) == {LIMIT}


def test_agreement_is_of_samples() -> None:
    logits = exact()["logits"].copy()
    logits[0] = np.roll(logits[0], 1, axis=0)  # another class at every tick, as certain as before
    logits[1] = logits[1][:, ::-1]  # another tick
    found = compared(logits=logits).agreement
    assert found is not None
    assert (found.answers, found.certain_ticks) == (5 / 6, 5 / 6)
    assert found.argmax == (5 / 6,) * TICKS


def test_spikes_stand_for_themselves() -> None:
    from small_artifact import PROGRAM as SPIKING

    assert message_scale(replace(SPIKING.populations[1], scale=0.01)) == 1.0
    assert message_scale(PROGRAM.population("pre")) == 0.125


@pytest.mark.parametrize(
    ("signals", "wanted"),
    [(("post",), ["post", "logits"]), ((), ["pre", "post", "synch_out", "logits"])],
)
def test_signals_may_be_chosen(signals: tuple[str, ...], wanted: list[str]) -> None:
    arrays = exact()
    source = Trace({n: np.moveaxis(arrays[n], 0, 1) for n in SIGNALS}, np.moveaxis(arrays["logits"], 2, 1), None)
    found = compare(PROGRAM, Data(X), source, ORACLE, RunnerOptions(), signals=signals)
    assert [s.name for s in found.signals] == wanted


@pytest.mark.parametrize(
    ("signals", "trace", "code"),
    [
        (("nothing",), {}, "ND506"),
        (("x",), {}, "ND506"),
        (("attention",), {}, "ND506"),
        (None, {"pre": (6, 5, 4)}, "ND502"),
        (None, {"pre": (6, 6, 3)}, "ND502"),
    ],
)
def test_signals_that_do_not_fit_are_refused(signals: Any, trace: dict[str, tuple[int, ...]], code: str) -> None:
    source = Trace({name: np.zeros(shape) for name, shape in (trace or {"pre": (6, TICKS, 4)}).items()}, None, None)
    with pytest.raises(UsageError) as caught:
        compare(PROGRAM, Data(X), source, ORACLE, RunnerOptions(), signals=signals)
    assert caught.value.code == code


def test_nothing_in_common_is_refused() -> None:
    source = Trace({"attention": np.zeros((6, TICKS, 4))}, None, None)
    with pytest.raises(UsageError) as caught:
        compare(PROGRAM, Data(X), source, ORACLE, RunnerOptions())
    assert caught.value.code == "ND506"


# -- traces from files -------------------------------------------------------------------------------------------------


def test_a_trace_has_ticks_first_and_may_have_empty_signals(tmp_path: Path) -> None:
    trace = load_trace(save(tmp_path / "t.npz", synch_action=np.zeros(0, np.float32)))
    assert trace.signals["pre"].shape == (6, TICKS, 4)
    assert "synch_action" not in trace.signals
    assert trace.output is not None
    assert trace.output.shape == (6, TICKS, 4)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"post": np.zeros((TICKS - 1, 6, 4))}, "ND502"),
        ({"post": np.zeros((TICKS, 5, 4))}, "ND502"),
        ({"x": X[:3]}, "ND502"),
        ({"logits": np.zeros((6, 4, TICKS + 1))}, "ND502"),
        ({"logits": np.zeros((6, 4))}, "ND501"),
        ({"post": np.zeros(6)}, "ND501"),
        ({"post": np.full((TICKS, 6, 4), np.nan)}, "ND501"),
        ({"post": np.full((TICKS, 6, 4), "a")}, "ND501"),
        ({"pre": None, "post": None, "synch_out": None, "logits": None}, "ND501"),
    ],
)
def test_bad_traces_are_refused(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_trace(save(tmp_path / "t.npz", **changes))
    assert caught.value.code == code


def test_a_trace_belongs_to_its_samples(tmp_path: Path) -> None:
    path = save(tmp_path / "t.npz")
    trace = load_trace(path)
    assert len(trace_data(trace, path, None, 2)) == 2
    assert len(trace_data(trace, path, Data(X[:3]), None)) == 3
    assert len(trace_data(trace, path, Data(X * 2, None, 0.5), None)) == 6
    for given in (Data(X[::-1]), Data(np.concatenate([X, X])), Data(X[:, :3])):
        with pytest.raises(UsageError) as caught:
            trace_data(trace, path, given, None)
        assert caught.value.code == "ND502"
    without = load_trace(save(tmp_path / "u.npz", x=None))
    assert len(trace_data(without, path, Data(X), None)) == 6
    with pytest.raises(UsageError, match="holds no x"):
        trace_data(without, path, None, None)


# -- the command line --------------------------------------------------------------------------------------------------


def test_verify_against_a_trace(capsys: Capsys, tmp_path: Path) -> None:
    model, data = write(tmp_path)
    trace = save(tmp_path / "trace.npz")
    done = call(capsys, "verify", model, "--against", trace, "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert found["schema"] == "ndeploy.verify-ticks/1"
    assert (found["samples"], found["ticks"], found["first_below"]) == (6, TICKS, None)
    assert set(found["signals"]) == {*SIGNALS, "logits"}
    post = exact()["post"].copy()
    post[4] += 100.0
    bad = save(tmp_path / "bad.npz", post=post)
    done = call(capsys, "verify", model, "--data", data, "--against", bad, "--reference", "oracle", "--json")
    found = json.loads(done.out)
    assert done.code == 1
    assert (found["first_below"]["tick"], found["first_below"]["signal"]) == (4, "post")
    text = call(capsys, "verify", model, "--against", bad)
    assert text.code == 1
    assert "below 10 dB first at tick 4 in post" in text.out
    assert "equal" in text.out
    assert call(capsys, "verify", model, "--against", bad, "--signals", "pre,synch_out").code == 0
    assert call(capsys, "verify", model, "--against", bad, "--min-sqnr", "-50").code == 0


def test_many_ticks_stand_one_below_another(capsys: Capsys, tmp_path: Path) -> None:
    from ndeploy.report.ticks import MAX_COLUMNS, table

    found = compared()
    many = MAX_COLUMNS + 1
    assert found.agreement is not None
    tall = table(
        replace(
            found,
            ticks=many,
            signals=tuple(replace(s, sqnr=(LIMIT,) * many) for s in found.signals),
            agreement=replace(found.agreement, argmax=(1.0,) * many),
        )
    )
    assert tall.row_count == many


def lif_network() -> net.Network:
    ones = np.ones(3)
    weight = np.array([[127.0, -64.0, 32.0, 0.0], [64.0, 64.0, 0.0, -127.0], [0.0, 32.0, 96.0, 64.0]])
    nodes = {
        "in": net.Input((4,)),
        "w": net.Linear(weight),
        "pre": net.IF(r=ones, v_threshold=ones * 100, v_reset=ones * 0),
        "out": net.Output((3,)),
    }
    return net.Network(
        "lif", nodes, (("in", "w"), ("w", "pre"), ("pre", "out")), net.Semantics(dt=1.0, compare="ge"), steps=5
    )


def test_verify_against_the_float_network_in_the_artifact(capsys: Capsys, tmp_path: Path) -> None:
    from networks import quantise

    network = lif_network()
    program = quantise(network, 5, settings={"input_scale": 1.0, "input_bits": 1})[1].program
    model, data = tmp_path / "m.ndp", tmp_path / "d.npz"
    artifact.save(artifact.Artifact(program, {}, nir_bytes(network), {"target": "loihi2"}), model)
    x = np.random.default_rng(2).integers(0, 2, (5, 5, 4))
    np.savez(data, x=x)
    same = oracle.run(program, encode(program, x)).outputs["pre"]
    assert np.array_equal(same, reference.run(network, x).outputs["out"])
    done = call(capsys, "verify", model, "--data", data, "--against", "float", "--signals", "all", "--json")
    found = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert found["signals"] == {"pre": [LIMIT] * 5}
    assert found["agreement"] == {"argmax": [1.0] * 5, "answers": 1.0, "certain_ticks": None}
    text = call(capsys, "verify", model, "--data", data, "--against", "float")
    assert text.code == 0
    assert "every signal is within its bound" in text.out


def test_an_artifact_without_its_network_has_no_floats(capsys: Capsys, tmp_path: Path) -> None:
    model, data = write_small(tmp_path)
    done = call(capsys, "verify", model, "--data", data, "--against", "float")
    assert (done.code, done.error) == (2, "ND709")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--against", "float"], ""),
        (["--against", "lava"], ""),
        (["--against", "nowhere.npz"], "ND101"),
        (["--against", "MODEL"], "ND501"),
        (["--against", "TRACE", "--signals", ""], ""),
        (["--against", "TRACE", "--signals", "pre,pre"], ""),
        (["--against", "TRACE", "--signals", "pre,nowhere"], "ND506"),
        (["--against", "TRACE", "--min-sqnr", "nan"], ""),
        (["--against", "TRACE", "--min-sqnr", "inf"], ""),
        (["--against", "TRACE", "--reference", "nowhere"], "ND601"),
        (["--against", "TRACE", "--data", "nowhere.npz"], "ND101"),
        (["--against", "oracle", "--data", "DATA", "--min-sqnr", "10"], ""),
        (["--against", "oracle", "--data", "DATA", "--signals", "all"], ""),
    ],
    ids=str,
)
def test_bad_usage(capsys: Capsys, tmp_path: Path, arguments: list[str], code: str) -> None:
    model, data = write(tmp_path)
    places = {"TRACE": str(save(tmp_path / "t.npz")), "MODEL": str(model), "DATA": str(data)}
    done = call(capsys, "verify", model, *(places.get(word, word) for word in arguments))
    assert (done.code, done.out, done.error) == (2, "", code)
