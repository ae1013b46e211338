"""What a board failed at before it gave an answer: shown beside the answer, for nobody repairs what nobody sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 3
"""Messages in full; all are counted."""


@dataclass(frozen=True)
class Faults:
    """by_code: how many; examples: the first messages of different faults."""

    by_code: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """For the user: none where nothing failed."""
        if not self.by_code:
            return ()
        times = sum(self.by_code.values())
        codes = ", ".join(f"{code} x {n}" for code, n in sorted(self.by_code.items()))
        many = "once" if times == 1 else f"{times} times"
        return (f"the board failed {many} and was tried again ({codes}): {'; '.join(self.examples)}",)


def faults_of(runner: Any) -> Faults:
    """Of a runner that was tried again; none for one that is no board."""
    from ndeploy.board.runner import BoardRunner

    if not isinstance(runner, BoardRunner) or not runner.retried:
        return Faults()
    messages = dict.fromkeys(error.message for error in runner.retried)
    return Faults(dict(Counter(error.code for error in runner.retried)), tuple(messages)[:SHOWN])
