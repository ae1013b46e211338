"""Graded networks in Lava against the oracle: new kinds, ports, start values, populations that stop, latches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from lava_cases import NEW_KINDS, assert_equal_to_oracle, chain, needs_lava, random_messages, static_attention
from ndeploy.targets._lava.plan import describe
from ndeploy.targets._lava.session import Session

from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLif, Delta, Input, Neuron, ProductNeuron, Relay, Sigma
from ndeploy.synapses import Dense

pytestmark = needs_lava
GRADED = Input(bits=5, signed=True)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(stall=60) as running:
        yield running


def assigned(program: Program, name: str) -> tuple[str, str]:
    return next((a.process, a.reason) for a in describe(program) if a.name == name)


@pytest.mark.parametrize("name", NEW_KINDS)
@pytest.mark.parametrize("period", [1, 3])
def test_new_kind(session: Session, name: str, period: int) -> None:
    program = chain(NEW_KINDS[name], source=GRADED, period=period)
    assert assigned(program, "cell")[0] == "ndeploy.Population"
    result = assert_equal_to_oracle(session, program, random_messages(program))
    assert len(np.unique(result.traces["spikes/cell"])) > 2, "the neuron did nothing: the test would prove nothing"


STOPPING: dict[str, tuple[Neuron, int]] = {
    "relay": (Relay(16), 1),
    "sigma": (Sigma(), 3),
    "cuba-lif": (CubaLif(900, 100, 64 * 90, bias=300), 5),
    "register": (NEW_KINDS["register"], 1),
    "synchrony": (NEW_KINDS["synchrony"], 2),
    "layer-norm": (NEW_KINDS["layer norm"], 1),
}


@pytest.mark.parametrize("name", STOPPING)
@pytest.mark.parametrize("period", [1, 3])
def test_a_population_that_stops_is_never_lavas(session: Session, name: str, period: int) -> None:
    neuron, updates = STOPPING[name]
    base = chain(neuron, source=GRADED, period=period, steps=6)
    stopped = replace(base.populations[1], updates=updates)
    program = replace(base, populations=(base.populations[0], stopped))
    process, reason = assigned(program, "cell")
    assert process == "ndeploy.Population"
    assert f"{updates} of 6 updates" in reason
    result = assert_equal_to_oracle(session, program, random_messages(program))
    messages = result.traces["spikes/cell"]
    assert messages[:, :updates].any()
    assert not messages[:, updates:].any()
    for variable in neuron.state:
        state = result.traces[f"state/cell/{variable}"]
        assert (state[:, updates:] == state[:, updates - 1 : updates]).all()


def test_as_many_updates_as_steps_is_no_limit() -> None:
    base = chain(Relay(16), source=GRADED, steps=6)
    program = replace(base, populations=(base.populations[0], replace(base.populations[1], updates=6)))
    assert assigned(program, "cell")[0] == "GradedVec"


@pytest.mark.parametrize("updates", [1, 2])
def test_an_input_sends_only_its_updates(session: Session, updates: int) -> None:
    base = chain(Sigma(), source=GRADED, steps=5)
    program = replace(base, populations=(replace(base.populations[0], updates=updates), base.populations[1]))
    assert assigned(program, "in")[0] == "RingBuffer"
    assert assigned(program, "cell")[0] == "Sigma"
    result = assert_equal_to_oracle(session, program, random_messages(program))
    assert not result.traces["spikes/in"][:, updates:].any()


@pytest.mark.parametrize(
    ("neuron", "process"),
    [
        (Sigma(start=3), "ndeploy.Population"),
        (Sigma(start=np.array([0, 0, 0, 0, 0, -1])), "ndeploy.Population"),
        (Delta(vth=40, start=7), "ndeploy.Population"),
        (Sigma(bits=12), "Sigma"),
        (Delta(vth=40, bits=12), "Delta"),
    ],
)
def test_sigma_and_delta_with_a_start(session: Session, neuron: Neuron, process: str) -> None:
    """The declared payload is no part of what they compute; where they start is."""
    program = chain(neuron, source=GRADED)
    assert assigned(program, "cell")[0] == process
    assert_equal_to_oracle(session, program, random_messages(program, samples=4))


@pytest.mark.parametrize(("bits", "process"), [(12, "Dense"), (21, "Dense"), (24, "ndeploy.Projection")])
def test_wide_messages_travel_whole(session: Session, bits: int, process: str) -> None:
    """24 bits times 5 weights of 8 bits need more than Lava's 32."""
    program = chain(Relay(32), source=Input(bits, signed=True), exponent=-4)
    assert assigned(program, "first")[0] == process
    assert_equal_to_oracle(session, program, random_messages(program))


def test_24_bits_fit_small_weights(session: Session) -> None:
    weight = np.zeros((6, 5), dtype=np.int16)
    weight[np.arange(5), np.arange(5)] = 1
    program = chain(Relay(25), Dense(weight), source=Input(24, signed=True), weight_bits=2)
    assert assigned(program, "first")[0] == "Dense"
    assert_equal_to_oracle(session, program, random_messages(program))


@pytest.mark.parametrize("realisation", ["parallel", "streamed", "embedded"])
def test_products_keep_what_was_sent_once(session: Session, realisation: str) -> None:
    program = static_attention(realisation)
    result = assert_equal_to_oracle(session, program, random_messages(program))
    context = result.traces["spikes/context"]
    assert context[:, 1:].any()
    assert result.counts.embedded_ops["attention"].min() > 0


@pytest.mark.parametrize("neuron", [Relay(1, signed=False), ProductNeuron(1)])
def test_what_one_declared_bit_does_not_clip_is_recorded_whole(session: Session, neuron: Neuron) -> None:
    result = assert_equal_to_oracle(
        session, chain(neuron, source=GRADED), random_messages(chain(neuron, source=GRADED))
    )
    assert result.traces["spikes/cell"].max() > 127
