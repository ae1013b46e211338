"""`validate`: every published measurement beside what is computed for it now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ndeploy.errors import UsageError
from ndeploy.target import Target
from ndeploy.validation import pilotnet, shapes
from ndeploy.validation.measurements import PUBLISHED, measured
from ndeploy.validation.rows import ABSENT, Row


def _ignore(_: str) -> None:
    """No progress is shown."""


def names() -> tuple[str, ...]:
    """What `only` takes: workloads, in the order of the table."""
    return tuple(dict.fromkeys(m.name.partition("/")[0] for m in PUBLISHED))


def validate(
    fixtures: Path | None, only: str | None = None, progress: Callable[[str], None] = _ignore
) -> tuple[Row, ...]:
    """Rows in the order of the measurements, one each, whatever the estimate.

    fixtures: the folder of trained networks, None where there is none: rows that need one say so. only: a workload
    (`names`) or one measurement's whole name.
    Raises UsageError ND470 for an unknown name, and what compiling and running the networks raise.
    """
    from ndeploy import plugins

    workloads = names() if only is None else (only.partition("/")[0],)
    if only is not None and only not in (*names(), *(m.name for m in PUBLISHED)):
        raise UsageError(
            "ND470", f"no published measurement is named '{only}'", help=f"take one of {', '.join(names())}"
        )
    rows: list[Row] = []
    for workload in workloads:
        progress(workload)
        rows += _rows(workload, fixtures, plugins.target)
    return tuple(row for row in rows if only in (None, workload_of(row), row.measurement.name))


def workload_of(row: Row) -> str:
    """The short name of what ran."""
    return row.measurement.name.partition("/")[0]


def _rows(workload: str, fixtures: Path | None, target: Callable[[str], Target]) -> tuple[Row, ...]:
    trained: Mapping[str, tuple[Callable[[Path, Target], tuple[Row, ...]], tuple[str, ...]]] = {
        "pilotnet-lif": (pilotnet.lif_rows, (pilotnet.LIF_NETWORK, pilotnet.FRAME)),
        "pilotnet-sdnn": (pilotnet.sdnn_rows, (pilotnet.SDNN_NETWORK, pilotnet.FRAME)),
    }
    if workload in trained:
        rows, files = trained[workload]
        gone = [file for file in files if fixtures is None or not (fixtures / file).is_file()]
        if gone or fixtures is None:
            return _without(workload, gone)
        return rows(fixtures, target("loihi2"))
    computed: Mapping[str, Callable[[], tuple[Row, ...]]] = {
        "keyword-spotting": lambda: shapes.keyword_rows(target("loihi1")),
        "hala-point": lambda: shapes.hala_point_rows(target("loihi2")),
        "nxtf-mobilenet": lambda: shapes.mobilenet_rows(target("loihi1")),
    }
    if workload in computed:
        return computed[workload]()
    return tuple(row for row in shapes.absent_rows() if workload_of(row) == workload)


def _without(workload: str, gone: list[str]) -> tuple[Row, ...]:
    why = f"the network is not on this machine: {', '.join(gone)} (set NDEPLOY_FIXTURES or --fixtures)"
    return tuple(Row(measured(m.name), None, ABSENT, why) for m in PUBLISHED if m.name.partition("/")[0] == workload)
