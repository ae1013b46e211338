"""The command line: `ndeploy compile | quantize | run | verify | energy | inspect | targets | explain | doctor`.

One module a command. Each reads its options, calls the library, and hands the result to `ndeploy.report` (text) or to
`console.emit` (JSON). Everything heavy is imported inside the commands: `ndeploy --help` loads neither numpy nor torch.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the `ndeploy` script."""
    from ndeploy.cli.app import app
    from ndeploy.cli.guard import guarded

    guarded(app)
