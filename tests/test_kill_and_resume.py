"""Kill -9 at any moment loses nothing: the next start goes on in the middle of the epoch, bit for bit.

Every start is a new process of the real example. What it restored is compared, part by part, with what an uninterrupted
run held at that step; leaving out any one of the captured items makes the comparison fail.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="missing: pip install 'model-checkpoint-engine[examples]'")

CHILD = Path(__file__).parent / "observed_training.py"
KILLS = 200 if os.environ.get("MCE_FULL") else 40
SMALL = ("--epochs", "2", "--width", "8", "--save-every", "20")
ITEMS = ("model", "optimizer", "scheduler", "loader", "progress", "python", "numpy", "torch")


def _hear_interruptions() -> None:
    """Shells let what they start in the background ignore SIGINT, and every child inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(folder / "journal"), *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=_hear_interruptions,
    )  # fmt: skip


def finish(child: subprocess.Popen[str]) -> str:
    output, errors = child.communicate(timeout=240)
    assert child.returncode == 0, errors[-3000:]
    return output


def journal(folder: Path) -> list[dict[str, object]]:
    path = folder / "journal"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[object, object]:
    """What an uninterrupted run of the example's own length held at every save, and its weights in the end.

    A step may have two saves: the one after the last batch of an epoch, and the one at the end of the epoch.
    """
    folder = tmp_path_factory.mktemp("reference")
    finish(start(folder))
    lines = journal(folder)
    held: dict[object, object] = {line["step"]: [] for line in lines if line["what"] == "save"}
    for line in lines:
        if line["what"] == "save":
            held[line["step"]].append(line["parts"])  # type: ignore[attr-defined]
    return {**held, "end": lines[-1]["parts"]}


@pytest.mark.timeout(3600)
def test_every_restart_after_a_kill_resumes_exactly(reference: dict[object, object], tmp_path: Path) -> None:
    seed = int(os.environ.get("MCE_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}: MCE_SEED={seed} repeats this run")
    chosen = random.Random(seed)
    kills, resumed, in_the_middle, finished, number = 0, 0, 0, 0, 0
    folder = tmp_path / "0"
    while kills < KILLS:
        child = start(folder)
        assert child.stdout is not None
        if chosen.random() < 0.9:  # most kills fall into the training, some into the imports before it
            child.stdout.readline()
        time.sleep(chosen.random() ** 2 * 4)
        ended = child.poll() is not None
        child.send_signal(signal.SIGKILL)
        _, errors = child.communicate()
        lines = journal(folder)
        if ended:
            assert child.returncode == 0, errors[-3000:]
            assert lines[-1]["parts"] == reference["end"]
            finished += 1
            number += 1
            folder = tmp_path / str(number)
            continue
        kills += 1
        for line in lines:
            if line["what"] == "resume":
                assert line["parts"] in reference[line["step"]], f"resumed at step {line['step']} with another state"
    finish(start(folder))
    for each in range(number + 1):
        lines = journal(tmp_path / str(each))
        assert lines[-1]["parts"] == reference["end"]
        for line in lines:
            if line["what"] in ("save", "resume"):
                assert line["parts"] in reference[line["step"]]
                resumed += line["what"] == "resume"
                in_the_middle += line["what"] == "resume" and line["step"] % 44 != 0
    print(f"{kills} kills, {resumed} resumes ({in_the_middle} in the middle of an epoch), {finished + 1} runs finished")
    assert resumed >= kills // 2
    assert in_the_middle >= resumed // 3


@pytest.fixture(scope="module")
def small_reference(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("small")
    finish(start(folder, *SMALL))
    return journal(folder)[-1]["parts"]


def killed_and_resumed(folder: Path, *options: str, die_at: int = 60) -> list[dict[str, object]]:
    child = start(folder, "--die-at", str(die_at), *SMALL, *options)
    child.communicate(timeout=240)
    assert child.returncode == -signal.SIGKILL
    finish(start(folder, *SMALL, *options))
    return journal(folder)


def test_with_everything_captured_the_weights_in_the_end_are_the_same(small_reference: object, tmp_path: Path) -> None:
    lines = killed_and_resumed(tmp_path / "whole")
    assert [line["step"] for line in lines if line["what"] == "resume"] == [60]
    assert lines[-1]["parts"] == small_reference


def test_a_kill_between_the_last_batch_and_the_end_of_its_epoch_loses_neither(
    small_reference: object, tmp_path: Path
) -> None:
    lines = killed_and_resumed(tmp_path / "edge", "--save-every", "22", die_at=44)
    saved = [line["parts"] for line in lines if line["what"] == "save" and line["step"] == 44]
    assert [line["parts"] for line in lines if line["what"] == "resume"] == [saved[0]]
    assert len(saved) == 2, "the end of the epoch is saved after the resume"
    assert lines[-1]["parts"] == small_reference


@pytest.mark.parametrize("item", ITEMS)
def test_leaving_out_one_captured_item_is_noticed(item: str, tmp_path: Path) -> None:
    lines = killed_and_resumed(tmp_path / "less", "--drop", item)
    held = next(line["parts"] for line in lines if line["what"] == "save" and line["step"] == 60)
    restored = next(line["parts"] for line in lines if line["what"] in ("resume", "fresh") and line["step"] == 60)
    assert isinstance(held, dict)
    assert isinstance(restored, dict)
    differing = {name for name in held if held[name] != restored[name]}
    assert item in differing
    assert differing <= {item, "next batch"}


def test_ctrl_c_leaves_a_run_that_goes_on(small_reference: object, tmp_path: Path) -> None:
    folder = tmp_path / "interrupted"
    arguments = ("--epochs", "2000", "--width", "8")
    child = start(folder, *arguments)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.7)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode != 0
    assert "KeyboardInterrupt" in errors
    again = start(folder, *arguments)
    assert again.stdout is not None
    again.stdout.readline()
    again.kill()
    again.communicate()
    assert journal(folder)[-1]["what"] in ("resume", "save")
    assert any(line["what"] == "resume" for line in journal(folder))
