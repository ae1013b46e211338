"""The search for widths: never worse than uniform, the same however it is run, and what it says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import searched_networks as nets
import tiny_ctm
from searched_networks import NETWORKS, request, samples, searched, uniform

from ndeploy.budget import Budget, Search
from ndeploy.data import Data
from ndeploy.errors import NdeployError, UsageError
from ndeploy.ir.program import Program
from ndeploy.ir.serial import to_parts
from ndeploy.pipeline import CompileOptions, quantisation_request
from ndeploy.plugins import methods
from ndeploy.quantizer import Request
from ndeploy.search import measure
from ndeploy.search.fingerprint import fingerprint
from ndeploy.search.journal import Journal
from ndeploy.search.score import reference, score
from ndeploy.search.search import frontier
from ndeploy.summary import summarise


def same(a: Program, b: Program) -> bool:
    """Byte for byte."""
    (tree, arrays), (other, others) = to_parts(a), to_parts(b)
    return (
        tree == other
        and arrays.keys() == others.keys()
        and all(x.dtype == others[n].dtype and np.array_equal(x, others[n]) for n, x in arrays.items())
    )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Request:
    """What is asked for a tiny Continuous Thought Machine with calibration data that have labels."""
    folder = tmp_path_factory.mktemp("ctm")
    choices = tiny_ctm.write(folder / "m.npz", 3, neurons=6, memory=3, iterations=3, width=4, hidden=2, outputs=3)
    x = tiny_ctm.samples(choices, 20)
    np.savez(folder / "d.npz", x=x, y=np.random.default_rng(0).integers(0, 3, 20))
    save = folder / "m.pt"
    tiny_ctm.save(save, tiny_ctm.state(choices, 3), choices.args())
    options = CompileOptions(calibration=folder / "d.npz", method="bit-budget")
    return quantisation_request(save, options)[0]


# -- never worse than uniform ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "bits"), [(0, 2), (1, 2.5), (0, 3), (1, 4)])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_worse_than_uniform_at_the_same_budget(name, seed, bits):
    network = NETWORKS[name](seed)
    data = samples(network, seed=seed)
    found = searched(request(network, data, mean_bits=bits))
    wanted = reference(network, data)
    plain = uniform(request(network, data), math.floor(bits))
    ours, theirs = score(found.program, data, wanted), score(plain.program, data, wanted)
    assert ours.loss <= theirs.loss
    assert found.explanation is not None
    assert (found.explanation.loss, found.explanation.accuracy) == (ours.loss, ours.accuracy)


@pytest.mark.parametrize("bits", [2.5])
def test_a_machine_that_thinks_is_no_worse_than_uniform(machine, bits):
    found = searched(replace(machine, budget=Budget(mean_bits=bits)))
    plain = uniform(machine, math.floor(bits))
    assert machine.network is not None
    assert machine.calibration is not None
    wanted = reference(machine.network, machine.calibration)
    ours = score(found.program, machine.calibration, wanted)
    assert ours.loss <= score(plain.program, machine.calibration, wanted).loss
    assert summarise(found.program).weight_bits_mean <= bits


def test_some_networks_gain_much():
    """Otherwise a search that returns the uniform program would pass all of the above."""
    gained = 0
    for name in NETWORKS:
        network = NETWORKS[name](0)
        data = samples(network)
        wanted = reference(network, data)
        found = searched(request(network, data, mean_bits=2))
        plain = uniform(request(network, data), 2)
        gained += score(found.program, data, wanted).loss < 0.7 * score(plain.program, data, wanted).loss
    assert gained >= 2


# -- the same however it is run ----------------------------------------------------------------------------------------


def test_the_same_request_gives_the_same_program():
    network = nets.recurrent(1)
    data = samples(network)
    one, other = (searched(request(network, data, mean_bits=3)) for _ in range(2))
    assert same(one.program, other.program)
    assert one.explanation == other.explanation


def test_two_workers_find_what_one_does():
    network = nets.dense(1)
    data = samples(network)
    one = searched(request(network, data, mean_bits=3))
    two = searched(request(network, data, search=Search(workers="2"), mean_bits=3))
    assert same(one.program, two.program)
    assert one.explanation is not None
    assert two.explanation is not None
    assert one.explanation.to_json() == two.explanation.to_json()


class _Counted:
    """The measurements that were really made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        plain = measure.measure

        def counted(context, assignment):
            self.made.append(assignment.key())
            return plain(context, assignment)

        monkeypatch.setattr(measure, "measure", counted)


