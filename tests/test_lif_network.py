"""The published LIF neuron: its NIR file, compiled, spikes when the exact solution and the chip do."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_path import fixture

from ndeploy import oracle
from ndeploy.pipeline import CompileOptions, compile_model


@pytest.mark.parametrize("source", [{"source": "lava"}, {"source": "norse", "dt": "1e-4"}])
def test_the_compiled_neuron_spikes_at_the_published_steps(source):
    folder = fixture("nir/lif")
    options = CompileOptions(steps=1000, settings={**source, "input_scale": "1", "input_bits": "1"})
    program = compile_model(folder / "lif_norse.nir", options).program
    traces = {name: np.loadtxt(folder / f"{name}.csv", delimiter=",") for name in ("lif_exact", "lif_lava_loihi_fixed")}
    events = traces["lif_exact"][:, 0].astype(np.int64).reshape(1, 1000, 1)
    result = oracle.run(program, {program.inputs[0].population: events}, strict=True)
    spikes = np.flatnonzero(result.outputs[program.outputs[0].population].reshape(-1))
    assert spikes.tolist() == np.flatnonzero(traces["lif_exact"][:, 2]).tolist()
    # the chip's columns count chip steps: one more for the projection's delay
    offset = program.population(program.outputs[0].population).offset
    assert (spikes + offset).tolist() == np.flatnonzero(traces["lif_lava_loihi_fixed"][:, 2]).tolist()
