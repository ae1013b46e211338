"""Baselines and NeuroBench's metrics of random programs over the whole IR: whole, ordered, and true to the run."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_programs import Case, cases

from ndeploy import sim
from ndeploy.energy.baselines import baselines
from ndeploy.energy.neurobench import compute, has_membrane
from ndeploy.energy.workload import workload

RELAXED = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@RELAXED
@given(st.one_of(cases(), cases(graded=True)))
def test_rows_of_any_program(case: Case) -> None:
    program, messages = case
    activity = sim.run(program, messages, kernels="numpy", activity=True).activity
    assert activity is not None
    rows = baselines(program, activity)
    assert len(rows) == 6
    for row in rows:
        assert all(math.isfinite(x) and x >= 0 for x in (row.energy.low, row.energy.nominal, row.energy.high))
        assert row.energy.low <= row.energy.nominal * (1 + 1e-12)
        assert row.energy.nominal <= row.energy.high * (1 + 1e-12)
        assert math.isclose(sum(row.terms.values()), row.energy.nominal, rel_tol=1e-9, abs_tol=1e-30)


@RELAXED
@given(st.one_of(cases(), cases(graded=True)))
def test_visits_and_metrics_of_any_program(case: Case) -> None:
    program, messages = case
    run = sim.run(program, messages, kernels="numpy", activity=True, trace=True)
    assert run.activity is not None
    names = {j.name for j in program.projections}
    for layer in workload(program, run.activity).layers:
        if layer.name in names:
            assert math.isclose(layer.visits, float(np.mean(run.counts.synaptic_ops[layer.name])), rel_tol=1e-12)
    found = compute(program, run.activity, run.traces)
    assert 0 <= found.effective_acs + found.effective_macs <= found.dense
    assert 0 <= found.activation_sparsity <= 1
    assert all(0 <= value <= 1 for value in found.by_layer.values())
    assert found.membrane_updates is not None
    assert found.membrane_updates <= found.neuron_updates
    size = sum(p.size for p in program.populations if has_membrane(p.neuron))
    assert found.membrane_updates >= size
