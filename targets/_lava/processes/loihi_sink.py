"""Where messages that come off a chip are kept: Lava's own sink, which hands on what it receives at every chip step."""

from __future__ import annotations

from typing import Any

from lava.proc.io.sink import PyReceiveModelFixed
from ndeploy.targets._lava.loihi_readout import KEY, Readout


class SinkModel(PyReceiveModelFixed):
    """Lava's fixed-point sink. Whatever goes wrong in it reaches us with its traceback."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._readout: Readout = proc_params[KEY]

    def run_spk(self) -> None:
        """One chip step."""
        self._readout.take(self.time_step - 1, self.a_in.recv())
