"""Every kind of neuron and synapse in Lava against the oracle, and which process stands for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from lava_cases import assert_equal_to_oracle, chain, needs_lava, random_messages
from ndeploy.targets._lava.plan import describe
from ndeploy.targets._lava.session import Session

from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program, Projection
from ndeploy.neurons import (
    Compare,
    CubaLi,
    CubaLif,
    Delta,
    Input,
    Neuron,
    ProductNeuron,
    Relay,
    Sigma,
    SigmaDelta,
    TernaryLif,
)
from ndeploy.synapses import Conv, Dense, Sparse

pytestmark = needs_lava
N = 6
each = np.arange(N)
GRADED = Input(bits=5, signed=True)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(stall=60) as running:
        yield running


def process_of(program: Program, name: str) -> tuple[str, bool]:
    return next((a.process, a.held) for a in describe(program) if a.name == name)


NATIVE: dict[str, tuple[Neuron, str]] = {
    "lif": (CubaLif(4095, 0, 64 * 300), "LIFReset"),
    "cuba-lif": (CubaLif(700, 163, 64 * 400, bias=-333), "LIFReset"),
    "a parameter a neuron": (CubaLif(each * 600, each * 100, 64 * (each + 50), bias=each * 7), "LIFReset"),
    "bias with exponent": (CubaLif(4095, 20, 64 * 900, bias=40_000 << 1), "LIFReset"),
    "input bias": (CubaLif(900, 20, 64 * 900, input_bias=each - 3), "LIFReset"),
    "negative threshold": (CubaLif(4095, 20, -64), "LIFReset"),
    "wrapping current": (CubaLif(0, 4095, 64 * 131071), "LIFReset"),
    "cuba-li": (CubaLi(300, 20, bias=17), "LIFReset"),
    "saturating membrane": (CubaLi(100, 0), "LIFReset"),
    "ternary": (TernaryLif(4000, 100, -64 * 60, 64 * 50, bias=5), "TernaryLIF"),
    "relay": (Relay(16, vth=20), "GradedVec"),
    "product": (ProductNeuron(16, True, exponent=2, vth=3), "ProdNeuron"),
    "sigma": (Sigma(), "Sigma"),
    "delta": (Delta(vth=40 << 3, spike_exp=2, state_exp=1), "Delta"),
    "delta, accumulated error": (Delta(vth=900, cum_error=True), "Delta"),
    "sigma-delta": (SigmaDelta(vth=30 << 2, bias=(each - 2) << 2, spike_exp=1, state_exp=1), "SigmaDelta"),
    "sigma-delta, identity": (SigmaDelta(vth=200, relu=False, cum_error=True), "SigmaDelta"),
}


@pytest.mark.parametrize("name", NATIVE)
def test_native_neuron(session: Session, name: str) -> None:
    neuron, process = NATIVE[name]
    exponent = 9 if name in ("wrapping current", "saturating membrane") else 0
    program = chain(neuron, source=GRADED, exponent=exponent)
    assert process_of(program, "cell")[0] == process
    result = assert_equal_to_oracle(session, program, random_messages(program))
    expected = result.traces["spikes/cell" if neuron.message.bits else "state/cell/v"]
    assert len(np.unique(expected)) > 1, "the neuron did nothing: the test would prove nothing"


def test_compare_is_a_lif_where_its_membrane_is_gone_after_a_step(session: Session) -> None:
    program = chain(Compare(vth=np.arange(N) + 2, bias=1), weight_bits=2, sign="excitatory")
    assert process_of(program, "cell")[0] == "LIFReset"
    assert_equal_to_oracle(session, program, random_messages(program))


OWN: dict[str, Neuron] = {
    "reset by subtraction": CubaLif(4095, 20, 64 * 90, reset="subtract", reset_amount=64 * 90),
    "delayed reset": CubaLif(4095, 20, 64 * 90, reset="subtract-next", reset_amount=64 * 90),
    "reset to another value": CubaLif(4095, 20, 64 * 90, reset_value=-64 * 30),
    "no reset": CubaLif(4095, 200, 64 * 90, reset="none"),
    "refractory": CubaLif(4095, 20, 64 * 20, refractory=2),
    "threshold between multiples of 64": CubaLif(4095, 20, 64 * 90 - 1),
    "another shift": CubaLif(4095, 20, 90, shift=0),
    "bias of 17 bits": CubaLif(4095, 20, 64 * 90, bias=40_001),
    "membrane sent": CubaLi(300, 20, emit_bits=8, emit_shift=4),
    "thresholds a neuron": TernaryLif(4000, 100, -64 * 60, 64 * (each + 50)),
    "compare with a long memory": Compare(vth=100),
}


@pytest.mark.parametrize("name", OWN)
def test_own_population(session: Session, name: str) -> None:
    program = chain(OWN[name], source=GRADED)
    assert process_of(program, "cell")[0] == "ndeploy.Population"
    assert_equal_to_oracle(session, program, random_messages(program))


def _sparse(seed: int = 3) -> Sparse:
    rng = np.random.default_rng(seed)
    target, source = np.nonzero(rng.random((N, 5)) < 0.6)
    return Sparse(rng.integers(-128, 128, target.size).astype(np.int16), target, source, 5, N)


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("sign", ["mixed", "excitatory", "inhibitory"])
@pytest.mark.parametrize(("bits", "exponent"), [(8, 0), (8, -3), (5, 2), (1, 6), (3, -5)])
def test_dense_keeps_every_mantissa(session: Session, sign: str, bits: int, exponent: int, graded: bool) -> None:
    source = GRADED if graded else Input()
    program = chain(CubaLi(500, 50), source=source, sign=sign, weight_bits=bits, exponent=exponent, steps=5)
    assert process_of(program, "first")[0] == "Dense"
    assert_equal_to_oracle(session, program, random_messages(program), ("native",))


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize(
    ("sparse", "delay", "extra", "process"),
    [
        (True, 1, False, "Sparse"),
        (False, 4, False, "DelayDense"),
        (True, 4, False, "DelaySparse"),
        (False, 2, True, "DelayDense"),
        (True, 1, True, "DelaySparse"),
        (False, 65, False, "ndeploy.Projection"),
    ],
)
def test_synapses(session: Session, graded: bool, sparse: bool, delay: int, extra: bool, process: str) -> None:
    synapses = _sparse() if sparse else Dense(np.random.default_rng(4).integers(-128, 128, (N, 5)).astype(np.int16))
    delays = np.random.default_rng(5).integers(0, 4, synapses.weight.shape) if extra else None
    source = GRADED if graded else Input()
    program = chain(
        CubaLif(500, 50, 64 * 300), synapses, source=source, delay=delay, delays=delays, exponent=-1, offset=delay
    )
    assert process_of(program, "first")[0] == process
    assert_equal_to_oracle(session, program, random_messages(program))


@pytest.mark.parametrize(
    ("synapses", "exponent", "process"),
    [
        (((4, 3, 3, 2), (3, 5, 7), (1, 1), (1, 0), (1, 1), 1), 0, "Conv"),
        (((6, 1, 2, 3), (3, 6, 5), (2, 1), (1, 2), (1, 2), 3), 2, "Conv"),
        (((4, 3, 1, 1), (3, 4, 3), (1, 1), (0, 0), (1, 1), 1), -2, "Sparse"),
        (((4, 1, 3, 3), (2, 6, 5), (1, 2), (1, 1), (2, 1), 2), -1, "Sparse"),
        (((2, 1, 3, 2), (1, 140, 3), (2, 1), (1, 0), (1, 1), 1), 0, "Conv"),
        (((2, 3, 3, 3), (3, 5, 5), (1, 1), (1, 1), (1, 1), 1), 14, "Sparse"),
    ],
)
@pytest.mark.parametrize("graded", [False, True])
def test_convolution(session: Session, synapses: tuple, exponent: int, process: str, graded: bool) -> None:  # type: ignore[type-arg]
    shape, *layout = synapses
    layer = Conv(np.random.default_rng(6).integers(-128, 128, shape).astype(np.int16), *layout)
    neuron = CubaLif(4095, 100, 64 * 200)
    source = GRADED if graded else Input()
    program = chain(
        neuron, layer, shape=layer.out_shape, source=source, source_shape=layer.in_shape, exponent=exponent, steps=4
    )
    assert process_of(program, "first")[0] == process
    assert_equal_to_oracle(session, program, random_messages(program))


@pytest.mark.parametrize("bias", [0, 64 * 50])
def test_recurrence_never_sees_what_was_before_or_after_the_window(session: Session, bias: int) -> None:
    """With a bias the free-running LIF would spike before its offset and between samples, into its own loop."""
    rng = np.random.default_rng(7)
    weight = rng.integers(-60, 60, (N, N)).astype(np.int16)
    base = chain(CubaLif(4095, 200, 64 * 90, bias=bias), offset=3, delay=3)
    program = Program(
        "loop", base.populations, (*base.projections, Projection("loop", "cell", "cell", Dense(weight))), base.inputs,
        base.outputs, base.steps,
    )  # fmt: skip
    assert process_of(program, "cell") == ("LIF", True)
    assert_equal_to_oracle(session, program, random_messages(program, samples=4))


def test_several_chip_steps_a_model_step(session: Session) -> None:
    """Lava's LIF is held between model steps; messages of different delays add up in the meantime."""
    rng = np.random.default_rng(8)
    weights = [Dense(rng.integers(-100, 100, (N, n)).astype(np.int16)) for n in (5, 5, N)]
    program = Program(
        "slow",
        (Population("in", (5,), Input()), Population("cell", (N,), CubaLif(900, 100, 64 * 90, input_bias=4), 2)),
        (
            Projection("early", "in", "cell", weights[0], delay=1),
            Projection("late", "in", "cell", weights[1], delay=2),
            Projection("loop", "cell", "cell", weights[2], delay=3),
        ),
        (InputPort("in"),),
        (OutputPort("cell"),),
        6,
        period=3,
    )
    assert process_of(program, "cell") == ("LIF", True)
    assert_equal_to_oracle(session, program, random_messages(program))


