"""Time lava-nc 0.10.0 itself on a benchmark network: its own processes, its own runtime. simulator.py runs it.

    python benchmarks/peer_lava.py NETWORK.npz      ->  one line of JSON on stdout

Only numpy and Lava are imported. Start-up is not counted: steps are timed in a second run of the same network.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

REPEATS = 3


def main(path: str) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "targets" / "_lava"))
    from compatibility import import_lava

    import_lava()
    _mend_reshape()
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.conv.process import Conv
    from lava.proc.dense.process import Dense
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.proc.lif.process import LIF

    with np.load(path) as data:
        net = dict(data)
    spikes = net["input"]
    steps, depth = len(spikes), int(net["layers"])
    shape = spikes.shape[1:]
    # Lava keeps (width, height, channels), a convolution's weight is (out, width, height, in), and it convolves: the
    # kernel is turned round
    frames = spikes.transpose(0, 3, 2, 1) if len(shape) == 3 else spikes
    source = Source(data=np.moveaxis(frames, 0, -1).astype(np.int32))
    before: Any = source.s_out
    for i in range(depth):
        weight = net[f"weight{i}"].astype(np.int32)
        if weight.ndim == 4:
            stride, padding = net[f"geometry{i}"]
            c, h, w = net[f"in_shape{i}"]
            synapses = Conv(
                weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
                input_shape=(int(w), int(h), int(c)),
                stride=tuple(int(x) for x in stride[::-1]),
                padding=tuple(int(x) for x in padding[::-1]),
            )
        else:
            if len(before.shape) == 3:
                w, h, c = before.shape
                weight = weight.reshape(len(weight), c, h, w).transpose(0, 3, 2, 1).reshape(len(weight), -1)
                before = before.flatten()
            # even weights pass Lava's 8-bit mixed-sign truncation unchanged
            synapses = Dense(weights=weight)
        before.connect(synapses.s_in)
        vth, dv = (int(x) for x in net[f"neuron{i}"])
        neurons = LIF(shape=synapses.a_out.shape, du=4095, dv=dv, vth=vth // 64)
        synapses.a_out.connect(neurons.a_in)
        before = neurons.s_out
    sink = Sink(shape=before.shape, buffer=steps + depth)
    before.connect(sink.a_in)
    began = time.perf_counter()
    source.run(condition=RunSteps(num_steps=steps + depth), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    first = time.perf_counter() - began
    received = sink.data.get()[..., depth:]
    shortest = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        source.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        shortest = min(shortest, time.perf_counter() - began)
    source.stop()
    print(json.dumps({"seconds": shortest, "first_run_seconds": first, "output": received.T.astype(int).tolist()}))


def _reshape(value: Any, *, shape: tuple[int, ...]) -> Any:
    return np.reshape(value, shape)


def _mend_reshape() -> None:
    """Lava's flatten calls numpy's reshape(newshape=), which numpy 2.4 no longer has."""
    from lava.magma.core.process.ports.ports import ReshapePort

    ReshapePort.get_transform_func_fwd = lambda port: partial(_reshape, shape=port.shape)
    ReshapePort.get_transform_func_bwd = lambda port: partial(_reshape, shape=port.old_shape)


if __name__ == "__main__":
    main(sys.argv[1])
