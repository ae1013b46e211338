"""Held-out Spikformers through the compiler: the three realisations of attention send the same spikes, as the oracle
and Lava do, and the answer is the torch model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ndeploy.targets._lava.runner import LavaRun, execute
from ndeploy.targets._lava.session import Session

from ndeploy import oracle, sim
from ndeploy.decode import encode
from ndeploy.pipeline import CompileOptions, compile_model

from .lava_cases import mismatches, needs_lava
from .tiny_spikformer import TinySpikformer

MODELS: dict[str, tuple[int, dict[str, Any]]] = {
    "one step, eight heads": (1, {"heads": 8, "widths": (2, 3, 4, 16), "depth": 1}),
    "six steps, three channels": (6, {"style": "conv2d", "channels": 3, "ratio": 4}),
    "eight steps, other pools": (8, {"channels": 3, "heads": 4, "widths": (3, 4, 6, 12), "pooling": "0101"}),
}


@needs_lava
@pytest.mark.parametrize("name", MODELS)
def test_realisations_send_the_same_spikes(name: str, tmp_path: Path) -> None:
    steps, parameters = MODELS[name]
    model = TinySpikformer(seed=steps, **parameters).round_to_float32()
    torch.save(model.public_state(), tmp_path / "net.pt")
    x = np.random.default_rng(steps).random((6, parameters.get("channels", 2), 16, 16)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    settings = {
        "heads": str(parameters.get("heads", 2)),
        "image_size": "16",
        "pooling": parameters.get("pooling", "0011"),
    }
    results = {}
    for attention in ("parallel", "streamed", "embedded"):
        options = CompileOptions(
            steps=steps, settings=settings, attention=attention, calibration=tmp_path / "x.npz", target="loihi2"
        )
        program = compile_model(tmp_path / "net.pt", options).program
        messages = encode(program, x)
        results[attention] = sim.run(program, messages, trace=True)
        few = {key: value[:1] for key, value in messages.items()}
        expected = oracle.run(program, few)
        assert not mismatches(expected, sim.run(program, few, trace=True))
        with Session() as session:
            assert not mismatches(expected, execute(session, program, few, LavaRun("fused")))
    first = results["parallel"]
    assert first.counts.spikes
    for attention, result in results.items():
        assert not result.overflow
        for key, value in first.traces.items():
            np.testing.assert_array_equal(result.traces[key], value, err_msg=f"{attention} {key}")
    answer = model(torch.as_tensor(x).double().expand(steps, *x.shape)).argmax(-1).numpy()
    assert (first.predictions == answer).mean() >= 0.66
