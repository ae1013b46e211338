"""Published measurements recomputed: Lava's rule against its printed tables, PilotNet as it was measured, the rows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndeploy import plugins
from ndeploy.energy.ranges import Range
from ndeploy.errors import RefusedError, UsageError
from ndeploy.place.links import neurons
from ndeploy.sim import run
from ndeploy.target import STATUSES
from ndeploy.validation import lava_placement as lava
from ndeploy.validation import pilotnet, shapes, text
from ndeploy.validation.measurements import PUBLISHED, measured
from ndeploy.validation.rows import ABSENT, BASES, RECOMPUTED, Row, exactly, rate
from ndeploy.validation.run import names, validate

from .fixtures_path import ROOT

# -- Lava's rule -------------------------------------------------------------------------------------------------------

PRINTED = (  # grid, cores, neurons of one core: lava-dl, pilotnet_snn/benchmark.ipynb at 12f04021
    ((3, 66, 200), 13, 3168),
    ((24, 32, 99), 25, 3072),
    ((36, 15, 49), 13, 2160),
    ((48, 7, 24), 3, 2688),
    ((64, 4, 22), 3, 2048),
    ((64, 2, 20), 2, 2048),
)


@pytest.mark.parametrize(("grid", "cores", "most"), PRINTED)
def test_convolutions_are_cut_as_lava_prints(grid: tuple[int, ...], cores: int, most: int) -> None:
    boxes = list(lava._stretches(grid))
    assert len(boxes) == cores
    assert neurons(boxes[0], grid).size == most


@pytest.mark.parametrize(
    ("size", "axons", "words"), [(100, 2560, 66560), (17, 2560, 12800), (10, 50, 150), (1, 10, 10)]
)
def test_dense_synapses_take_the_words_lava_prints(size: int, axons: int, words: int) -> None:
    assert lava.synaptic_words(size, axons) == words


@pytest.mark.parametrize(("size", "axons", "cores"), [(100, 2560, 12), (50, 100, 1), (10, 50, 1), (1, 10, 1)])
def test_dense_layers_are_cut_as_lava_prints(size: int, axons: int, cores: int) -> None:
    assert lava.dense_parts(size, axons) == cores


def test_a_neuron_with_too_many_synapses_for_lava_is_refused() -> None:
    with pytest.raises(RefusedError, match="12000") as refused:
        lava.dense_parts(2, lava.SYNAPTIC_WORDS + 1)
    assert refused.value.code == "ND402"


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=3), st.integers(1, 60))
def test_stretches_cover_every_neuron_once_and_fit(front: list[int], width: int) -> None:
    grid = (*front, width)
    parts = [neurons(box, grid) for box in lava._stretches(grid)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(np.prod(grid)))
    one_column = int(np.prod(front))
    assert all(part.size <= max(lava.NEURONS, one_column) for part in parts)


def test_a_program_is_placed_whole_by_lavas_rule() -> None:
    program = shapes.dense_program("two", (300, 500, 7), 2)
    placed = lava.place_as_lava(program, plugins.target("loihi2"))
    assert lava.cores_by_layer(placed) == {"layer1": lava.dense_parts(500, 300), "layer2": 1}
    held = np.concatenate([s.neurons() for s in placed.slices if s.owner == "layer1"])
    np.testing.assert_array_equal(np.sort(held), np.arange(500))
    assert [s.core for s in placed.slices] == list(range(placed.cores))


def test_a_network_beyond_one_chip_is_refused_by_lavas_rule() -> None:
    target = plugins.target("loihi2")
    small = replace(target, cores_per_chip=replace(target.cores_per_chip, value=1))
    with pytest.raises(RefusedError, match="2 cores") as refused:
        lava.place_as_lava(shapes.dense_program("two", (3, 5, 7), 2), small)
    assert refused.value.code == "ND412"


# -- PilotNet ----------------------------------------------------------------------------------------------------------


@cache
def _rows(workload: str, folder: Path) -> dict[str, Row]:
    return {row.measurement.name.partition("/")[2]: row for row in validate(folder, workload)}


def _fixtures() -> Path:
    """The networks that the repository carries."""
    return ROOT / "examples"


def test_pilotnet_lif_is_estimated_as_an_expert_would_sign() -> None:
    rows = _rows("pilotnet-lif", _fixtures())
    assert rows["cores"].estimate == exactly(74)
    assert rows["neurons"].estimate == exactly(158_509)
    assert rows["macs"].inside
    energy = rows["energy"]
    assert energy.basis == RECOMPUTED
    assert energy.estimate is not None
    assert energy.estimate.low <= 1.094e-3 <= energy.estimate.high
    assert 0.5 <= energy.estimate.nominal / 1.094e-3 <= 2.0
    assert energy.width is not None
    assert energy.width <= 10


def test_the_frame_as_bias_gives_the_messages_of_the_frame_sent_every_step() -> None:
    folder = _fixtures()
    frame = pilotnet.frame_of(folder / pilotnet.FRAME)
    whole = pilotnet._compiled(folder / pilotnet.LIF_NETWORK, pilotnet.LIF_STEPS)
    sent = run(whole, {"input": np.broadcast_to(frame, (1, 16, *frame.shape)).copy()})
    kept = run(pilotnet.kept_frame(whole, frame), {"input": np.zeros((1, 16, *frame.shape), dtype=np.int64)})
    inner = [p.name for p in whole.populations if p.name != "input"]
    assert {n: int(sent.counts.spikes[n][0]) for n in inner} == {n: int(kept.counts.spikes[n][0]) for n in inner}
    assert int(kept.counts.spikes["input"][0]) == 0
    for name, outputs in sent.outputs.items():
        np.testing.assert_array_equal(outputs, kept.outputs[name])
    for wrong in (frame[:, :, 1:], frame[:1]):
        with pytest.raises(UsageError, match="shape") as refused:
            pilotnet.kept_frame(whole, wrong)
        assert refused.value.code == "ND471"


def test_pilotnet_sdnn_is_fed_by_the_host() -> None:
    rows = _rows("pilotnet-sdnn", _fixtures())
    assert rows["cores"].estimate == exactly(61)
    for name in ("frames", "total"):
        row = rows[name]
        assert row.inside is False, "bound by the host's link, which is not modelled: the row says so"
        assert any("host" in reason for reason in row.missing)
    at_time = rows["total-at-time"]
    assert at_time.error is not None
    assert -0.3 < at_time.error < 0.0, "static power explains most of a frame, and never more than it"


def test_networks_that_were_not_measured_are_refused() -> None:
    program = shapes.dense_program("other", (3, 5), 2)
    renamed = replace(
        program,
        populations=tuple(replace(p, name="layer0") if p.name == "layer1" else p for p in program.populations),
        projections=tuple(replace(j, target="layer0", exponent=1) for j in program.projections),
    )
    frame = np.ones(5, dtype=np.int64)
    for wrong in (program, renamed):
        with pytest.raises(UsageError, match="not what was measured") as refused:
            pilotnet.kept_frame(wrong, frame)
        assert refused.value.code == "ND471"


@pytest.mark.parametrize("array", [np.ones((200, 66, 3)), np.ones((3, 66, 200), dtype=np.int64), None])
def test_frames_of_another_kind_are_refused(tmp_path: Path, array: np.ndarray | None) -> None:
    path = tmp_path / "image.npy"
    if array is None:
        path.write_bytes(b"\x93NUMPY\x01\x00")
    else:
        np.save(path, array)
    with pytest.raises(UsageError) as refused:
        pilotnet.frame_of(path)
    assert refused.value.code == "ND471"


# -- shapes and stated activity ----------------------------------------------------------------------------------------


def test_stated_activity_is_what_it_says() -> None:
    program = shapes.dense_program("spotter", shapes.KEYWORD_LAYERS, shapes.KEYWORD_STEPS)
    activity = shapes.stated_activity(program, 10)
    for population in program.populations:
        sent = activity.messages[population.name]
        assert sent.shape == (10, population.size)
        np.testing.assert_array_equal(sent.sum(axis=0), 1)  # one message in ten steps
    assert set(activity.arrivals) == {"layer1", "layer2", "layer3"}


def test_keyword_spotting_counts_every_synapse_once_in_ten_steps() -> None:
    target = plugins.target("loihi1")
    energy, inferences = shapes.keyword_rows(target)
    synapses = 390 * 256 + 256 * 256 + 256 * 29
    price = target.price("synaptic-op.dense")
    assert price is not None
    assert energy.estimate is not None
    assert energy.estimate.nominal >= synapses * price.nominal
    assert energy.inside is False, "the row is bad and is shown"
    assert inferences.inside is False


def test_mobilenets_neurons_are_those_of_its_table() -> None:
    by_hand = 64 * 64 * (32 + 32 + 64) + 32 * 32 * (64 + 128 + 128 + 128) + 16 * 16 * (128 + 256 + 256 + 256)
    by_hand += 8 * 8 * (256 + 512 + 5 * 2 * 512) + 4 * 4 * (512 + 1024 + 1024 + 1024) + 1000
    assert shapes.mobilenet_neurons(128) == by_hand


def test_an_anchor_that_a_price_was_composed_with_is_not_judged() -> None:
    target = plugins.target("loihi2")
    row = shapes.hala_point_rows(target)[0]
    price = target.price("synaptic-op.dense")
    assert price is not None
    assert row.estimate == Range(price.low, price.nominal, price.high)
    assert row.error is not None
    assert row.inside is None
    assert shapes.hala_point_rows(replace(target, energy=()))[0].basis == ABSENT


# -- rows, selection, text ---------------------------------------------------------------------------------------------


def test_every_measurement_has_a_source_a_status_and_a_row() -> None:
    assert len({m.name for m in PUBLISHED}) == len(PUBLISHED)
    assert all(m.source and m.status in STATUSES and m.value > 0 for m in PUBLISHED)
    rows = validate(None)
    assert [row.measurement for row in rows] == list(PUBLISHED)
    assert all(row.basis in BASES for row in rows)
    assert all(row.how for row in rows)
    without = [row for row in rows if row.measurement.name.startswith("pilotnet")]
    assert all(row.basis == ABSENT and "NDEPLOY_FIXTURES" in row.how for row in without)


def test_one_figure_or_one_workload_can_be_asked_for() -> None:
    assert [row.measurement.name for row in validate(None, "clp-snn")] == ["clp-snn/energy", "clp-snn/time"]
    assert [row.measurement.name for row in validate(None, "clp-snn/time")] == ["clp-snn/time"]
    for wrong in ("pilot", "clp-snn/", "clp-snn/speed"):
        with pytest.raises(UsageError, match="no published measurement") as refused:
            validate(None, wrong)
        assert refused.value.code == "ND470"
        assert names()[0] in refused.value.help


def test_errors_and_bounds_of_a_row() -> None:
    cores, energy = measured("pilotnet-lif/cores"), measured("pilotnet-lif/energy")
    assert Row(cores, exactly(85), RECOMPUTED, "").inside, "within 15 % of 74"
    assert not Row(cores, exactly(86), RECOMPUTED, "").inside
    wide = Row(energy, Range(0.5e-3, 2.188e-3, 5e-3), RECOMPUTED, "")
    assert wide.inside
    assert wide.error == pytest.approx(1.0)
    assert wide.width == pytest.approx(10.0)
    assert not Row(energy, Range(1.2e-3, 1.3e-3, 5e-3), RECOMPUTED, "").inside
    none = Row(energy, None, ABSENT, "")
    assert (none.error, none.inside, none.width) == (None, None, None)
    assert rate(Range(0.5, 1.0, 4.0)) == Range(0.25, 1.0, 2.0)


def test_bad_rows_are_counted_and_shown() -> None:
    energy = measured("pilotnet-lif/energy")
    rows = (
        Row(energy, Range(1e-3, 1.1e-3, 2e-3), RECOMPUTED, "counted", ("frame",)),
        Row(energy, Range(1.0, 1.1, 2.0), RECOMPUTED, "counted"),
        Row(energy, None, ABSENT, "unknown"),
    )
    shown = text.markdown(rows)
    assert shown.startswith("Inside the estimate: 1 of 2 energies, times and rates, 0 of 0 counts; 1 not computed")
    assert "| +1 % | 2.0 | yes |" in shown
    assert "| 1005 times | 2.0 | no |" in shown
    assert "Counted. Frame. Source (code): lava-dl" in shown
    assert shown.count("\n- `") == 3


def test_the_documents_table_is_what_the_command_prints() -> None:
    document = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    kept = document.partition("<!-- ndeploy validate --markdown -->\n")[2]
    rows = [row for workload in names() for row in _rows(workload, _fixtures()).values()]
    assert kept == text.markdown(rows), "write the table anew: see the first lines of docs/validation.md"
