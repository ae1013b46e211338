"""Payloads under a budget of spike bits: what they cost, and that the choice is a good one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise

import graded_compile
import numpy as np
import pytest
from graded_networks import GRADED_NETWORKS
from networks import chain, lif

from ndeploy.errors import RefusedError
from ndeploy.ir import network as net
from ndeploy.passes.graded_choices import graded_input, message_bits
from ndeploy.passes.lower import lower
from ndeploy.quantizer import Request
from ndeploy.search import payloads
from ndeploy.search.cost import mean_payload as cost_of
from ndeploy.search.payloads import choose_payloads, mean_payload, message_widths, payload_options


@cache
def asked(name: str = "ctm", coding: str = "none") -> Request:
    network = GRADED_NETWORKS[name](0)
    found = graded_compile.request(network, graded_compile.samples(network, 20), together=False, coding=coding)
    return replace(found, threshold=0.01)


def quiet(text: str) -> None:
    """Nobody listens."""


CODED = [*((name, "none") for name in GRADED_NETWORKS), ("ctm", "sigma-delta"), ("u-net", "sigma-delta")]


@pytest.mark.parametrize(("name", "coding"), CODED)
def test_widths_and_their_mean_are_those_of_the_program(name: str, coding: str) -> None:
    request = asked(name, coding)
    options = payload_options(request)
    chosen = {name: widths[i * 7 % len(widths)] for i, (name, widths) in enumerate(options.items())}
    request = replace(request, payload_of=chosen)
    program = graded_compile.quantise(request).program
    inputs = {name: graded_input(request, name) for name in request.lowered.inputs}
    for name, bits in message_widths(request.lowered, message_bits(request), inputs).items():
        assert program.population(name).neuron.message.bits == bits
        assert bits == chosen.get(name, bits)
    mean = mean_payload(message_bits(request), request.lowered, inputs)
    assert mean == pytest.approx(mean_payload(program, request.lowered))
    assert mean == pytest.approx(cost_of(program))


def test_options_go_up_to_the_default_and_shares_and_pairs_keep_more() -> None:
    request = asked()
    options = payload_options(request)
    default = message_bits(request)
    assert "output" not in options
    for name, widths in options.items():
        assert list(widths) == sorted(set(widths))
        assert widths[-1] == default[name]
    compared = {name for name, widths in options.items() if widths[0] == payloads.LEAST_COMPARED}
    assert compared == {"synch_action", "synch_out", "attention", "q"}
    assert {options[name][0] for name in options.keys() - compared} == {payloads.LEAST}
    # what the user asked for is as wide as it gets
    assert max(max(w) for w in payload_options(replace(request, activation_bits=7)).values()) == 7


class Loss:
    """What narrow payloads cost: a share for each population that a bit divides by four, more where two are narrow."""

    def __init__(self, request: Request, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.names = list(payload_options(request))
        self.weight = dict(zip(self.names, 4.0 ** rng.uniform(2, 8, len(self.names)), strict=True))
        self.asked = 0

    def __call__(self, chosen: Mapping[str, int]) -> float:
        assert set(chosen) == set(self.names)
        self.asked += 1
        alone = [self.weight[name] * 4.0 ** -chosen[name] for name in self.names]
        return sum(alone) + sum(np.sqrt(a * b) for a, b in pairwise(alone))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", [5.5, 7.0, 9.0])
def test_the_choice_keeps_to_the_budget_and_beats_uniform_payloads(budget: float, seed: int) -> None:
    request = asked("u-net")
    loss = Loss(request, seed)
    options = payload_options(request)
    chosen = choose_payloads(request, loss, budget, quiet)
    assert loss.asked <= 3 + 2 * len(options) + payloads.ROUNDS * (2 * len(options) + 1)
    assert chosen == choose_payloads(request, Loss(request, seed), budget, quiet)
    fixed = {n: b for n, b in message_bits(request).items() if n not in options}
    assert mean_payload({**fixed, **chosen}, request.lowered) <= budget
    for bits in payloads.WIDTHS:
        uniform = {name: min(widths, key=lambda b: abs(b - bits)) for name, widths in options.items()}
        if mean_payload({**fixed, **uniform}, request.lowered) <= budget:
            assert loss(chosen) < loss(uniform)


def test_a_wider_budget_is_no_worse_and_one_that_the_defaults_keep_measures_nothing() -> None:
    request = asked()
    losses = []
    for budget in (5.5, 6.5, 8.0, 11.0):
        loss = Loss(request)
        losses.append(loss(choose_payloads(request, loss, budget, quiet)))
    assert losses == sorted(losses, reverse=True)
    loss = Loss(request)
    default = message_bits(request)
    assert choose_payloads(request, loss, 16.0, quiet) == {n: default[n] for n in payload_options(request)}
    assert loss.asked == 0


def test_payloads_that_lose_nothing_are_narrowed_first() -> None:
    request = asked()
    matters = {"synch_action", "hidden"}

    def loss(chosen: Mapping[str, int]) -> float:
        return sum(2.0 ** -chosen[name] for name in matters)

    default = message_bits(request)
    chosen = choose_payloads(request, loss, 10.0, quiet)
    assert all(chosen[name] == default[name] for name in matters)


def test_a_budget_that_nothing_meets_says_the_nearest() -> None:
    request = asked()
    with pytest.raises(RefusedError) as refused:
        choose_payloads(request, Loss(request), 3.0, quiet)
    assert refused.value.code == "ND306"
    nearest = float(str(refused.value).split("the nearest that can is ")[1].split()[0])
    chosen = choose_payloads(request, Loss(request), nearest, quiet)
    assert all(chosen[name] == widths[0] for name, widths in payload_options(request).items())


def test_spikes_have_one_bit_already() -> None:
    nodes = ("x", net.Input((3,))), ("w", net.Linear(np.eye(3))), ("lif", lif((3,))), ("out", net.Output((3,)))
    request = replace(asked(), lowered=lower(chain(*nodes), 4, graded=True))
    said: list[str] = []
    assert payload_options(request) == {}
    assert choose_payloads(request, lambda chosen: 0.0, 1.0, said.append) == {}
    assert "1 bit" in said[0]
    with pytest.raises(RefusedError) as refused:
        choose_payloads(request, lambda chosen: 0.0, 0.5, quiet)
    assert refused.value.code == "ND306"
