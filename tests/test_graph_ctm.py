"""The float reference on trained Continuous Thought Machines against what the public code computed, tick by tick."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from fixtures_path import fixture

from ndeploy import plugins
from ndeploy.graph.read import read_nir
from ndeploy.graph.reference import run
from ndeploy.graph.write import nir_bytes
from ndeploy.ir import network as ir
from ndeploy.settings import Settings

SIGNALS = ("pre", "post", "synch_out", "synch_action", "attention")


@cache
def load(name: str) -> ir.Network:
    path = fixture(f"ctm/{name}/checkpoint.pt")
    converter, contents = plugins.recognise(path)
    return converter.load(path, contents, Settings({}))


@pytest.mark.parametrize(("name", "signals"), [("parity", 5), ("digits", 5), ("sort", 3)])
def test_every_signal_of_every_tick(name, signals):
    """Float32 on both sides: 1e-4, and as much of large values (synchronisation reaches hundreds)."""
    network = load(name)
    golden = np.load(fixture(f"ctm/{name}/trace.npz"))
    values = run(network, golden["x"], trace=True).values
    compared = [signal for signal in SIGNALS if golden[signal].size]
    assert len(compared) == signals
    for signal in compared:
        expected = np.moveaxis(golden[signal], 1, 0)
        found = values[signal].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4, err_msg=signal)


@pytest.mark.parametrize("name", ["parity", "digits", "sort"])
def test_logits_also_after_the_way_through_a_file(name):
    network = load(name)
    golden = np.load(fixture(f"ctm/{name}/reference.npz"))
    expected = np.moveaxis(golden["logits"], 2, 1)
    for again in (network, read_nir(nir_bytes(network))):
        found = next(iter(run(again, golden["x"]).outputs.values())).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
        assert (again.decode, again.answer) == (network.decode, network.answer)


@pytest.mark.parametrize(("name", "file", "whole"), [("parity", "all", 0.982), ("digits", "eval", 0.989)])
def test_accuracy_at_the_most_certain_tick(name, file, whole):
    network, data = load(name), np.load(fixture(f"ctm/{name}/{file}.npz"))
    found = run(network, data["x"]).predictions(network.decode, network.answer)
    right = (found == data["y"]).reshape(len(found), -1).all(axis=1)
    assert right.mean() == pytest.approx(whole, abs=1e-3)


def test_sorted_sequences_count_when_they_are_whole():
    network, data = load("sort"), np.load(fixture("ctm/sort/eval.npz"))
    found = run(network, data["x"]).predictions(network.decode, network.answer)
    n = data["y"].shape[1]
    right = (found[:, :n] == data["y"]).all(axis=1) & (found[:, n:] == -1).all(axis=1)
    assert right.mean() == pytest.approx(0.688, abs=1e-9)
