"""The lanes that a user asked for with --workers and --board."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from ndeploy.board.link import address
from ndeploy.board.runner import BOARD
from ndeploy.errors import UsageError
from ndeploy.runners import boards as separated
from ndeploy.search.workers import pool
from ndeploy.suite.bench import BOARDS, Bench
from ndeploy.suite.case import Case
from ndeploy.suite.lanes import Here, Lane, Progress, on_board
from ndeploy.suite.lanes_process import ProcessLane
from ndeploy.suite.measure import Context

CLUSTER = ("dask://", "tcp://", "tls://")


def asked(
    workers: str, boards: Sequence[str], context: Context, cases: Sequence[Case], progress: Progress
) -> tuple[Lane, ...]:
    """At least one lane for every kind of case that there is; nothing has been started but a cluster's connection.

    workers: a number, or the address of a dask scheduler. boards: addresses; none for those of NDEPLOY_BOARD, or of a
    cluster's workers. Raises UsageError ND610 for other workers, ND621 for what is no board's address, ND669 for a
    board that is named twice, and what `dask_lanes.lanes` raises.
    """
    plain = [case for case in cases if case.runner not in BOARDS]
    cluster = workers.startswith(CLUSTER)
    named = tuple(boards)
    if not named and not cluster:
        named = separated(os.environ.get(BOARD, ""))
    for url in named:
        address(url)
        if named.count(url) > 1:
            raise UsageError("ND669", f"the board '{url}' is named twice", help="name every board once")
    racked = len(plain) < len(cases)
    lanes: tuple[Lane, ...] = ()
    if cluster:
        from ndeploy.suite import dask_lanes

        first = named[0] if named else None
        there = replace(context, bench=Bench(replace(context.bench.options, board=first)))
        lanes = tuple(dask_lanes.lanes(workers, there, cases))
        named = named if racked else ()
    else:
        width = pool(workers, None).width
        if racked and not named:
            lanes = (Here(context, board=True),)
        if plain:
            here = width == 1 and not (racked and named)
            numbers = range(1, min(width, len(plain)) + 1)
            lanes += (Here(context),) if here else tuple(_process(context, f"process {n}", progress) for n in numbers)
    if not racked:
        return lanes
    return (*lanes, *(ProcessLane(on_board(context, url), url, True, progress) for url in named))


def _process(context: Context, name: str, progress: Progress) -> Lane:
    return ProcessLane(context, name, progress=progress)
