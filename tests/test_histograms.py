"""Ranges of messages from histograms: what is kept, and what loses least."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from graded_networks import thinker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graded import graded_networks
from test_graph_observe import samples

from ndeploy import histograms as hist
from ndeploy.data import Data
from ndeploy.errors import UsageError
from ndeploy.graph.reference import run
from ndeploy.histograms import Histogram, clip_ranges, kept_share, least_error, percentile
from ndeploy.observe import histograms, observe, ranges
from ndeploy.passes.codings import top
from ndeploy.passes.graded_form import graded_form
from ndeploy.quantizer import Observed


def counted(values: np.ndarray) -> Histogram:
    """Of (groups, values)."""
    largest = np.abs(values).max(axis=1)
    at = np.minimum((np.abs(values) / largest[:, None] * hist.BINS).astype(int), hist.BINS - 1)
    return Histogram(np.stack([np.bincount(row, minlength=hist.BINS) for row in at]), largest)


def error(values: np.ndarray, limit: float, bits: int, is_signed: bool) -> float:
    """Mean square error of a uniform code over +-limit, as `codings` makes it."""
    unit = limit / top(bits, is_signed)
    code = np.clip(np.rint(values / unit), -top(bits, is_signed) if is_signed else 0, top(bits, is_signed))
    return float(((values - code * unit) ** 2).mean())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(network=graded_networks())
def test_a_histogram_counts_every_value_once_whatever_the_batch(network):
    data = Data(samples(network, 7))
    seen = observe(network, data)
    found = histograms(network, data, seen, batch=3)
    again = histograms(network, data, seen, batch=7)
    result = run(network, data.x, trace=True)
    values = {**result.outputs, **result.values}
    for name, histogram in found.items():
        assert np.array_equal(histogram.counts, again[name].counts)
        all_values = np.abs(values[name].reshape(len(data), values[name].shape[1], -1))
        kept = histogram.counts.sum(axis=1)
        # what is the same at every step is put out once
        assert set(kept) in ({7}, {7 * all_values.shape[1]})
        top_bin = np.flatnonzero(histogram.counts.sum(axis=0)).max()
        assert top_bin == (hist.BINS - 1 if all_values.any() else 0)


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_the_range_of_least_error_is_as_good_as_the_best_of_all_ranges(bits, is_signed):
    rng = np.random.default_rng(bits)
    values = np.stack([rng.laplace(size=20000), rng.uniform(-1, 1, 20000), rng.normal(size=20000) ** 3])
    values = values if is_signed else np.abs(values)
    histogram = counted(values)
    share = least_error(histogram, bits, is_signed)
    for row, own, largest in zip(values, share, histogram.largest, strict=True):
        best = min(error(row, s * largest, bits, is_signed) for s in hist.SHARES)
        assert error(row, own * largest, bits, is_signed) <= 1.03 * best + (largest / hist.BINS) ** 2 / 12
    # values spread evenly: the outermost step is half as wide again
    steps = top(bits, is_signed)
    assert abs(share[1] - steps / (steps + 0.5)) < 0.02
    # long tails are clipped
    assert share[2] < share[1] - 0.05 or bits == 8
    assert share[0] < share[1] or bits == 8


def test_more_bits_clip_less():
    histogram = counted(np.random.default_rng(0).laplace(size=(3, 20000)))
    shares = [least_error(histogram, bits, True) for bits in (2, 3, 4, 5, 6, 7, 8, 10)]
    assert all((a <= b).all() for a, b in pairwise(shares))
    assert all(kept_share(a) < kept_share(a + 1) < 1 for a in range(1, 16))


@given(st.integers(0, 2**16), st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_percentile_holds_its_share_and_little_more(seed, share):
    values = np.random.default_rng(seed).normal(size=(2, 3000))
    histogram = counted(values)
    limit = percentile(histogram, share) * histogram.largest
    inside = (np.abs(values) <= limit[:, None]).mean(axis=1)
    assert (inside >= share).all()
    narrower = (np.abs(values) <= (limit - histogram.largest / hist.BINS)[:, None]).mean(axis=1)
    assert (narrower < share).all() or share == 0


def test_ranges_are_narrowed_for_few_bits_only_and_by_channel_where_there_are_many(monkeypatch):
    network = graded_form(thinker(0))
    data = Data(np.random.default_rng(1).normal(size=(40, 3, 5)))
    whole = observe(network, data, steps=4)
    bits = {name: 4 for name in whole if name not in ("k", "q")} | {"k": 16}
    for how in ("percentile", "mse"):
        found = ranges(network, data, 4, how, bits)
        assert found.keys() == whole.keys()
        for name, seen in found.items():
            assert seen.low.shape == whole[name].low.shape
            assert (seen.low >= whole[name].low).all()
            assert (seen.high <= whole[name].high).all()
        for name in ("k", "q"):
            assert np.array_equal(found[name].high, whole[name].high)
        assert (found["synapse"].high < whole["synapse"].high).any()
    assert all(np.array_equal(ranges(network, data, 4, "range", bits)[n].high, whole[n].high) for n in whole)
    monkeypatch.setattr(hist, "GROUPS", 10)
    by_channel = histograms(network, data, {"kv": whole["kv"]}, steps=4)["kv"]
    assert by_channel.counts.shape == (4, hist.BINS)
    assert np.allclose(by_channel.largest, np.maximum(-whole["kv"].low, whole["kv"].high).max(axis=1))
    clipped = clip_ranges(whole, {"kv": by_channel}, "mse", {"kv": 3})["kv"]
    limit = np.maximum(-clipped.low, clipped.high).max(axis=1)
    assert (limit < by_channel.largest).any()


def test_a_value_that_is_always_zero_has_a_range_of_zero():
    seen = {"n": Observed(np.zeros(2), np.array([0.0, 3.0]))}
    found = {"n": Histogram(np.eye(2, hist.BINS, dtype=np.int64) * 9, np.array([0.0, 3.0]))}
    for how in ("percentile", "mse"):
        assert clip_ranges(seen, found, how, {"n": 4})["n"].high[0] == 0


def test_an_unknown_way_to_calibrate_is_refused():
    with pytest.raises(UsageError, match="range, percentile, mse") as refused:
        clip_ranges({}, {}, "entropy", {})
    assert refused.value.code == "ND205"
