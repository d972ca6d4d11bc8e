"""Proves that a training which is stopped and resumed in a new process is the uninterrupted one, bit for bit.

::

    # train.py
    def train(watch, lr=0.1):
        model, optimizer, loader = ...
        run = mc.start("proof")                         # its files lie in a folder of the proof's own
        step = run.resume(model=model, optimizer=optimizer, loader=loader).step
        while step < watch.steps:
            for batch in loader:
                loss = ...
                step += 1
                run.save(step=step, epoch=loader.epoch)
                watch.step(step, batch=batch, loss=loss, model=model, optimizer=optimizer)
                if step == watch.steps:
                    break

    # test_train.py
    from model_checkpoint.testing.resume_equivalence import assert_resume_equivalent

    def test_it_resumes():
        assert_resume_equivalent(train, steps=12, stop_at=7)

Two trainings are run: one straight through, one that is stopped. Whatever `train` gives to ``watch.step``, and all
global random streams, must be the same at every step of both, in every process.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model_checkpoint.errors import ConfigurationError
from model_checkpoint.errors.base import bullet_list
from model_checkpoint.testing.resume_leaves import Leaf, difference
from model_checkpoint.testing.resume_watch import Watch, arrays_of, watch

__all__ = ["Proof", "ResumeNotProvedError", "Stop", "Watch", "assert_resume_equivalent", "watch"]

_CHILD = "from model_checkpoint.testing.resume_watch import main; main()"
_NOT_INHERITED = ("MCE_", "SLURM_", "TORCHELASTIC_")
"""Variables that would lead the trainings of a proof into the database or the run of another."""
_FIRST_SEED = 2
"""Of the global streams of Python and numpy, which nobody else may have seeded, in the two trainings' first processes.
Later ones begin with others: what a process draws before it resumes, such as a split of the data, is different then, as
it would be without a proof."""
_SHOWN = 10
_POLL_S = 0.002
_HINTS = (
    ("streams.", "a random stream: resume() puts back those of Python, numpy and torch after everything else; what is"
     " drawn between resume() and the first batch, or by a generator that resume() was not given, differs"),
    ("batch", "the position in the data: take a ResumableLoader or another with state_dict(), and give it to resume()"),
    (".grad", "gradients: give resume() the optimizer whose parameters they belong to"),
)  # fmt: skip


class ResumeNotProvedError(AssertionError):
    """The resumed training differs from the uninterrupted one, or could not be compared with it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop of the training, and where the next process went on."""

    after: int
    """The last step that was done; 0 for none."""
    went_on_with: int
    """The first step of the next process: at most ``after + 1``, less where the newest checkpoint was older."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was shown: every value was the same at every step."""

    steps: int
    stops: tuple[Stop, ...]
    values: int
    """How many values were compared, over all steps and processes."""

    def __str__(self) -> str:
        stops = ", ".join(f"after step {stop.after} (went on with {stop.went_on_with})" for stop in self.stops)
        return f"{self.steps} steps, stopped {stops}: {self.values} values are the same, bit for bit"