@pytest.mark.parametrize("after", [1, 12])
def test_an_interrupted_search_goes_on_where_it_stopped(tmp_path, monkeypatch, after):
    network = nets.recurrent(2)
    data = samples(network)
    counted = _Counted(monkeypatch)
    whole = searched(request(network, data, mean_bits=3))
    needed = len(counted.made)
    assert len(set(counted.made)) == needed > after
    journal = tmp_path / "search.journal"
    asked = request(network, data, search=Search(journal=str(journal)), mean_bits=3)
    counted.made.clear()

    def interrupt(stage: str) -> None:
        if len(counted.made) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        methods()["bit-budget"].quantize(asked, interrupt)
    assert journal.is_file()
    kept = journal.read_bytes().count(b'"task"')
    assert kept == after
    counted.made.clear()
    resumed = searched(asked)
    assert len(counted.made) == needed - kept
    assert same(resumed.program, whole.program)
    assert resumed.explanation is not None
    assert whole.explanation is not None
    assert replace(resumed.explanation, notes=()) == replace(whole.explanation, notes=())
    assert any(str(kept) in note and "journal" in note for note in resumed.explanation.notes)
    assert not journal.exists()


def test_a_pool_that_cannot_be_had_leaves_the_journal_free(tmp_path):
    network = nets.dense(0)
    journal = tmp_path / "search.journal"
    asked = request(network, samples(network), search=Search(journal=str(journal), workers="none"), mean_bits=3)
    with pytest.raises(UsageError) as refused:
        searched(asked)
    assert refused.value.code == "ND610"
    Journal(str(journal), fingerprint(asked)).close()  # not locked, though the error still holds its frames


@pytest.mark.parametrize(
    "change",
    ["threshold", "compare", "decode", "labels", "scale", "target", "strides"],
)
def test_a_journal_of_anything_else_is_not_taken_over(change):
    network = nets.convolution(0)
    data = samples(network)
    asked = request(network, data, mean_bits=3)
    if change == "threshold":
        neuron = network.nodes["h"]
        other = replace(network, nodes={**network.nodes, "h": replace(neuron, v_threshold=neuron.v_threshold * 1.25)})
        changed = request(other, data, mean_bits=3)
    elif change == "compare":
        changed = request(replace(network, semantics=replace(network.semantics, compare="gt")), data, mean_bits=3)
    elif change == "decode":
        changed = request(replace(network, decode="max"), data, mean_bits=3)
    elif change == "labels":
        changed = request(network, Data(data.x), mean_bits=3)
    elif change == "scale":
        changed = request(network, replace(data, x_scale=2.0), mean_bits=3)
    elif change == "target":
        changed = replace(asked, target=replace(asked.target, features=frozenset()))
    else:
        conv = replace(network.nodes["c"], padding=(1, 2), stride=(2, 3))
        changed = request(replace(network, nodes={**network.nodes, "c": conv}), data, mean_bits=3)
    assert fingerprint(changed) != fingerprint(asked)
    assert fingerprint(request(nets.convolution(0), samples(network), mean_bits=5)) == fingerprint(asked)


# -- labels and answers ------------------------------------------------------------------------------------------------


def test_without_labels_agreement_with_the_float_network_counts_and_is_named():
    network = nets.dense(2)
    told = searched(request(network, samples(network, labelled=False), mean_bits=3)).explanation
    assert told is not None
    assert told.labels == "float model"
    assert told.float_accuracy == 1.0
    assert any("no labels" in note and "float network" in note for note in told.notes)


