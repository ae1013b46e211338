"""Small .net files with random integers, what their layers compute, by numpy alone, and how tests load and run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from ndeploy.converters import netx

from ndeploy import oracle
from ndeploy.contents import Contents
from ndeploy.decode import encode
from ndeploy.ir import network as net
from ndeploy.ir.result import RunResult
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.settings import Settings

Array = npt.NDArray[np.int64]


def write_net(path: Path, layers: Sequence[Mapping[str, Any]], steps: int | None = None) -> Path:
    """A .net file; nested dicts are groups, texts are stored as lava-dl stores them."""
    with h5py.File(path, "w") as file:
        for i, layer in enumerate(layers):
            _put(file.create_group(f"layer/{i}"), layer)
        if steps is not None:
            file["simulation/tSample"] = steps
    return path


def _put(group: h5py.Group, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _put(group.create_group(key), value)
        elif key == "type" and "neuron" not in group.name:
            group.create_dataset(key, (1,), "S10", [value.encode()])
        else:
            group[key] = value


def lif(kind: str = "CUBA", vth: int = 6, v_decay: int = 400, i_decay: int = 4096) -> dict[str, Any]:
    return {"type": kind, "vThMant": vth, "vDecay": v_decay, "iDecay": i_decay, "refDelay": 1}


def sdn(vth: int = 2, **more: Any) -> dict[str, Any]:
    return {"type": "SDNN", "vThMant": vth, "activation": "relu", **more}


def dense(weight: Array, neuron: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    layer = {
        "type": "dense",
        "shape": np.array([weight.shape[0]]),
        "inFeatures": weight.shape[1],
        "outFeatures": weight.shape[0],
        "weight": weight.astype(np.float32),
        **more,
    }
    return layer if neuron is None else {**layer, "neuron": neuron}


def conv(weight: Array, shape: Sequence[int], neuron: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "conv",
        "shape": np.array(shape),
        "inChannels": weight.shape[1],
        "outChannels": weight.shape[0],
        "kernelSize": np.array(weight.shape[2:4]),
        "weight": weight.astype(np.float32),
        "neuron": neuron,
        **more,
    }


def decayed(x: Array, factor: int) -> Array:
    return np.sign(x) * ((np.abs(x) * factor) >> 12)


def run_lif(a: Array, neuron: Mapping[str, Any], bias: Array | int, *, ge: bool) -> tuple[Array, Array]:
    """(spikes, membranes after the reset) of Lava's LIF for input a (steps, ...)."""
    u, v = np.zeros_like(a[0]), np.zeros_like(a[0])
    spikes, membranes = [], []
    for now in a:
        u = decayed(u, 4096 - neuron["iDecay"]) + (now << 6)
        v = decayed(v, 4096 - neuron["vDecay"]) + u + (np.asarray(bias) << 6)
        fired = v >= neuron["vThMant"] << 6 if ge else v > neuron["vThMant"] << 6
        v = np.where(fired, 0, v)
        spikes.append(fired.astype(np.int64))
        membranes.append(v)
    return np.stack(spikes), np.stack(membranes)


def correlate(
    x: Array, weight: Array, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int
) -> Array:
    """Cross-correlation of x (steps, C, H, W), one output at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    c_out, per_group, kh, kw = weight.shape
    height = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    width = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((len(x), c_out, height, width), dtype=np.int64)
    for o in range(c_out):
        start = o // (c_out // groups) * per_group
        for i in range(height):
            for j in range(width):
                rows = slice(i * stride[0], i * stride[0] + dilation[0] * (kh - 1) + 1, dilation[0])
                columns = slice(j * stride[1], j * stride[1] + dilation[1] * (kw - 1) + 1, dilation[1])
                patch = x[:, start : start + per_group, rows, columns]
                out[:, o, i, j] = (patch * weight[o]).sum(axis=(1, 2, 3))
    return out


def load(path: Path, **settings: str) -> net.Network:
    """The file as a Network, after it was recognised."""
    contents = Contents(path)
    assert netx.detect(path, contents)
    return netx.load(path, contents, Settings(settings))


def run(path: Path, x: npt.NDArray[Any], steps: int, target: str = "loihi2", **settings: str) -> RunResult:
    """One sample x through the compiler and the oracle."""
    compiled = compile_model(path, CompileOptions(target=target, steps=steps, settings=settings))
    return oracle.run(compiled.program, encode(compiled.program, x[None]))
