"""A training that is told to end while torch is at work: ``python preempted_training.py FOLDER GRACE_S``."""

from __future__ import annotations

import logging
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from model_checkpoint.cadence import parse
from model_checkpoint.hooks import HookEvent
from model_checkpoint.kernel import Kernel

PROGRAMS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("signal_programs.py")))
PLUGINS = ["vault", "memory", "sqlite", "numpy", "torch", "state-dict", "codecs", "metrics"]


class Told(logging.Handler):
    """Prints what is logged, with the time."""

    def emit(self, record: logging.LogRecord) -> None:
        PROGRAMS["say"](record.levelname, record.getMessage())


def slow_disk(context: Any) -> None:
    if context.table == "checkpoints":
        time.sleep(1.0)


def main(folder: Path, grace_s: float) -> None:
    logging.getLogger("model_checkpoint").addHandler(Told())
    with Kernel.open(f"sqlite:///{folder}/experiments.db", plugins=PLUGINS, quiet=True) as kernel:
        # what is staged takes a second to become durable, as it does on a slow disk
        kernel.hooks.register_hook("slow", slow_disk, [HookEvent.BEFORE_DB_WRITE])
        operation = PROGRAMS["prepared"]()
        cadence = parse(f"first | on-signal:grace={grace_s}s").begin(kernel)
        kernel.start_run("demo", run="demo")
        for step in range(1, 100):
            if step == 2:
                operation()
            if decision := cadence.should_save(step=step):
                PROGRAMS["say"]("saving", step, decision.reason)
                kernel.save({"w": step}, step=step, wait=decision.urgent)
            if cadence.should_stop:
                break
        cadence.close()
        PROGRAMS["say"]("stopped", step)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
