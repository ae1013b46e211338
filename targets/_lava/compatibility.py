"""Imports lava-nc 0.10.0 where its packaging says it cannot be: Python 3.11 and later, numpy 2.

The one thing that fails is a dataclass default that Python 3.11 refuses because its class is not hashable
(`lava/magma/compiler/var_model.py`). Only while Lava is imported, and only for Lava's own modules, dataclasses are made
hashable.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MODULES = (
    "lava.proc.dense.models",
    "lava.proc.sparse.models",
    "lava.proc.conv.models",
    "lava.proc.lif.models",
    "lava.proc.sdn.models",
    "lava.proc.graded.models",
    "lava.proc.prodneuron.models",
    "lava.proc.io.source",
    "lava.magma.core.run_configs",
    "lava.magma.core.run_conditions",
    "lava.magma.compiler.compiler",
    "lava.magma.runtime.runtime",
)
"""Everything the worker uses, so that nothing of Lava is imported later without the repair."""


@contextmanager
def _hashable_dataclasses() -> Iterator[None]:
    original = dataclasses.dataclass

    def dataclass(cls: Any = None, /, **options: Any) -> Any:
        def decorate(cls: Any) -> Any:
            plain = not options.get("frozen") and not options.get("unsafe_hash")
            if cls.__module__.startswith("lava.") and plain:
                return original(cls, **{**options, "unsafe_hash": True})
            return original(cls, **options)

        return decorate if cls is None else decorate(cls)

    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = original


def import_lava() -> None:
    """Import Lava. Raises ImportError if the interpreter has none."""
    if sys.version_info >= (3, 11):
        with _hashable_dataclasses():
            for name in MODULES:
                importlib.import_module(name)
    else:
        for name in MODULES:
            importlib.import_module(name)
    _remember_models()


def _remember_models() -> None:
    """Lava runs every module beside a process's to find its models, once a process: once a class is enough."""
    from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs

    find = ProcGroupDiGraphs._find_proc_models
    known: dict[type, Any] = {}

    @functools.wraps(find)
    def remembered(proc: Any) -> Any:
        if type(proc) not in known:
            known[type(proc)] = find(proc)
        return list(known[type(proc)])

    ProcGroupDiGraphs._find_proc_models = staticmethod(remembered)
