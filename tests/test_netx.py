"""lava-dl NetX files: every layer type against numpy, bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ndeploy.converters import netx

from ndeploy.contents import Contents
from ndeploy.errors import NdeployError, RefusedError, UsageError
from ndeploy.ir import network as net
from ndeploy.neurons import CubaLif
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.settings import Settings

from .tiny_netx import conv, correlate, dense, lif, load, run, run_lif, sdn, write_net

Ints = npt.NDArray[np.int64]


def _spikes(rng: np.random.Generator, *shape: int, rate: float = 0.3) -> Ints:
    return (rng.random(shape) < rate).astype(np.int64)


def _even(rng: np.random.Generator, *shape: int, top: int = 20) -> Ints:
    return 2 * rng.integers(-top, top + 4, shape)


# -- every layer type --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["CUBA", "LOIHI"])
def test_dense_layers(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(1)
    w0, w1, b1 = _even(rng, 9, 6), _even(rng, 4, 9), rng.integers(-3, 9, 4)
    n0, n1 = lif(kind, 20), lif(kind, 10, 0, 3000)
    path = write_net(tmp_path / "a.net", [dense(w0, n0), dense(w1.reshape(-1).reshape(4, 9), n1, bias=b1)])
    x = _spikes(rng, 12, 6)
    result = run(path, x, 12)
    s0, v0 = run_lif(x @ w0.T, n0, 0, ge=kind == "CUBA")
    s1, _ = run_lif(s0 @ w1.T, n1, b1, ge=kind == "CUBA")
    assert 0 < s1.mean() < 1
    np.testing.assert_array_equal(result.traces["spikes/layer0"][0], s0)
    np.testing.assert_array_equal(result.traces["state/layer0/v"][0], v0)
    np.testing.assert_array_equal(result.traces["spikes/layer1"][0], s1)
    assert result.predictions is not None
    assert result.predictions[0] == s1.sum(axis=0).argmax()


def test_input_conv_flatten_dense(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    kernel, w = _even(rng, 4, 1, 3, 2), _even(rng, 3, 4 * 3 * 3)
    n = [lif("LOIHI", v, 800) for v in (25, 18, 30)]
    bias = rng.integers(-4, 12, 4)
    geometry: dict[str, Any] = {"stride": np.array([2, 1]), "padding": np.array([1, 0]), "dilation": 1, "groups": 2}
    layers = [
        {"type": "input", "shape": np.array([2, 5, 4]), "weight": [36.0], "bias": [34.0], "neuron": n[0]},
        conv(kernel[..., None], (4, 3, 3), n[1], bias=bias.astype(np.float32), **geometry),
        {"type": "flatten", "shape": np.array([36, 1, 1])},
        dense(w, n[2]),
    ]
    path = write_net(tmp_path / "a.net", layers, steps=9)
    assert load(path).steps == 9
    x = rng.integers(-2, 71, (2, 5, 4))
    result = run(path, x, 9)
    s0, _ = run_lif(np.repeat(x[None], 9, axis=0), {**n[0], "iDecay": 4096}, 0, ge=False)
    s1, _ = run_lif(correlate(s0, kernel, (2, 1), (1, 0), (1, 1), 2), n[1], bias[:, None, None], ge=False)
    s2, _ = run_lif(s1.reshape(9, -1) @ w.T, n[2], 0, ge=False)
    assert 0 < s2.mean() < 1
    for i, (layer, s) in enumerate(((0, s0), (1, s1), (3, s2))):
        np.testing.assert_array_equal(result.traces[f"spikes/layer{layer}"][0], s, err_msg=str(i))


def test_images_as_input(tmp_path: Path) -> None:
    w = _even(np.random.default_rng(3), 2, 4)
    layers = [
        {"type": "input", "shape": np.array([4]), "weight": 10.0, "bias": 3.0, "neuron": lif("LOIHI", 9)},
        dense(w, lif("LOIHI", 9)),
    ]
    path = write_net(tmp_path / "a.net", layers)
    x = np.array([0.0, 0.25, 0.5, 1.0])
    whole = run(path, (2 * 10 * x - 10 + 3).astype(np.int64), 7)
    image = run(path, x, 7, input="image")
    for name in ("spikes/layer0", "state/layer0/v", "spikes/layer1"):
        np.testing.assert_array_equal(whole.traces[name], image.traces[name])


def test_pool_and_average(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    n0, n1 = lif("CUBA", 20), lif("CUBA", 60)
    kernel = _even(rng, 2, 1, 1, 1, top=30) + 40
    layers: list[dict[str, Any]] = [
        {"type": "input", "shape": np.array([1, 4, 6])},
        conv(kernel, (2, 4, 6), n0, stride=1, padding=0, dilation=1, groups=1),
        {
            "type": "pool",
            "shape": np.array([2, 2, 3]),
            "kernelSize": np.array([2, 2]),
            "stride": np.array([2, 2]),
            "padding": np.array([0, 0]),
            "dilation": np.array([1, 1]),
            "weight": np.full((1, 1, 2, 2), 34.0),
            "neuron": n1,
        },
        {"type": "average", "shape": np.array([4, 1, 1])},
    ]
    path = write_net(tmp_path / "a.net", layers)
    x = _spikes(rng, 10, 1, 4, 6, rate=0.5)
    result = run(path, x, 10)
    s0, _ = run_lif(correlate(x, kernel, (1, 1), (0, 0), (1, 1), 1), n0, 0, ge=True)
    pooled = 34 * s0.reshape(10, 2, 2, 2, 3, 2).sum(axis=(3, 5))
    s1, _ = run_lif(pooled, n1, 0, ge=True)
    counts = s1.reshape(10, 4, 3).sum(axis=2)
    assert 0 < s1.mean() < 1
    np.testing.assert_array_equal(result.traces["spikes/layer2"][0], s1)
    np.testing.assert_array_equal(result.outputs["layer3"][0], counts)
    assert result.predictions is not None
    assert result.predictions[0] == counts.sum(axis=0).argmax()


def _late(s: Ints, delay: Ints) -> Ints:
    """Spikes (steps, n), neuron i's late by delay[i] steps."""
    out = np.zeros_like(s)
    for i, d in enumerate(delay):
        out[d:, i] = s[: len(s) - d, i]
    return out


