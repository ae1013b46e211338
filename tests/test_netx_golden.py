"""lava-dl's own NetX networks: golden spikes and currents, and what netx/hdf5.py builds of the trained ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ndeploy.ir import network as net
from ndeploy.neurons import CubaLi, Delta, Sigma, SigmaDelta

from .fixtures_path import fixture
from .tiny_netx import load, run

Ints = npt.NDArray[np.int64]


def _events(events: npt.NDArray[np.float64], steps: int) -> Ints:
    """lava-dl's event files: (neuron, polarity, time in ms), to nearest step."""
    dense_ = np.zeros((steps, 200), dtype=np.int64)
    time = np.rint(events[:, 2]).astype(np.int64)
    inside = time < steps
    dense_[time[inside], events[inside, 0].astype(np.int64)] = 1
    return dense_


def _oxford(steps: int, **settings: str) -> int:
    """Output spikes that differ from the golden ones, which are two steps late: SLAYER delays each layer's by one."""
    folder = fixture("netx/oxford")
    x = _events(np.load(folder / "input.npy"), steps).astype(np.uint8)
    golden = _events(np.load(folder / "ground_truth.npy"), steps)
    found = run(folder / "network.net", x, steps, **settings).traces["spikes/layer1"][0]
    assert golden[2:].sum() > steps
    return int((found[:-2] != golden[2:]).sum())


def test_oxford_equals_its_golden_spikes() -> None:
    assert _oxford(300) == 0


@pytest.mark.long
def test_oxford_equals_its_golden_spikes_to_the_end() -> None:
    assert _oxford(2000) == 0


def test_oxford_needs_the_comparison_of_its_trainer() -> None:
    assert _oxford(300, compare="gt") > 100


def test_tinynet_equals_its_golden_values_layer_by_layer() -> None:
    folder = fixture("netx/tinynet")
    bias = np.load(folder / "input_bias.npy").transpose(2, 1, 0)  # lava-dl keeps images as (W, H, C)
    result = run(folder / "tiny.net", bias, 15)

    def golden(name: str) -> Ints:
        """(steps, C, H, W), from the first step that the layers compute on."""
        return np.moveaxis(np.load(folder / f"{name}.npy")[0], -1, 0)[1:].astype(np.int64)

    for name, layer in (("input", 0), ("layer1", 1), ("output", 2)):
        assert golden(name).sum() > 50
        np.testing.assert_array_equal(result.traces[f"spikes/layer{layer}"][0], golden(name))
    np.testing.assert_array_equal(result.traces["state/layer1/u"][0], golden("current") << 6)


def test_tinynets_kernel_is_not_flipped() -> None:
    folder = fixture("netx/tinynet")
    node = load(folder / "tiny.net").nodes["layer1.weight"]
    assert isinstance(node, net.Conv)
    assert node.integer is not None
    lava = np.load(folder / "layer1_kernel.npy")  # (C_out, W, H, C_in), for a true convolution
    np.testing.assert_array_equal(node.weight * 2**node.integer.exponent, lava.transpose(0, 3, 2, 1)[:, :, ::-1, ::-1])


def test_pilotnet_lif_has_the_published_shapes() -> None:
    network = load(fixture("netx/pilotnet-lif/network.net"))
    shapes = [n.shape for n in network.nodes.values() if isinstance(n, net.IntegerNeuron)]
    assert shapes[:3] == [(3, 66, 200), (24, 32, 99), (36, 15, 49)]
    assert shapes[-1] == (1,)
    assert network.steps == 16
    last = network.nodes["layer10"]
    assert isinstance(last, net.IntegerNeuron)
    assert isinstance(last.neuron, CubaLi), "a threshold that cannot be passed makes a readout"
    source = network.nodes["input"]
    assert isinstance(source, net.Input)
    image = np.load(fixture("netx/pilotnet-lif/image.npy"))
    assert source.whole is not None
    assert source.whole[0] <= image.min()
    assert image.max() <= source.whole[1]


def test_pilotnet_sdnn_is_built_as_lava_dl_builds_it() -> None:
    network = load(fixture("netx/pilotnet-sdnn/network.net"))
    neurons = [n.neuron for n in network.nodes.values() if isinstance(n, net.IntegerNeuron)]
    assert [type(n) for n in neurons] == [Delta, *[SigmaDelta] * 8, Sigma]
    second = neurons[1]
    assert isinstance(second, SigmaDelta)
    assert (second.vth, second.spike_exp, second.state_exp, second.relu) == (6 << 12, 6, 6, True)
    assert np.asarray(second.bias).shape == (24, 1, 1)
