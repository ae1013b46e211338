"""What graded networks need of a target: each constraint refuses what breaks it, by object, value and remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lava_cases import NEW_KINDS, chain, static_attention

from ndeploy.check import check
from ndeploy.check_graded import alpha_bound
from ndeploy.errors import RefusedError
from ndeploy.fixed import STATE_MAX
from ndeploy.ir.program import Program
from ndeploy.neurons import Affine, CubaLif, Gate, Input, LayerNorm, Register, Sigma, Synchrony
from ndeploy.plugins import targets
from ndeploy.synapses import Dense
from ndeploy.target import Target

GRADED = Input(bits=5, signed=True)
TABLE = np.full((12, 6), 1 << 15)


def without(name: str, *features: str) -> Target:
    target = targets()[name]
    kept = tuple(f for f in target.features.values if f not in features)
    return replace(target, features=replace(target.features, values=kept))


def stopped(program: Program, updates: int) -> Program:
    last = replace(program.populations[-1], updates=updates)
    return replace(program, populations=(*program.populations[:-1], last))


@pytest.mark.parametrize("name", NEW_KINDS)
def test_loihi2_and_lava_have_every_kind(name: str) -> None:
    program = chain(NEW_KINDS[name], source=GRADED)
    assert [d.code for d in check(program, targets()["loihi2"])] == ["ND420"]
    assert check(program, targets()["lava"]) == ()


@pytest.mark.parametrize("name", [name for name in NEW_KINDS if not name.startswith(("sigma", "delta"))])
def test_loihi1_says_what_graded_networks_need(name: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check(chain(NEW_KINDS[name]), targets()["loihi1"])
    assert refused.value.code == "ND403"
    assert f"population 'cell' ({NEW_KINDS[name].kind}) on loihi1" in refused.value.message
    assert "graded messages" in refused.value.message
    assert refused.value.help is not None
    assert "--target loihi2" in refused.value.help


@pytest.mark.parametrize("realisation", ["parallel", "streamed", "embedded"])
def test_a_static_attention_fits_loihi2(realisation: str) -> None:
    program = static_attention(realisation)
    assert [d.code for d in check(program, targets()["loihi2"])] == ["ND420"]
    assert check(program, targets()["lava"]) == ()


def _narrow(**changes: Any) -> Program:
    neuron = {"bits": 12, "factor": 4096, "table": TABLE, "shift": 12, **changes}
    return chain(Synchrony(**neuron), Dense(np.eye(6, 5, dtype=np.int16)), source=Input(8, signed=True))


@pytest.mark.parametrize(
    ("made", "code", "words"),
    [
        (chain(Affine(8, True, 1 << 16)), "ND411", ("multiplier 65536", "0 to 65535")),
        (chain(Affine(8, True, np.array([1, 2, -1, 3, 4, -5]))), "ND411", ("multiplier -1 (2 of 6 values)",)),
        (chain(Gate(8, gate_multiplier=70_000)), "ND411", ("gate_multiplier 70000",)),
        (chain(Gate(8, gate_bias=STATE_MAX + 1)), "ND411", ("gate_bias 8388608",)),
        (chain(Affine(8, bias=-STATE_MAX - 1)), "ND411", ("bias -8388608",)),
        (chain(LayerNorm(8, (6,), 0, 1, gain=-65536)), "ND411", ("gain -65536",)),
        (_narrow(table=np.full((12, 6), 65536)), "ND411", ("table 65536 (72 of 72 values)",)),
        (_narrow(factor=4097), "ND411", ("factor 4097", "0 to 4096")),
        (chain(Sigma(start=1 << 23)), "ND411", ("start 8388608",)),
        (chain(Register(33)), "ND403", ("33-bit signed message", "32 bits")),
        (chain(Sigma(bits=33)), "ND403", ("33-bit signed message",)),
    ],
)
def test_values_that_do_not_fit(made: Program, code: str, words: tuple[str, ...]) -> None:
    for name in ("loihi2",) if code == "ND403" else ("loihi2", "lava"):
        with pytest.raises(RefusedError) as refused:
            check(made, targets()[name])
        assert refused.value.code == code
        for word in ("population 'cell'", *words):
            assert word in refused.value.message


def test_an_embedded_population_needs_the_processor_and_its_two_steps() -> None:
    program = static_attention()
    with pytest.raises(RefusedError) as refused:
        check(program, without("loihi2", "embedded-processor"))
    assert refused.value.code == "ND403"
    assert "population 'attention' (softmax)" in refused.value.message
    assert "72 operations" in refused.value.message
    base = chain(NEW_KINDS["softmax"], source=GRADED)
    onto = replace(
        base.projections[0], name="on", source="cell", target="next", synapses=Dense(np.eye(6, dtype=np.int16))
    )
    following = replace(base.populations[1], name="next", neuron=Affine(8), offset=3)
    for delay in (1, 2):
        made = replace(
            base,
            populations=(*base.populations, following),
            projections=(*base.projections, replace(onto, delay=delay)),
        )
        if delay == 2:
            check(made, targets()["loihi2"])
            continue
        with pytest.raises(
            RefusedError, match=r"projection 'on' on loihi2: .*delay 1 from 'cell'; limit: 2"
        ) as refused:
            check(made, targets()["loihi2"])
        assert refused.value.code == "ND411"


def test_stopping_and_latching_are_features() -> None:
    lif = stopped(chain(CubaLif(4095, 100, 6400), steps=6), 2)
    with pytest.raises(RefusedError, match=r"'cell'.*2 of 6 updates") as refused:
        check(lif, targets()["loihi1"])
    assert refused.value.code == "ND403"
    assert check(stopped(lif, 6), targets()["loihi1"]) == ()
    with pytest.raises(RefusedError, match=r"product 'scores'.*operand 'k' sent in 1 of 6 model steps"):
        check(static_attention(), without("loihi2", "hold-and-release"))
    check(static_attention("embedded"), without("loihi2", "hold-and-release"))


def test_a_port_must_exist() -> None:
    base = chain(Affine(8), source=GRADED)
    wrong = replace(base, projections=(replace(base.projections[0], port="gate"),))
    with pytest.raises(RefusedError, match=r"port 'gate' of 'cell'; limit: ports of affine: in"):
        check(wrong, targets()["lava"])


def test_an_accumulator_that_may_leave_24_bits_is_refused_with_its_bound() -> None:
    """Both ports get 5 signed payloads of 8 bits; the left ones by weight 1, the right ones by up to 127."""
    fits, over = _narrow(exponent=4), _narrow(exponent=0)
    check(fits, targets()["lava"])
    with pytest.raises(RefusedError, match=r"alpha|accumulator") as refused:
        check(over, targets()["lava"])
    assert refused.value.code == "ND411"
    bound = alpha_bound(over, over.populations[1])
    assert bound is not None
    assert f"up to {bound.max()} after 12 updates" in refused.value.message
    assert refused.value.help is not None
    assert "fewer" in refused.value.help


@pytest.mark.parametrize("factor", [4096, 3000])
def test_the_bound_holds_and_is_close(factor: int) -> None:
    from ndeploy import oracle

    program = _narrow(factor=factor, exponent=4, start=np.arange(6) * -7)
    weight = np.eye(6, 5, dtype=np.int16)
    program = replace(program, projections=tuple(replace(j, synapses=Dense(weight)) for j in program.projections))
    bound = alpha_bound(program, program.populations[1])
    assert bound is not None
    messages = {"in": np.full((1, 12, 5), -128, dtype=np.int64)}
    alpha = np.abs(oracle.run(program, messages).traces["state/cell/alpha"][0]).max(axis=0)
    assert (alpha <= bound).all()
    assert (bound[:5] <= alpha[:5] + np.abs(np.arange(5) * 14) + 12).all()
