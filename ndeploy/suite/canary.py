"""A program so small that every board runs it at once, and whose answer is known: does the board compute?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndeploy.errors import NdeployError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Program, Projection
from ndeploy.ir.result import RunResult
from ndeploy.neurons import CubaLif, Input
from ndeploy.suite.bench import Bench
from ndeploy.suite.measure import Context
from ndeploy.suite.measured import Failure
from ndeploy.synapses import Dense

SECONDS = 30.0
"""A board that takes longer to answer a request hangs. The time in its queue does not count."""
STEPS, SAMPLES = 8, 4
KINDS = ("synaptic_ops", "spikes", "neuron_updates", "embedded_ops")


def program() -> Program:
    """12 -> 8 -> 3 leaky neurons with weights of both signs, delays 1 and 2, currents and potentials that decay."""
    draw = np.random.default_rng(1)

    def weights(rows: int, columns: int) -> Dense:
        return Dense(draw.integers(-32, 48, (rows, columns), dtype=np.int16) * 2)

    return Program(
        name="canary",
        populations=(
            Population("in", (12,), Input()),
            Population("hidden", (8,), CubaLif(du=2048, dv=256, vth=48 << 6), offset=1),
            Population("out", (3,), CubaLif(du=4095, dv=128, vth=32 << 6), offset=2),
        ),
        projections=(
            Projection("in->hidden", "in", "hidden", weights(8, 12)),
            Projection("hidden->out", "hidden", "out", weights(3, 8)),
            Projection("in->out", "in", "out", weights(3, 12), delay=2),
        ),
        inputs=(InputPort("in"),),
        outputs=(OutputPort("out"),),
        steps=STEPS,
    )


def messages() -> dict[str, IntArray]:
    """Spikes of a third of the inputs, (samples, steps, inputs)."""
    draw = np.random.default_rng(2)
    return {"in": (draw.random((SAMPLES, STEPS, 12)) < 1 / 3).astype(np.int64)}


def probe(context: Context) -> Failure | None:
    """Run it on the context's board, and compare with the oracle: None where all is equal. Never raises."""
    from ndeploy import oracle

    asked, given = program(), messages()
    try:
        patient = Bench(replace(context.bench.options, answer_limit=SECONDS))
        with patient.lend("board", None, 1) as (runner, options):
            found = runner(asked, given, trace=True, options=options)
    except NdeployError as error:
        return Failure(error.code, error.message, error.help, error.exit_code, board=True)
    except Exception as error:  # whatever a runner may raise: the board does not compute
        why = f"internal error: {type(error).__name__}: {error}".partition("\n")[0][:300]
        return Failure("ND799", why, "report it", 70, board=True)
    other = _difference(found, oracle.run(asked, given))
    if not other:
        return None
    return Failure("ND665", f"the board computes something else than it must: {other}", "look at the board", 3, True)


def _difference(found: RunResult, wanted: RunResult) -> str:
    """The first array that differs, "" where none does."""
    pairs = [("outputs", found.outputs, wanted.outputs), ("traces", found.traces, wanted.traces)]
    pairs += [(kind, getattr(found.counts, kind), getattr(wanted.counts, kind)) for kind in KINDS]
    for kind, there, here in pairs:
        for name, values in here.items():
            if name not in there or not np.array_equal(there[name], values):
                return f"{kind} of '{name}'"
    return ""
