"""The side of the training in a proof that it resumes: writes down every step, and stops where it is told to.

Each process of a proof writes a journal, one JSON object a line: ``{"step": 3, "time_s": ..., "leaves": [[path, sort,
kind, text, offset, length], ...]}``; the last one has what the training returned, as step 0. The bytes of arrays lie in
a file beside it, each once.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import random
import runpy
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from model_checkpoint.errors import ConfigurationError
from model_checkpoint.testing.resume_leaves import Leaf, leaves_of, streams


class Watch(Protocol):
    """What a training gets while it is proved."""

    @property
    def steps(self) -> int:
        """How many steps the whole training has, counted from 1; 0 where nothing is being proved."""

    def step(self, number: int, /, **observed: object) -> None:
        """Say that step `number` is done, and what to compare: the objects of the training, its batch, its metrics.

        May not return: here a training is stopped. Call it where the next line could be the last one that runs: after
        the save of that step, if there is one. All global random streams are compared too.
        """


def watch() -> Watch:
    """Return what a script that is being proved reports its steps to; for any other process one that does nothing."""
    return _watching[-1] if _watching else _NoWatch()


class _NoWatch:
    steps = 0

    def step(self, number: int, /, **observed: object) -> None:
        """Do nothing."""


class _Journal:
    """Writes the steps of one process down, and ends it after one of them."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.steps: int = spec["steps"]
        self._stop_at, self._kill = spec["stop_at"], spec["kill"]
        self._file = Path(spec["journal"]).open("a", encoding="utf-8")  # noqa: SIM115 - open until the process ends
        self._arrays = arrays_of(Path(spec["journal"])).open("ab")
        self._places: dict[str, int] = {}
        self._last: int | None = None

    def step(self, number: int, /, **observed: object) -> None:
        if type(number) is not int or number < 1:
            raise ConfigurationError(f"step {number!r}: steps are counted from 1, as ints")
        if self._last is not None and number != self._last + 1:
            raise ConfigurationError(f"step {number} follows step {self._last}: report every step, once")
        self._last = number
        found = [leaf for name, value in observed.items() for leaf in leaves_of(name, value)]
        self._write(number, [*found, *streams()])
        if number == self._stop_at:
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt(f"stopped after step {number}, as the proof wants it")

    def end(self, returned: object) -> None:
        """Write down what the training returned."""
        self._write(0, leaves_of("returned", returned))

    def _write(self, number: int, leaves: Iterable[Leaf]) -> None:
        rows: list[list[object]] = []
        for leaf in leaves:
            row: list[object] = [leaf.path, leaf.sort, leaf.kind, leaf.text]
            if leaf.data is not None:
                if leaf.text not in self._places:
                    self._places[leaf.text] = self._arrays.tell()
                    self._arrays.write(leaf.data)
                row += [self._places[leaf.text], len(leaf.data)]
            rows.append(row)
        self._arrays.flush()
        self._file.write(json.dumps({"step": number, "time_s": time.time(), "leaves": rows}) + "\n")
        self._file.flush()


def arrays_of(journal: Path) -> Path:
    """Return where the bytes of arrays lie."""
    return journal.with_suffix(".arrays")


_watching: list[_Journal] = []


def main() -> None:
    """Run one process of a proof, as the JSON file in the first argument says."""
    spec = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    sys.path[:] = [*sys.path, *(entry for entry in spec["path"] if entry not in sys.path)]
    random.seed(spec["seed"])
    if importlib.util.find_spec("numpy") is not None:
        importlib.import_module("numpy").random.seed(spec["seed"])
    journal = _Journal(spec)
    _watching.append(journal)
    returned: object = None
    if spec["script"]:
        sys.argv[:] = [spec["script"], *spec["arguments"]]
        sys.path.insert(0, str(Path(spec["script"]).parent))
        runpy.run_path(spec["script"], run_name="__main__")
    else:
        returned = _function(spec)(journal, **spec["arguments"])
    journal.end(returned)


def _function(spec: Mapping[str, Any]) -> Any:
    if spec["module"]:
        found: Any = importlib.import_module(spec["module"])
    else:
        loading = importlib.util.spec_from_file_location("proved_training", spec["file"])
        assert loading is not None
        assert loading.loader is not None
        found = sys.modules["proved_training"] = importlib.util.module_from_spec(loading)
        loading.loader.exec_module(found)
    for name in spec["function"].split("."):
        found = getattr(found, name)
    return found