def assert_resume_equivalent(
    train: Callable[..., object] | str | os.PathLike[str],
    *,
    steps: int,
    stop_at: int | Sequence[int] | None = None,
    kill: bool | Literal["random"] = True,
    kills: int = 3,
    seed: int = 0,
    arguments: Mapping[str, object] | Sequence[str] = (),
    folder: str | os.PathLike[str] | None = None,
    timeout_s: float = 300.0,
) -> Proof:
    """Run a training straight through, and once more with stops, each followed by a new process; compare every step.

    Args:
        train: a function at the top level of a module, called as ``train(watch, **arguments)`` (see `Watch`), or the
            path of a script, which asks `watch()` for its own. It resumes if there is something to resume.
        steps: the last step, counted from 1.
        stop_at: after which step to stop, or after which ones, one after another; default, the middle.
        kill: True: by SIGKILL, at once. False: by a KeyboardInterrupt out of ``watch.step``. ``"random"``: `kills`
            times by SIGKILL at any moment, which `seed` decides: in the middle of a step or of a save too.
        arguments: for the function, by name, as JSON; or those of the script's command line.
        folder: where both trainings run, each in a working directory of its own; default, a temporary one.
        timeout_s: seconds that one process may take.

    Raises ``ResumeNotProvedError``, an ``AssertionError``, with the first step that differs, what differs there and by
    how much; or with what kept the training from being compared. Raises ``ConfigurationError`` for other arguments.
    """
    if type(steps) is not int or steps < 2:
        raise ConfigurationError(f"steps={steps!r}: give an int of at least 2")
    stops = [steps // 2] if stop_at is None else [stop_at] if isinstance(stop_at, int) else list(stop_at)
    if not stops or stops != sorted(set(stops)) or not all(type(stop) is int and 1 <= stop < steps for stop in stops):
        raise ConfigurationError(f"stop_at={stop_at!r}: give steps from 1 to {steps - 1}, each once, in order")
    if kill not in (True, False, "random") or type(kills) is not int or kills < 1:
        raise ConfigurationError(f"kill={kill!r}, kills={kills!r}: give True, False or 'random', and at least 1")
    with ExitStack() as stack:
        place = folder if folder is not None else stack.enter_context(tempfile.TemporaryDirectory(prefix="mce-proof-"))
        trial = _Trial(train, steps, arguments, Path(place).resolve(), timeout_s)
        trial.at_random = kill == "random"
        reference = trial.whole("uninterrupted")
        if kill == "random":
            pieces = trial.killed_at_random(kills, random.Random(seed), reference.step_s)
        else:
            pieces = trial.stopped(stops, kill=kill)
        return _compared(trial, reference, pieces)


@dataclass(frozen=True, slots=True)
class _Journal:
    """What one process wrote down: the values of every step by path, and those of what it returned, at step 0."""

    steps: Mapping[int, Mapping[str, Leaf]]
    step_s: float = 0.0
    """Mean seconds from one step to the next."""

    @property
    def ended(self) -> bool:
        return 0 in self.steps

    def in_order(self) -> list[int]:
        """Return the steps, what was returned last."""
        return [*sorted(step for step in self.steps if step), *([0] if self.ended else [])]

    @property
    def first(self) -> int:
        return min((step for step in self.steps if step), default=0)

    @property
    def last(self) -> int:
        return max(self.steps, default=0)


class _Trial:
    """Starts the processes of one proof."""

    def __init__(self, train: object, steps: int, arguments: object, folder: Path, timeout_s: float) -> None:
        self.steps, self.folder, self._timeout_s = steps, folder, timeout_s
        if folder.exists() and any(folder.iterdir()):
            raise ConfigurationError(
                f"{folder} is not empty: a proof begins with nothing to resume; name another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._what = {**_place_of(train), "path": [os.path.abspath(entry) for entry in sys.path], "steps": steps}
        function = not self._what["script"]
        try:
            self._what["arguments"] = json.loads(json.dumps(dict(arguments) if function else list(arguments)))  # type: ignore[call-overload]
        except (TypeError, ValueError) as error:
            wanted = "names and JSON values, for a function" if function else "texts, for a script"
            raise ConfigurationError(f"arguments={arguments!r}: {wanted}") from error
        self.at_random = False
        self._count = 0

    def whole(self, name: str) -> _Journal:
        """Run to the end without a stop."""
        journal = self._run(name)
        if journal.last != self.steps:
            raise ResumeNotProvedError(
                f"the training reported steps {journal.first} to {journal.last}, and 1 to {self.steps} are to be"
                " compared: go on until watch.steps, and report every step with watch.step(...)"
            )
        return journal

    def stopped(self, stops: Sequence[int], *, kill: bool) -> list[_Journal]:
        """Run with a stop after each of `stops`, and then to the end."""
        pieces = []
        for stop in stops:
            piece = self._run("stopped", stop_at=stop, kill=kill)
            if piece.last != stop or piece.ended:
                raise ResumeNotProvedError(
                    f"the training was to be stopped after step {stop} and came to step {piece.last}: does it catch"
                    " KeyboardInterrupt, or had an earlier process passed that step?"
                )
            pieces.append(piece)
        return [*pieces, self._run("stopped")]

    def killed_at_random(self, kills: int, chosen: random.Random, step_s: float) -> list[_Journal]:
        """Run, kill at a random moment of the steps that are left, and again; then to the end."""
        pieces: list[_Journal] = []
        done = 0
        for _ in range(kills):
            moment = (chosen.randrange(self.steps - done), chosen.random() * step_s)
            pieces.append(self._run("stopped", kill_after=moment))
            done = max(done, pieces[-1].last)
            if pieces[-1].ended or done == self.steps:
                break
        return pieces if pieces[-1].ended else [*pieces, self._run("stopped")]

    def _run(
        self,
        name: str,
        *,
        stop_at: int | None = None,
        kill: bool = True,
        kill_after: tuple[int, float] | None = None,
    ) -> _Journal:
        self._count += 1
        seed = self._count if name == "stopped" and not self.at_random else _FIRST_SEED
        working, journal = self.folder / name, self.folder / f"{self._count}.jsonl"
        working.mkdir(exist_ok=True)
        spec = {**self._what, "journal": str(journal), "stop_at": stop_at, "kill": kill, "seed": seed}
        told, errors = self.folder / f"{self._count}.json", self.folder / f"{self._count}.err"
        told.write_text(json.dumps(spec), "utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
        with errors.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(told)],
                cwd=working,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                self._await(child, journal, kill_after)
            finally:
                child.kill()
                child.wait()
        found = _read(journal)
        wanted = child.returncode == 0 and found.ended
        wanted |= kill_after is not None and child.returncode == -signal.SIGKILL
        wanted |= stop_at is not None and found.last == stop_at and not found.ended and child.returncode != 0
        if not wanted:
            said = errors.read_text("utf-8", "replace").strip()[-3000:]
            raise ResumeNotProvedError(
                f"the {name} training ended by itself with status {child.returncode} after step {found.last}:\n{said}"
            )
        return found

    def _await(self, child: subprocess.Popen[bytes], journal: Path, kill_after: tuple[int, float] | None) -> None:
        """Wait for the end, or until so many steps and seconds later, and kill."""
        limit = time.monotonic() + self._timeout_s
        while child.poll() is None:
            if time.monotonic() > limit:
                raise ResumeNotProvedError(f"a process of the training took longer than timeout_s={self._timeout_s}")
            if kill_after is not None and journal.exists() and journal.read_bytes().count(b"\n") >= kill_after[0]:
                time.sleep(kill_after[1])
                child.kill()
            time.sleep(_POLL_S)


def _place_of(train: object) -> dict[str, Any]:
    """Return where a new process finds `train`."""
    if isinstance(train, str | os.PathLike):
        path = Path(train).resolve()
        if not path.is_file():
            raise ConfigurationError(f"there is no script {path}")
        return {"script": str(path)}
    name = getattr(train, "__qualname__", "")
    if not inspect.isfunction(train) or "<" in name:
        raise ConfigurationError(
            f"train={train!r}: a new process must find it again; give a function at the top level of a file, or the"
            " path of a script"
        )
    file = str(Path(inspect.getfile(train)).resolve())
    parts = Path(*train.__module__.split("."))
    roots = [Path(entry).resolve() for entry in sys.path]
    by_name = any(file in (str(root / f"{parts}.py"), str(root / parts / "__init__.py")) for root in roots)
    return {"script": "", "module": train.__module__ if by_name else "", "file": file, "function": name}


def _read(journal: Path) -> _Journal:
    texts = journal.read_text("utf-8").splitlines(keepends=True) if journal.exists() else []
    lines = [json.loads(text) for text in texts if text.endswith("\n")]  # one that was killed may leave half a line
    arrays = str(arrays_of(journal))
    steps = {line["step"]: {row[0]: _leaf(row, arrays) for row in line["leaves"]} for line in lines}
    spent_s = lines[-1]["time_s"] - lines[0]["time_s"] if lines else 0.0
    return _Journal(steps, spent_s / max(len(lines) - 1, 1))


def _leaf(row: list[Any], arrays: str) -> Leaf:
    path, sort, kind, text, *place = row
    return Leaf(path, sort, kind, text, place=(arrays, *place) if place else None)


def _compared(trial: _Trial, reference: _Journal, pieces: Sequence[_Journal]) -> Proof:
    done, stops, values = 0, [], 0
    for number, piece in enumerate(pieces):
        if number:
            stops.append(Stop(done, piece.first))
        if piece.first > done + 1:
            raise ResumeNotProvedError(
                f"the training was stopped after step {done} and went on with step {piece.first}: what was between is"
                " lost. Is the position in the data, or the step, ahead of the model?"
            )
        if number and piece.first == 1 and done and not trial.at_random:
            raise ResumeNotProvedError(_nothing_resumed(stops))
        for step in piece.in_order():
            theirs, ours = reference.steps.get(step, {}), piece.steps[step]
            if paths := [path for path in {**theirs, **ours} if _parts(theirs.get(path)) != _parts(ours.get(path))]:
                raise ResumeNotProvedError(_report(trial, reference, step, paths, ours, stops))
            values += len(ours)
        done = max(done, piece.last)
    if not any(stop.went_on_with > 1 for stop in stops):
        raise ResumeNotProvedError(_nothing_resumed(stops))
    return Proof(trial.steps, tuple(stops), values)


def _nothing_resumed(stops: Sequence[Stop]) -> str:
    return (
        f"nothing was resumed: stopped after step {stops[-1].after if stops else 0}, the training began with step 1"
        " again. Save before the stop, and call run.resume(...) with the objects of the training"
    )


def _parts(leaf: Leaf | None) -> object:
    return leaf and (leaf.kind, leaf.text)


def _report(
    trial: _Trial, reference: _Journal, step: int, paths: list[str], ours: Mapping[str, Leaf], stops: Sequence[Stop]
) -> str:
    theirs = reference.steps.get(step, {})
    shown = [
        f"{path}: {difference(*(leaf and leaf.with_bytes() for leaf in (theirs.get(path), ours.get(path))))}"
        for path in paths[:_SHOWN]
    ]
    if len(paths) > _SHOWN:
        shown.append(f"and {len(paths) - _SHOWN} more")
    where = f"step {step}" if step else "what it returned"
    history = "; ".join(f"stopped after step {stop.after}, went on with step {stop.went_on_with}" for stop in stops)
    text = (
        f"the resumed training is not the uninterrupted one: it differs first in {where}, in {len(paths)} of"
        f" {len({**theirs, **ours})} values ({history or 'before any stop'}):{bullet_list(shown)}"
    )
    again = trial.whole("again")
    unsteady = [s for s in reference.in_order() if _values(reference.steps[s]) != _values(again.steps.get(s, {}))]
    if unsteady:
        since = f"from step {unsteady[0]} on" if unsteady[0] else "in what they return"
        return (
            f"{text}\nTwo uninterrupted trainings differ too, {since}: the training is not deterministic by itself."
            " Seed every random stream, and see torch.use_deterministic_algorithms"
        )
    hint = next((hint for part, hint in _HINTS if any(part in path for path in paths)), "")
    return f"{text}\nThe training itself is deterministic.{f' Likely {hint}.' if hint else ''}"


def _values(leaves: Mapping[str, Leaf]) -> object:
    return {path: _parts(leaf) for path, leaf in leaves.items()}
