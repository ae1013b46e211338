"""How many steps: every row of the table against its own arithmetic, and refusals whose nearest budget can be met."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import networks
import numpy as np
import pytest
import tiny_ctm
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_spikformer import TinySpikformer

from ndeploy import budget as texts
from ndeploy import sim
from ndeploy.budget import Budget
from ndeploy.data import Data
from ndeploy.decode import encode
from ndeploy.energy.estimate import estimate
from ndeploy.errors import RefusedError, UsageError
from ndeploy.graph.reference import run as run_float
from ndeploy.ir import network as net
from ndeploy.ir.program import Program
from ndeploy.pipeline import CompileOptions, compile_model
from ndeploy.place import Placed, place
from ndeploy.plugins import targets
from ndeploy.search.cost import bit_costs
from ndeploy.search.score import reference, score
from ndeploy.search.steps import (
    LADDER,
    MOST_TRIED,
    StepChoice,
    asked_steps,
    check_energy,
    choose_steps,
    joules_of,
    ladder,
    require_prices,
    trial_bits,
    widest_within,
)
from ndeploy.target import Target

FULL = 6


@dataclass(frozen=True)
class Made:
    program: Program
    placed: Placed
    target: Target


def classifier() -> net.Network:
    """16 inputs, 24 spiking neurons, 4 spiking classes, whose spikes are counted."""
    rng = np.random.default_rng(3)
    network = networks.chain(
        ("input", net.Input((16,))),
        ("first", net.Linear(rng.normal(size=(24, 16)) * 0.8)),
        ("hidden", networks.lif((24,))),
        ("second", net.Linear(rng.normal(size=(4, 24)) * 0.7)),
        ("classes", networks.lif((4,))),
        ("output", net.Output((4,))),
    )
    return replace(network, steps=FULL, decode="sum")


NETWORK = classifier()
DATA = Data(np.random.default_rng(0).integers(0, 2, size=(48, 16)).astype(np.float64))
WANTED = reference(NETWORK, DATA)


@lru_cache
def made(steps: int, bits: int, chip: str = "loihi2") -> Made:
    program = networks.quantise(NETWORK, steps, bits=bits)[1].program
    return Made(program, place(program, targets()[chip]), targets()[chip])


def choose(budget: Budget, chip: str = "loihi2", full: int = FULL, bits: int = 8) -> StepChoice:
    return choose_steps(lambda steps, b: made(steps, b, chip), full, budget, DATA, WANTED, bits)


def nearest(error: RefusedError, parse: Callable[[str], float]) -> float:
    found = re.search(r"the nearest that can is (\S+)", error.message)
    assert found
    return parse(found[1])


def test_every_number_of_steps_is_tried_and_the_least_loss_taken() -> None:
    found = choose(Budget())
    assert [row.steps for row in found.tried] == list(range(1, FULL + 1))
    for row in found.tried:
        one = made(row.steps, 8)
        result = sim.run(one.program, encode(one.program, DATA.x), activity=True)
        assert result.activity is not None
        costs = bit_costs(one.program, result.counts)
        energy = estimate(one.program, one.placed, one.target, result.activity).energy
        assert energy is not None
        assert (row.s_ace, row.ns_ace, row.bb, row.bits) == (costs["s_ace"], costs["ns_ace"], costs["bb"], 8)
        assert row.joules == energy.nominal
        assert row.accuracy == (result.predictions == WANTED.labels).mean()
        assert row.s_ace == (16 * 24 + 24 * 4) * row.steps * 8
        assert row.within
    assert found.steps == min(found.tried, key=lambda row: row.loss).steps
    # at the network's own steps the loss is what a search of widths goes by
    assert found.tried[-1].loss == score(made(FULL, 8).program, DATA, WANTED).loss
    assert found.full == FULL
    assert "least loss" in found.why
    assert found.to_json()["tried"][0]["steps"] == 1


def test_sums_of_fewer_steps_are_not_judged_by_their_size() -> None:
    """At half the steps a rate code counts half the spikes: that alone must not look like doubt."""
    rng = np.random.default_rng(1)
    y = np.where(rng.random(len(DATA)) < 0.2, rng.integers(0, 4, len(DATA)), WANTED.labels)
    data = replace(DATA, y=y)  # labels that the float network misses now and then: its answers are not certain
    wanted = reference(NETWORK, data)
    rows = choose_steps(made, FULL, Budget(), data, wanted).tried
    as_they_are = [score(made(steps, 8).program, data, wanted).loss for steps in range(1, FULL + 1)]
    assert all(row.loss <= loss for row, loss in zip(rows, as_they_are, strict=True))
    assert any(row.loss < loss - 0.01 for row, loss in zip(rows, as_they_are, strict=True))


def test_operations_are_kept_to_by_narrower_weights_or_fewer_steps() -> None:
    most = 480.0 * 3 * 8 + 1
    found = choose(Budget(operations=most))
    assert [(row.steps, row.bits) for row in found.tried] == [(1, 8), (2, 8), (3, 8), (4, 6), (5, 4), (6, 4)]
    assert all(row.within and row.s_ace <= most for row in found.tried)
    assert found.budget == {"operations": most}
    assert found.tried[3].accuracy == choose(Budget(), bits=6).tried[3].accuracy


def test_more_steps_than_operations_allow_are_not_tried() -> None:
    found = choose(Budget(operations=480.0 * 3 * 2))
    assert [(row.steps, row.bits, row.within) for row in found.tried] == [
        (1, 6, True),
        (2, 3, True),
        (3, 2, True),
        (4, 2, False),
    ]
    assert found.tried[-1].loss is None
    assert found.tried[-1].s_ace == 480 * 4 * 2
    assert found.steps <= 3
    assert "keeps to the budget" in found.why


def test_too_few_operations_for_one_step() -> None:
    with pytest.raises(RefusedError) as error:
        choose(Budget(operations=900.0))
    assert error.value.code == "ND306"
    least = nearest(error.value, texts.operations)
    assert least == 960
    assert "1 step 960" in error.value.help
    assert choose(Budget(operations=least)).steps == 1


def test_energy_is_kept_to() -> None:
    free = choose(Budget()).tried
    between = (free[1].joules + free[2].joules) / 2
    found = choose(Budget(energy_joules=between))
    assert [(row.steps, row.within) for row in found.tried] == [(1, True), (2, True), (3, False)]
    assert found.steps in (1, 2)
    with pytest.raises(RefusedError) as error:
        choose(Budget(energy_joules=free[0].joules / 2))
    assert error.value.code == "ND306"
    least = nearest(error.value, texts.energy)
    assert least == pytest.approx(free[0].joules, rel=2e-3)
    assert choose(Budget(energy_joules=least)).steps == 1


def test_accuracy_may_be_lost_for_fewer_operations() -> None:
    free = choose(Budget()).tried
    points = 100 * (WANTED.accuracy - free[2].accuracy)
    assert points > 0  # 3 steps answer otherwise now and then
    found = choose(Budget(accuracy_points=points))
    enough = [row.steps for row in free if row.accuracy >= free[2].accuracy]
    assert found.steps == min(enough)
    assert "fewest bit operations" in found.why
    assert choose(Budget(accuracy_points=100.0)).steps == 1


def test_an_accuracy_that_no_steps_reach() -> None:
    best = max(row.accuracy for row in choose(Budget(), full=2).tried)
    assert best < 1
    with pytest.raises(RefusedError) as error:
        choose(Budget(accuracy_points=0.0), full=2)
    assert error.value.code == "ND306"
    least = nearest(error.value, texts.points)
    assert least == pytest.approx(100 * (1 - best), rel=2e-3)
    assert choose(Budget(accuracy_points=least), full=2).steps <= 2


def test_no_answers_to_count() -> None:
    without = replace(WANTED, accuracy=None)
    with pytest.raises(UsageError) as error:
        choose_steps(made, 2, Budget(accuracy_points=1.0), DATA, without)
    assert error.value.code == "ND308"


def test_sequences_set_the_steps() -> None:
    with pytest.raises(UsageError, match="sequences of 5 values") as error:
        choose_steps(made, FULL, Budget(), Data(np.ones((3, 5, 16))), WANTED)
    assert error.value.code == "ND308"


def test_a_network_whose_steps_do_not_change() -> None:
    with pytest.raises(UsageError, match="compiled for 1 steps, the program has 6") as error:
        choose_steps(lambda steps, bits: made(FULL, bits), FULL, Budget(), DATA, WANTED)
    assert error.value.code == "ND308"


def test_no_prices_no_energy_budget() -> None:
    for refused in (
        lambda: choose(Budget(energy_joules=1.0), chip="lava"),
        lambda: check_energy(made(2, 8, "lava"), Budget(energy_joules=1.0), DATA),
        lambda: require_prices(targets()["lava"]),
    ):
        with pytest.raises(RefusedError, match="lava") as error:
            refused()
        assert error.value.code == "ND431"
    assert all(row.joules is None for row in choose(Budget(), chip="lava").tried)
    require_prices(targets()["loihi2"])


def test_check_energy() -> None:
    free = choose(Budget()).tried
    compiled = made(4, 8)
    assert check_energy(compiled, Budget(), DATA) is None
    assert check_energy(compiled, Budget(energy_joules=free[3].joules), DATA) == free[3].joules
    tight = Budget(energy_joules=(free[1].joules + free[2].joules) / 2)
    with pytest.raises(RefusedError) as error:
        check_energy(compiled, tight, DATA, made)
    assert error.value.code == "ND306"
    assert nearest(error.value, texts.energy) >= free[3].joules
    assert "--steps 2 keeps to the budget" in error.value.help
    for steps in (1, 2, 3, 4):
        assert f"{steps} step" in error.value.help
        assert texts.shown(free[steps - 1].joules, "joules") in error.value.help
    with pytest.raises(RefusedError) as error:
        check_energy(compiled, Budget(energy_joules=free[0].joules / 2), DATA, made)
    assert "keeps to the budget" not in error.value.help


def test_check_energy_of_sequences() -> None:
    """As many steps as the data have; nothing to try."""
    compiled = made(4, 8)
    sequence = Data(np.repeat(DATA.x[:, None], 5, axis=1))
    longer = replace(compiled.program, steps=5)
    joules = joules_of(compiled, longer, sim.run(longer, encode(longer, sequence.x), activity=True))
    assert check_energy(compiled, Budget(energy_joules=joules), sequence, made) == joules
    with pytest.raises(RefusedError, match="energy budget") as error:
        check_energy(compiled, Budget(energy_joules=joules / 2), sequence, made)
    assert "a sequence in the data sets the steps" in error.value.help


def test_widest_within() -> None:
    program, target = made(2, 8).program, targets()["loihi2"]
    assert widest_within(program, target, 480 * 2 * 8, 8) == 8
    assert widest_within(program, target, 480 * 2 * 8, 5) == 5
    assert widest_within(program, target, 480 * 2 * 4 - 1, 8) == 3
    assert widest_within(program, target, 480 * 2 * 2 - 1, 8) == 0


@given(st.integers(1, 5000))
def test_ladder(steps: int) -> None:
    found = ladder(steps)
    assert found[0] == 1
    assert found[-1] == steps
    assert list(found) == sorted(set(found))
    assert len(found) <= LADDER
    if steps <= LADDER:
        assert len(found) == steps


def test_many_steps_are_narrowed_down_around_the_best() -> None:
    wanted = reference(replace(NETWORK, steps=40), DATA)
    found = choose_steps(made, 40, Budget(accuracy_points=3.0), DATA, wanted)
    tried = [row.steps for row in found.tried]
    assert LADDER < len(tried) <= MOST_TRIED
    assert found.steps - 1 in tried
    best = next(row for row in found.tried if row.steps == found.steps)
    assert best.accuracy >= wanted.accuracy - 0.03 - 1e-9
    assert all(row.accuracy < wanted.accuracy - 0.03 for row in found.tried if row.steps < found.steps)
    with pytest.raises(UsageError):
        ladder(0)


def test_asked_steps() -> None:
    assert asked_steps("6") == (6, False)
    assert asked_steps("auto") == (None, True)
    assert asked_steps(" auto:12 ") == (12, True)
    for text in ("", "0", "-1", "auto:", "auto:0", "autos", "x", "6:auto", "1e3", "auto6", "auto:auto"):
        with pytest.raises(UsageError) as error:
            asked_steps(text)
        assert error.value.code == "ND308"


def test_trial_bits() -> None:
    assert trial_bits(Budget()) == 8
    assert trial_bits(Budget(mean_bits=3.5)) == 4
    assert trial_bits(Budget(mean_bits=2.0)) == 2
    assert trial_bits(Budget(mean_bits=0.5)) == 2
    assert trial_bits(Budget(mean_bits=12.0)) == 8
    assert trial_bits(Budget(mean_bits=12.0), 16) == 12


def test_a_transformers_head_divides_by_the_steps_it_has(tmp_path: Path) -> None:
    """Compiled for fewer steps than its checkpoint states, it answers the torch model's mean over those steps."""
    model = TinySpikformer(widths=(2, 3, 4, 8), depth=1, seed=2).round_to_float32()
    path = tmp_path / "net.pt"
    torch.save(model.public_state(), path)
    x = np.random.default_rng(2).random((12, 2, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    settings = {"heads": "2", "image_size": "16"}

    def compiled(steps: int, bits: int = 8):
        options = CompileOptions(steps=steps, settings=settings, calibration=tmp_path / "x.npz", bits=bits)
        return compile_model(path, options)

    for steps in (1, 3):
        network = compiled(steps).network
        answers = next(iter(run_float(network, x, steps, dtype=torch.float64).outputs.values())).sum(axis=1)
        expected = model(torch.as_tensor(x).double().expand(steps, *x.shape)).numpy()
        np.testing.assert_allclose(answers.reshape(expected.shape), expected, atol=1e-6)
    data = Data(x)
    found = choose_steps(compiled, 3, Budget(), data, reference(compiled(3).network, data))
    assert [row.steps for row in found.tried] == [1, 2, 3]
    assert found.tried[2].accuracy >= found.tried[0].accuracy


def test_networks_that_think_in_ticks(tmp_path: Path) -> None:
    """Compared tick by tick as far as they have thought, and by the answer at the most certain tick."""
    choices = tiny_ctm.write(tmp_path / "net.pt", seed=1)
    x = tiny_ctm.samples(choices, 24)
    np.savez(tmp_path / "x.npz", x=x)

    def compiled(steps: int | None, bits: int = 8):
        return compile_model(
            tmp_path / "net.pt", CompileOptions(steps=steps, calibration=tmp_path / "x.npz", bits=bits)
        )

    full = compiled(None)
    data = Data(x)
    wanted = reference(full.network, data)
    found = choose_steps(compiled, full.program.steps, Budget(), data, wanted)
    assert [row.steps for row in found.tried] == list(range(1, choices.iterations + 1))
    assert found.tried[-1].loss == score(full.program, data, wanted).loss
    assert found.tried[-1].accuracy >= found.tried[0].accuracy
    with pytest.raises(UsageError, match="trained to answer within 5") as error:
        choose_steps(compiled, choices.iterations + 1, Budget(), data, wanted)
    assert error.value.code == "ND308"