def test_delays_of_spikes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    w0, w1, delay = _even(rng, 5, 4), _even(rng, 3, 5), rng.integers(0, 5, 5)
    n = lif("CUBA", 12)
    path = write_net(tmp_path / "a.net", [dense(w0, n, delay=delay + 0.25), dense(w1, n, delay=np.array([7.0]))])
    x = _spikes(rng, 14, 4, rate=0.5)
    result = run(path, x, 14)
    s0, _ = run_lif(x @ w0.T, n, 0, ge=True)
    s1, _ = run_lif(_late(s0, delay) @ w1.T, n, 0, ge=True)
    assert delay.any()
    np.testing.assert_array_equal(result.traces["spikes/layer1"][0], s1)
    assert "dropped" in load(path).settings


def test_delays_before_an_average(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    w, delay = _even(rng, 4, 5), np.array([0, 2, 1, 3])
    n = lif("CUBA", 12)
    path = write_net(tmp_path / "a.net", [dense(w, n, delay=delay), {"type": "average", "shape": [2]}])
    x = _spikes(rng, 12, 5, rate=0.5)
    s, _ = run_lif(x @ w.T, n, 0, ge=True)
    counts = _late(s, delay).reshape(12, 2, 2).sum(axis=2)
    np.testing.assert_array_equal(run(path, x, 12).outputs["layer1"][0], counts)


def test_delays_of_channels_before_a_kernel(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    first, second, delay = _even(rng, 4, 1, 1, 1) + 30, _even(rng, 2, 2, 1, 2), np.array([0, 2, 1, 3])
    n = lif("CUBA", 12)
    plain: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1}
    layers = [
        {"type": "input", "shape": np.array([1, 2, 3])},
        conv(first, (4, 2, 3), n, groups=1, delay=delay, **plain),
        conv(second, (2, 2, 2), n, groups=2, **plain),
    ]
    x = _spikes(rng, 12, 1, 2, 3, rate=0.5)
    result = run(write_net(tmp_path / "a.net", layers), x, 12)
    s0, _ = run_lif(correlate(x, first, (1, 1), (0, 0), (1, 1), 1), n, 0, ge=True)
    late = _late(s0.reshape(12, -1), np.repeat(delay, 6)).reshape(s0.shape)
    s1, _ = run_lif(correlate(late, second, (1, 1), (0, 0), (1, 1), 2), n, 0, ge=True)
    assert 0 < s1.mean() < 1
    np.testing.assert_array_equal(result.traces["spikes/layer2"][0], s1)


def test_sigma_delta_layers(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    w0, w1, bias = _even(rng, 5, 4), _even(rng, 2, 5), rng.integers(-20, 40, 5)
    layers = [
        {"type": "input", "shape": np.array([4]), "neuron": sdn(3)},
        dense(w0, sdn(5), bias=bias),
        dense(w1, sdn(5, sigma_output=True)),
    ]
    x = rng.integers(-60, 60, (8, 4)).cumsum(axis=0) // 8
    result = run(write_net(tmp_path / "a.net", layers), x, 8)

    def delta(act: Ints, vth: int) -> Ints:
        """Lava's delta: what passed the threshold, 6 bits narrower."""
        sent, before, residue = [], np.zeros_like(act[0]), np.zeros_like(act[0])
        for now in act:
            d = now - before + residue
            s = np.where(np.abs(d) >= vth << 12, d, 0)
            residue, before = d - s, now
            sent.append(s >> 6)
        return np.stack(sent)

    s0 = delta(x << 12, 3)
    s1 = delta(np.maximum((s0 @ w0.T).cumsum(axis=0) + (bias << 12), 0), 5)
    out = (s1 @ w1.T).cumsum(axis=0)
    assert (s1 == 0).any()
    assert (s1 != 0).any()
    np.testing.assert_array_equal(result.traces["spikes/layer1"][0], s1)
    np.testing.assert_array_equal(result.outputs["layer2"][0], out)


def test_a_readout_without_neuron_sums(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    w = _even(rng, 3, 4)
    x = _spikes(rng, 6, 4)
    result = run(write_net(tmp_path / "a.net", [dense(w, None)]), x, 6)
    np.testing.assert_array_equal(result.outputs["layer0"][0], (x @ w.T).cumsum(axis=0) << 6)
    assert result.predictions is not None
    assert result.predictions[0] == (x @ w.T).sum(axis=0).argmax()


@pytest.mark.parametrize(
    ("weights", "bits", "exponent", "sign"),
    [
        ([-256, 254, 2], 8, 1, "mixed"),
        ([-12, 8, 4], 3, 2, "mixed"),
        ([255, 3, 0], 8, 0, "excitatory"),
        ([-255, -3, 0], 8, 0, "inhibitory"),
        ([-255, 3, 0], 9, 0, "mixed"),
        ([0, 0, 0], 2, 0, "mixed"),
        ([64, 64, 0], 2, 6, "mixed"),
    ],
)
def test_weights_are_stored_whole(tmp_path: Path, weights: list[int], bits: int, exponent: int, sign: str) -> None:
    node = load(write_net(tmp_path / "a.net", [dense(np.array([weights]), lif())])).nodes["layer0.weight"]
    assert isinstance(node, net.Linear)
    assert node.integer is not None
    assert (node.integer.bits, node.integer.exponent, node.integer.sign) == (bits, exponent, sign)
    np.testing.assert_array_equal(node.weight * 2**exponent, [weights])


# -- what is refused ---------------------------------------------------------------------------------------------------

W = np.array([[2, -4, 6]])
REFUSED: list[tuple[str, list[dict[str, Any]], str, str]] = [
    ("type", [{"type": "convT", "shape": [1]}], "ND132", "convT"),
    ("neuron", [dense(W, lif("RF"))], "ND132", "RF"),
    ("recurrent", [dense(W, lif(), weight_rec=np.eye(1))], "ND132", "weight_rec"),
    ("exponent", [dense(W, {**lif(), "wgtExp": 2})], "ND132", "wgtExp"),
    ("fraction", [dense(W + 0.5, lif())], "ND131", "whole"),
    ("nan", [dense(W, {**lif(), "vThMant": np.nan})], "ND304", "vThMant"),
    ("missing", [{"type": "dense", "shape": [1], "neuron": lif()}], "ND131", "weight"),
    ("decay", [dense(W, lif(v_decay=5000))], "ND131", "vDecay"),
    ("shapes", [dense(W, lif()), dense(W, lif())], "ND131", "take 3 values"),
    ("shape", [dense(W, lif(), bias=np.ones(2))], "ND131", "bias"),
    ("delay", [dense(W, lif(), delay=[63.0]), dense(W[:, :1], lif())], "ND131", "delays"),
    ("wide", [dense(np.array([[300, -2, 0]]), lif())], "ND301", "300"),
    ("unstated", [conv(np.ones((1, 1, 1, 1)), (1, 2, 2), lif())], "ND204", "input_shape"),
    ("average", [dense(np.ones((3, 3)), lif()), {"type": "average", "shape": [2]}], "ND131", "groups"),
    (
        "kernel",
        [{"type": "input", "shape": [1, 4, 4]}, conv(np.ones((1, 1, 2, 2)), (1, 2, 2), lif(), stride=1)],
        "ND131",
        "says its shape",
    ),
    (
        "pool",
        [
            {"type": "input", "shape": [1, 5, 4]},
            {
                "type": "pool",
                "shape": [1, 3, 2],
                "kernelSize": [2, 2],
                "stride": [2, 2],
                "weight": np.ones(4),
                "neuron": lif(),
            },
        ],
        "ND132",
        "tile",
    ),
]


@pytest.mark.parametrize(("layers", "code", "word"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refusals_name_the_layer(tmp_path: Path, layers: list[dict[str, Any]], code: str, word: str) -> None:
    with pytest.raises(NdeployError) as error:
        load(write_net(tmp_path / "a.net", layers))
    assert error.value.code == code
    assert word in error.value.message + error.value.help
    assert isinstance(error.value, RefusedError if code in ("ND132", "ND301") else UsageError)


def test_truncated_and_damaged_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    whole = write_net(tmp_path / "a.net", [dense(_even(rng, 9, 6), lif()), dense(_even(rng, 3, 9), lif())]).read_bytes()
    path = tmp_path / "b.net"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        try:
            recognised = netx.detect(path, Contents(path))
        except UsageError as error:
            assert error.code == "ND121"  # noqa: PT017 - most cuts are already noticed by the look at the file
            continue
        if recognised:
            with pytest.raises(UsageError):
                netx.load(path, Contents(path), Settings({}))


def test_integer_program_weights_keep_their_signs(tmp_path: Path) -> None:
    path = write_net(tmp_path / "a.net", [dense(np.array([[255, 3, 1]]), lif())])
    compiled = compile_model(path, CompileOptions(steps=2))
    assert compiled.program.projections[0].sign == "excitatory"
    neuron = compiled.program.population("layer0").neuron
    assert isinstance(neuron, CubaLif)
    assert neuron.vth == (6 << 6) - 1
