"""Arrangements on the mesh: against all orders where those can be listed, against routes, and in its promises."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_routes import board, flows

from ndeploy.fixed import IntArray
from ndeploy.place.arrange import CROSSING, Arrangement, arrange, arrangement
from ndeploy.place.flows import HOST
from ndeploy.place.multilevel import bisected, graph
from ndeploy.place.routes import routes
from ndeploy.plugins import targets
from ndeploy.target import Target

Edges = list[tuple[int, int, int]]


def arrays(edges: Edges) -> tuple[IntArray, IntArray, IntArray]:
    table = np.array(edges, dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def cost(edges: Edges, cores: IntArray, target: Target) -> int:
    """Packets times hops, by way of the routes, which are tested apart."""
    found = routes(flows([(a, b, [w]) for a, b, w in edges], 1), cores, target)
    ways = found.east_west + found.north_south + CROSSING * found.chip_links
    return sum(w * way for (_, _, w), way in zip(edges, ways.tolist(), strict=True))


def check(edges: Edges, cores: int, target: Target) -> Arrangement:
    found = arrangement(*arrays(edges), cores, target)
    per_chip = target.cores_per_chip.value
    assert per_chip is not None
    assert len(set(found.cores.tolist())) == cores == len(found.cores)
    assert found.cores.min(initial=0) >= 0
    assert found.cores.max(initial=0) < per_chip * -(-cores // per_chip)
    assert found.cost == cost(edges, found.cores, target)
    assert found.before == cost(edges, np.arange(cores), target)
    assert found.bound <= found.cost <= found.before
    return found


@st.composite
def networks(draw: st.DrawFn) -> tuple[Edges, int, Target]:
    target = board(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        draw(st.one_of(st.none(), st.just(2))),
    )
    cores = draw(st.integers(1, 30))
    end = st.integers(HOST, cores - 1)
    return draw(st.lists(st.tuples(end, end, st.integers(0, 1000)), max_size=40)), cores, target


@settings(max_examples=25, deadline=None)
@given(networks())
def test_what_an_arrangement_promises(case: tuple[Edges, int, Target]) -> None:
    check(*case)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_all_orders_is_found(seed: int) -> None:
    """Six cores on two chips of 2 x 2 routers with a core each."""
    random = np.random.default_rng(seed)
    target = board(2, 2, 1, 2)
    edges: Edges = [(*map(int, random.integers(0, 6, 2)), int(random.integers(1, 50))) for _ in range(12)]
    pairs = [(a, b, 1) for a in range(8) for b in range(8)]
    ways = np.array([cost([pair], np.arange(8), target) for pair in pairs]).reshape(8, 8)
    best = min(sum(w * ways[order[a], order[b]] for a, b, w in edges) for order in permutations(range(8), 6))
    found = check(edges, 6, target)
    assert found.bound <= best
    assert found.cost == best


def test_a_chain_out_of_order_is_put_in_order() -> None:
    """32 cores in a random order on as many routers: the least cost is one hop for each step."""
    order = np.random.default_rng(1).permutation(32)
    edges = [(int(order[i]), int(order[i + 1]), 10) for i in range(31)]
    found = check(edges, 32, board(each=1))
    assert found.cost == 31 * 10


def test_clusters_go_to_chips() -> None:
    """Four groups of 16 cores that hardly talk to each other, on chips of 16: only the weak ties cross."""
    random = np.random.default_rng(2)
    number = random.permutation(64)
    edges: Edges = []
    for group in range(4):
        of = number[16 * group : 16 * group + 16]
        edges += [(int(of[i]), int(of[j]), 100) for i in range(16) for j in range(i)]
    edges += [(int(number[16 * g]), int(number[(16 * g + 16) % 64]), 1) for g in range(4)]
    target = board(2, 2, 4, 2)
    found = check(edges, 64, target)
    chip = found.cores // 16
    assert all(len(set(chip[number[16 * g : 16 * g + 16]].tolist())) == 1 for g in range(4))
    assert sum(w * (CROSSING if chip[a] != chip[b] else 0) for a, b, w in edges) == 4 * CROSSING


def test_the_same_flows_give_the_same_arrangement() -> None:
    random = np.random.default_rng(3)
    source, sink = random.integers(-1, 200, (2, 1500))
    packets = random.integers(0, 99, 1500)
    shuffled = random.permutation(1500)
    target = targets()["loihi2"]
    once = arrange(source, sink, packets, 200, target)
    again = arrange(source[shuffled], sink[shuffled], packets[shuffled], 200, target)
    assert np.array_equal(once, again)


def test_more_places_than_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndeploy.place.arrange.DENSE", 20)
    random = np.random.default_rng(4)
    edges = [(i, int(j), 5) for i in range(60) for j in (i + random.integers(1, 4, 2)) % 60]
    found = check(edges, 60, board(2, 2, 4, 2))
    assert found.cost < found.before


def test_packets_beyond_float64() -> None:
    edges = [(0, 5, 2**55), (1, 6, 2**56), (2, 7, 2**54)]
    found = arrangement(*arrays(edges), 8, board(8, 1, 1))
    assert found.cost == cost(edges, found.cores, board(8, 1, 1)) == sum(w for _, _, w in edges)


def test_without_a_mesh_the_order_stays() -> None:
    assert arrange(*arrays([(0, 1, 5)]), 3, targets()["lava"]).tolist() == [0, 1, 2]
    assert arrange(*arrays([]), 0, targets()["loihi2"]).tolist() == []


def test_halves_keep_their_bounds_and_cut_little() -> None:
    """Two cliques with one edge between them, sides that just fit."""
    pairs = [(i, j) for i in range(100) for j in range(i) if (i < 50) == (j < 50)] + [(0, 99)]
    a, b = np.array(pairs).T
    order = np.random.default_rng(5).permutation(100)
    network = graph(np.ones(100, dtype=np.int64), order[a], order[b], np.ones(len(pairs)))
    side = bisected(network, 50, 50, np.zeros(100))
    assert side.sum() == 50
    assert len(set(side[order[:50]].tolist())) == 1
