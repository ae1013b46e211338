"""Fine-tuning: better on the data it is given, never worse, the same every time, and the same after an interruption."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from trainable_programs import CLASSES, STEPS, classifier, data

from ndeploy.certainty import most_certain
from ndeploy.data import Data
from ndeploy.decode import encode, predict
from ndeploy.errors import UsageError
from ndeploy.ir.program import OutputPort, Program
from ndeploy.ir.serial import to_parts
from ndeploy.sim import run
from ndeploy.train import finetune as module
from ndeploy.train import parts
from ndeploy.train.finetune import Tuning, finetune
from ndeploy.train.objective import objective, reference_decode


def accuracy(program: Program, samples: Data) -> float:
    """Share of samples that the simulator answers as labelled."""
    predictions = run(program, encode(program, samples.x), counts=False).predictions
    assert predictions is not None
    return float((predictions == samples.y).mean())


def content(program: Program) -> tuple[object, dict[str, bytes]]:
    """All that makes a program, comparable."""
    tree, arrays = to_parts(program)
    return tree, {name: value.tobytes() for name, value in arrays.items()}


def test_a_random_network_of_2_bits_learns() -> None:
    program, samples = classifier(2), data()
    before = accuracy(program, samples)
    told: list[str] = []
    tuned = finetune(program, samples, None, Tuning(12, rate=0.1, batch=16), progress=told.append)
    assert before < 0.7
    assert accuracy(tuned, samples) > 0.9
    assert accuracy(tuned, data(200, seed=1)) > 0.8
    assert len(told) == 12
    for j in tuned.projections:
        assert j.synapses.weight.dtype == np.int16
        assert set(np.unique(j.synapses.weight)) <= {-2, -1, 0, 1}


def test_bounded_mantissas_move_one_unit_at_most() -> None:
    program, samples = classifier(4), data()
    tuned = finetune(program, samples, None, Tuning(4, rate=0.3, batch=16, bounded=True))
    moved = [
        np.abs(a.synapses.weight - b.synapses.weight)
        for a, b in zip(tuned.projections, program.projections, strict=True)
    ]
    assert max(m.max() for m in moved) == 1
    assert accuracy(tuned, samples) >= accuracy(program, samples)


def test_without_labels_it_imitates_the_float_network() -> None:
    teacher, student, samples = classifier(8), classifier(2, seed=7), data()
    output = run(teacher, encode(teacher, samples.x), counts=False).outputs["out"]
    # what the sum readout holds after each step, back to what arrived there
    reference = np.diff(output, axis=1, prepend=0) / 4096.0
    wanted = predict(output, "last")
    bare = Data(samples.x)
    before = run(student, encode(student, samples.x), counts=False).predictions
    tuned = finetune(student, bare, reference, Tuning(6, rate=0.05, batch=16))
    after = run(tuned, encode(tuned, samples.x), counts=False).predictions
    assert (after == wanted).mean() > (before == wanted).mean() + 0.1


@pytest.mark.parametrize("rate", [0.05, 1e3])
def test_never_worse_than_the_start(rate: float) -> None:
    samples = data()
    program = finetune(classifier(2), samples, None, Tuning(4, rate=0.05, batch=16))
    again = finetune(program, samples, None, Tuning(2, seed=3, rate=rate))
    assert accuracy(again, samples) >= accuracy(program, samples)


def test_the_same_twice_and_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, tuning = data(50), Tuning(2, rate=0.05, batch=16)
    first = finetune(classifier(), samples, None, tuning)
    monkeypatch.setattr(parts, "_cores", lambda: 1)
    torch.set_num_threads(1)
    assert content(finetune(classifier(), samples, None, tuning)) == content(first)
    monkeypatch.setattr(parts, "_cores", lambda: 4)
    assert content(finetune(classifier(), samples, None, tuning)) == content(first)
    other = finetune(classifier(), samples, None, replace(tuning, seed=1))
    assert content(other) != content(first)


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path: Path, after: int) -> None:
    program, samples = classifier(), data(50)
    whole = Tuning(4, rate=0.05, batch=16, journal=tmp_path / "whole.npz")
    cut = replace(whole, journal=tmp_path / "cut.npz")
    expected = finetune(program, samples, None, whole)

    def interrupt(text: str) -> None:
        if text.startswith(f"epoch {after} "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(program, samples, None, cut, progress=interrupt)
    told: list[str] = []
    found = finetune(program, samples, None, cut, progress=told.append)
    assert told[0] == f"fine-tuning goes on after epoch {after} of 4"
    assert len(told) == 1 + 4 - after
    assert content(found) == content(expected)
    with np.load(tmp_path / "whole.npz") as a, np.load(tmp_path / "cut.npz") as b:
        assert sorted(a.files) == sorted(b.files)
        assert all(a[name].tobytes() == b[name].tobytes() for name in a.files)
    # a finished run is read, not run again
    told.clear()
    assert content(finetune(program, samples, None, cut, progress=told.append)) == content(expected)
    assert told == ["fine-tuning goes on after epoch 4 of 4"]


def test_a_journal_of_another_run_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal.npz"
    finetune(classifier(), data(20), None, Tuning(1, journal=path))
    before = path.read_bytes()
    told: list[str] = []
    finetune(classifier(), data(20, seed=5), None, Tuning(1, journal=path), progress=told.append)
    assert len(told) == 1
    assert (tmp_path / "journal.npz.old").read_bytes() == before


@pytest.mark.parametrize("content_", [b"", b"not a journal", b"PK\x03\x04damaged"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content_: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content_)
    with pytest.raises(UsageError) as caught:
        finetune(classifier(), data(20), None, Tuning(1, journal=path))
    assert caught.value.code == "ND710"
    assert path.read_bytes() == content_


@pytest.mark.parametrize(
    "tuning", [Tuning(0), Tuning(-1), Tuning(1, batch=0), Tuning(1, rate=0.0), Tuning(1, rate=math.nan), Tuning(1, -1)]
)
def test_bad_options(tuning: Tuning) -> None:
    with pytest.raises(UsageError) as caught:
        finetune(classifier(), data(8), None, tuning)
    assert caught.value.code == "ND323"


def _reference(samples: int = 8, shape: tuple[int, ...] = (STEPS, CLASSES)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(samples, *shape))


@pytest.mark.parametrize(
    ("samples", "reference", "code"),
    [
        (Data(data(8).x), None, "ND321"),
        (Data(data(8).x[:, :5], data(8).y), None, "ND502"),
        (Data(np.full((8, 12), np.nan), data(8).y), None, "ND501"),
        (Data(data(8).x[:0], data(8).y[:0]), None, "ND503"),  # type: ignore[index]
        (Data(data(8).x, data(8).y + 5), None, "ND502"),  # type: ignore[operator]
        (Data(data(8).x, np.zeros((8, 2), dtype=np.int64)), None, "ND502"),
        (data(8), _reference(7), "ND502"),
        (data(8), _reference(8, (STEPS, CLASSES + 1)), "ND502"),
        (data(8), np.full((8, STEPS, CLASSES), np.inf), "ND501"),
    ],
)
def test_bad_data(samples: Data, reference: np.ndarray | None, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        finetune(classifier(), samples, reference, Tuning(1))
    assert caught.value.code == code


def test_a_loss_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    own = module.objective

    def broken(*given: object) -> object:
        aim = own(*given)  # type: ignore[arg-type]
        return replace(aim, scale=aim.scale * float("nan"))

    monkeypatch.setattr(module, "objective", broken)
    with pytest.raises(UsageError) as caught:
        finetune(classifier(), data(8), None, Tuning(1))
    assert caught.value.code == "ND322"


def test_sequences_of_another_length_are_trained_on_and_the_program_keeps_its_steps() -> None:
    samples = data(20)
    sequences = Data(np.repeat(samples.x[:, None], STEPS + 3, axis=1), samples.y)
    tuned = finetune(classifier(), sequences, None, Tuning(1, rate=0.05))
    assert tuned.steps == STEPS


# -- the objective -----------------------------------------------------------------------------------------------------


def _objective(decode: str, samples: Data, output: np.ndarray, reference: np.ndarray | None = None, scale: float = 1.0):
    program = replace(classifier(), outputs=(OutputPort("out", "v", decode),))
    population = replace(program.populations[2], scale=scale)
    program = replace(program, populations=(*program.populations[:2], population))
    return objective(program, samples, reference, output, reference_decode(program))


def test_a_readout_that_sums_stands_for_the_sum_over_steps() -> None:
    program = classifier()
    assert reference_decode(program) == "sum"
    leaky = replace(program.populations[2], neuron=replace(program.populations[2].neuron, dv=100))
    program = replace(program, populations=(*program.populations[:2], leaky))
    assert reference_decode(program) == "last"


def test_the_loss_is_cross_entropy_and_divergence_at_the_fitting_temperature() -> None:
    rng = np.random.default_rng(1)
    output = rng.integers(-100, 100, (8, STEPS, CLASSES))
    reference, samples = rng.normal(size=(8, STEPS, CLASSES)) * 3, data(8)
    aim = _objective("last", samples, output, reference, 0.05)
    teacher, student = torch.from_numpy(reference.sum(1)), torch.from_numpy(output[:, -1] * 0.05)
    y = torch.from_numpy(samples.y)
    losses = {t: float(torch.nn.functional.cross_entropy(teacher / t, y)) for t in 2.0 ** (np.arange(-24, 49) / 4)}
    t = min(losses, key=losses.__getitem__)
    hard = torch.nn.functional.cross_entropy(student / t, y)
    soft = torch.nn.functional.kl_div((student / t).log_softmax(-1), (teacher / t).softmax(-1), reduction="batchmean")
    found = aim.loss(torch.from_numpy(output), torch.arange(8))
    assert float(found) == pytest.approx(float((hard + soft) / 2), rel=1e-5)
    picked = torch.tensor([5, 2])
    assert float(aim.loss(torch.from_numpy(output[[5, 2]]), picked)) != pytest.approx(float(found))


def test_most_certain_counts_every_tick_and_the_most_certain_one_again() -> None:
    output = np.random.default_rng(2).integers(-100, 100, (8, STEPS, CLASSES))
    samples = data(8)
    aim = _objective("most-certain", samples, output, scale=0.05)
    logits, y = torch.from_numpy(output * 0.05), torch.from_numpy(samples.y)
    every = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.repeat_interleave(STEPS))
    ticks = most_certain(output, (), 0.05)
    best = torch.nn.functional.cross_entropy(logits[torch.arange(8), torch.from_numpy(ticks)], y)
    found = float(aim.loss(torch.from_numpy(output), torch.arange(8)))
    assert found == pytest.approx(float((every + best) / 2), rel=1e-5)


def test_ctc_takes_the_last_class_as_blank_and_padded_labels() -> None:
    output = np.random.default_rng(3).integers(-100, 100, (4, STEPS, CLASSES))
    labels = np.array([[0, 1], [1, -1], [-1, -1], [0, 0]])
    aim = _objective("ctc", Data(data(4).x, labels), output, scale=0.05)
    # by hand: the probability of all paths of 4 steps that collapse to the labels
    probability = torch.from_numpy(output * 0.05).softmax(-1).numpy()
    total = []
    for sample, wanted in zip(probability, labels, strict=True):
        p = 0.0
        for path in np.ndindex(*(CLASSES,) * STEPS):
            collapsed = [c for i, c in enumerate(path) if (i == 0 or path[i - 1] != c) and c != CLASSES - 1]
            if collapsed == [c for c in wanted if c >= 0]:
                p += math.prod(sample[k, c] for k, c in enumerate(path))
        total.append(-math.log(p) / max(1, (wanted >= 0).sum()))
    assert float(aim.loss(torch.from_numpy(output), torch.arange(4))) == pytest.approx(np.mean(total), rel=1e-4)