@pytest.mark.parametrize("realisation", ["parallel", "streamed", "embedded"])
def test_product(session: Session, realisation: str) -> None:
    rng = np.random.default_rng(9)
    weight = Dense(rng.integers(-100, 100, (6, 5)).astype(np.int16))
    lif = CubaLif(4095, 0, 64 * 40)
    program = Program(
        "attention",
        (
            Population("in", (5,), Input()),
            Population("q", (2, 3), lif, 1),
            Population("k", (2, 3), lif, 2),
            Population("out", (2, 2), Relay(8), 7),
        ),
        (Projection("to q", "in", "q", weight), Projection("to k", "in", "k", weight, delay=2)),
        (InputPort("in"),),
        (OutputPort("out"),),
        5,
        (
            Product(
                "qk", "q", "k", "out", (2, 3), (2, 3), "id,jd->ij", delay=5, realisation=realisation, stream="d"
            ),
        ),
        period=3,
    )  # fmt: skip
    result = assert_equal_to_oracle(session, program, random_messages(program))
    assert result.traces["spikes/out"].any()


def test_populations_without_any_connection(session: Session) -> None:
    program = Program(
        "apart",
        (Population("in", (2,), Input()), Population("alone", (3,), CubaLif(4095, 0, 64, bias=30))),
        (),
        (InputPort("in"),),
        (OutputPort("alone"),),
        8,
    )
    result = assert_equal_to_oracle(session, program, random_messages(program))
    assert result.traces["spikes/alone"].any()
