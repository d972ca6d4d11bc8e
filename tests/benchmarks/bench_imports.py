"""What importing the engine costs, beside importing pluggy alone: one fresh interpreter for each import.

The time of an interpreter that imports nothing is the floor, and is taken off both sides.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version

from harness import CannotMeasure, Comparison, Measurement, main, seconds

BAR = 3.0
WITH_A_BAR = {
    "import model_checkpoint.hooks": "import model_checkpoint.hooks",
    "import model_checkpoint.hooks, model_checkpoint.kernel": "import model_checkpoint.hooks, model_checkpoint.kernel",
}
"""What a plugin imports."""
WITHOUT = {
    "from model_checkpoint.kernel import Kernel": "from model_checkpoint.kernel import Kernel",
    "import model_checkpoint.engine": "import model_checkpoint.engine",
}
"""What a script imports."""


def interpreter_running(statement: str) -> Measurement:
    """Return a measurement of how many milliseconds a fresh interpreter takes for `statement`, compiled before."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run() -> None:
        done = subprocess.run([sys.executable, "-c", statement], env=env, capture_output=True, text=True)
        if done.returncode:
            raise CannotMeasure(f"{statement!r} failed:\n{done.stderr}")

    return lambda: seconds(run) * 1000


def describe(quick: bool) -> Sequence[Comparison]:
    """Return one comparison for each import; there is no smaller size."""
    return [
        Comparison(
            measure=name,
            unit="ms",
            ours=interpreter_running(statement),
            peer=f"import pluggy {version('pluggy')}",
            peer_measurement=interpreter_running("import pluggy"),
            floor=interpreter_running("pass"),
            subtract_floor=True,
            bar=BAR if name in WITH_A_BAR else None,
        )
        for name, statement in {**WITH_A_BAR, **WITHOUT}.items()
    ]


if __name__ == "__main__":
    sys.exit(main(__doc__, describe))
