"""What checkpoints cost a whole training: the digits example with them and without, each a process of its own.

Every start is fresh, imports included, as a person would wait for it. The floor is the time that the saves themselves
took, by the records that they left.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import CannotMeasure, Comparison, Measurement, main, seconds

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "train_digits.py"
BAR = 1.05


def training(*options: str) -> Measurement:
    """Return a measurement of how many seconds the example takes from start to end."""

    def once() -> float:
        folder = tempfile.mkdtemp()
        try:
            return seconds(lambda: _run(folder, *options))
        finally:
            shutil.rmtree(folder)

    return once


def saving(*options: str) -> Measurement:
    """Return a measurement of how many seconds of one training were spent in saves."""

    def once() -> float:
        folder = tempfile.mkdtemp()
        try:
            _run(folder, *options)
            with sqlite3.connect(Path(folder, "experiments.db")) as database:
                return float(database.execute("select sum(duration_s) from checkpoints").fetchone()[0])
        finally:
            shutil.rmtree(folder)

    return once


def _run(folder: str, *options: str) -> None:
    command = [sys.executable, str(EXAMPLE), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "TERM": "dumb"})
    if done.returncode:
        raise CannotMeasure(f"the example failed:\n{done.stderr[-2000:]}")


def describe(quick: bool) -> Sequence[Comparison]:
    """Return the one comparison; --quick trains for fewer epochs."""
    epochs = ("--epochs", "5" if quick else "15")
    return [
        Comparison(
            measure="the digits example, a checkpoint every 25 steps and every epoch",
            unit="s",
            ours=training(*epochs),
            peer="the same without checkpoints",
            peer_measurement=training(*epochs, "--no-checkpoints"),
            floor=saving(*epochs),
            bar=BAR,
        )
    ]


if __name__ == "__main__":
    sys.exit(main(__doc__, describe))
