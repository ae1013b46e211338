"""What our synapse models, and Lava's own when they run for us, do in a chip step in which nothing was sent: nothing.

A population sends once a model step, which takes many chip steps where a network thinks in ticks, and Lava computes its
matrices at every one. `Resting` is mixed in before a synapse model of Lava's, all of which first send what they summed
before and then receive: a message of zeros ends the step there, with the sum that it has, zero. No import of Lava here.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class _Silence(Exception):  # noqa: N818 - a message, not an error
    """Nothing was sent."""


class Resting:
    """Mixed in before Lava's fixed-point Dense, Sparse and Conv."""

    sums = "a_buff"
    """The model's attribute that holds what it sends next."""
    _listening = False

    def _listen(self) -> None:
        port: Any = self.s_in  # type: ignore[attr-defined]
        receive = port.recv

        def recv() -> Any:
            message = receive()
            if not message.any():
                raise _Silence
            return message

        port.recv = recv

    def run_spk(self) -> None:
        """One chip step."""
        if not self._listening:
            self._listening = True
            self._listen()
        try:
            super().run_spk()  # type: ignore[misc]
        except _Silence:
            self._rest()

    def _rest(self) -> None:
        setattr(self, self.sums, np.zeros_like(getattr(self, self.sums)))


class RestingDelays(Resting):
    """Mixed in before Lava's fixed-point DelayDense and DelaySparse: what is on its way moves on by a step."""

    def _rest(self) -> None:
        waiting: Any = self.a_buff  # type: ignore[has-type]
        waiting[:, 0] = 0
        self.a_buff = np.roll(waiting, -1)