def test_labels_that_are_no_class_are_named():
    network = nets.dense(2)
    data = samples(network)
    assert data.y is not None
    y = np.where(np.arange(len(data)) < 5, 7, data.y)
    told = searched(request(network, Data(data.x, y), mean_bits=3)).explanation
    assert told is not None
    assert told.labels == "labels"
    assert any(f"5 of {len(data)} labels" in note for note in told.notes)


@pytest.mark.parametrize("labelled", [False, True])
def test_a_network_without_answers_is_compared_by_its_outputs(labelled):
    network = replace(nets.convolution(0), decode="none")
    data = samples(nets.convolution(0), labelled=labelled)
    told = searched(request(network, data, mean_bits=3)).explanation
    assert told is not None
    assert (told.labels, told.accuracy, told.float_accuracy) == ("float model", None, None)
    assert any("no answers" in note for note in told.notes)
    assert told.mean_bits <= 3
    with pytest.raises(UsageError) as refused:
        searched(request(network, data, accuracy_points=1))
    assert refused.value.code == "ND308"


# -- data --------------------------------------------------------------------------------------------------------------


def test_data_that_cannot_be_used():
    network = nets.dense(0)
    data = samples(network)
    x = data.x.astype(float)
    x[1, 0, 0] = np.nan
    assert data.y is not None
    for given, code in (
        (None, "ND305"),
        (Data(data.x[:, :, 1:], data.y), "ND502"),
        (Data(x, data.y), "ND501"),
        (Data(data.x, data.y[:, None]), "ND502"),
        (Data(data.x, np.zeros((24, 3), dtype=np.int64)), "ND502"),
    ):
        with pytest.raises(NdeployError) as refused:
            searched(request(network, given, mean_bits=3))
        assert refused.value.code == code


def test_constant_inputs_have_no_covariance():
    """One sample that never changes: nothing varies, and nothing breaks."""
    network = nets.dense(0)
    x = np.full((1, nets.STEPS, 7), 0.1)
    asked = replace(request(network, Data(x, np.zeros(1, dtype=np.int64)), mean_bits=3), input_settings={})
    found = searched(asked)
    assert summarise(found.program).weight_bits_mean <= 3


def test_few_bits_asked_for_do_not_blur_what_is_observed():
    """Moments are those of a program of 8 bits, whatever width is asked for."""
    network = nets.recurrent(0)
    asked = request(network, samples(network))
    prepare = methods()["bit-budget"].prepare
    few, many = (prepare(replace(asked, bits=bits), lambda stage: None).moments for bits in (2, 8))
    assert few.keys() == many.keys() != set()
    assert all(np.array_equal(few[name].covariance, many[name].covariance) for name in few)


def test_a_frontier_is_a_search_for_every_budget():
    network = nets.recurrent(0)
    data = samples(network)
    drawn = frontier(request(network, data), [3, 2], lambda stage: None, samples(network, seed=5))
    told = drawn.explanation
    assert told is not None
    ours = [p for p in told.frontier if p.method == "bit-budget"]
    assert [p.mean_bits <= b for p, b in zip(ours, (2, 3), strict=True)] == [True, True]
    for point, bits in zip(ours, (2, 3), strict=True):
        alone = searched(request(network, data, mean_bits=bits)).explanation
        assert alone is not None
        assert point.loss <= alone.loss * (1 + 1e-12)
    plain = {p.mean_bits: p for p in told.frontier if p.method == "uniform"}
    wanted = reference(network, data)
    for bits in (2, 5, 8):
        theirs = score(uniform(request(network, data), bits).program, data, wanted)
        assert (plain[bits].loss, plain[bits].accuracy) == (theirs.loss, theirs.accuracy)
    assert all(p.evaluated is not None for p in told.frontier)
