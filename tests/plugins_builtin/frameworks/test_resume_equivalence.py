"""The proof that a training resumes finds what does not come back, and says what, where and by how much."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import model_checkpoint.engine as mc
from model_checkpoint.errors import ConfigurationError
from model_checkpoint.testing.resume_equivalence import (
    Proof,
    ResumeNotProvedError,
    Stop,
    Watch,
    assert_resume_equivalent,
    watch,
)

SCRIPT = """
import random
import model_checkpoint.engine as mc
from model_checkpoint.testing.resume_equivalence import watch

random.seed(1)
weights, seen = {"w": 0.0}, watch()
run = mc.start("proof", quiet=True)
for step in range(run.resume(weights=weights).step + 1, STEPS + 1):
    weights["w"] += random.random()
    run.save(step=step)
    seen.step(step, weights=weights)
print("weights", weights["w"])
"""


def walk(watch: Watch, *, fault: str = "", save_every: int = 2, nap_s: float = 0.0) -> float:
    """Walk at random with a generator of its own as well; a `fault` is what a user may get wrong."""
    random.seed(1)
    own = random.Random(2)
    weights = {"w": 0.0, "drawn": own.getstate()}
    run = mc.start("proof", quiet=True)
    step = run.resume(weights={"w": 0.0} if fault == "no resume" else weights).step
    step = 0 if fault == "no resume" else step
    if fault != "own generator" and step:
        own.setstate(weights["drawn"])
    if fault == "draws after resume":
        random.random()
    while step < watch.steps:
        step += 1
        noise = time.time_ns() % 997 if fault == "clock" else random.random()
        weights["w"] += noise + own.random()
        weights["drawn"] = own.getstate()
        time.sleep(nap_s)
        if fault == "crash" and step == 3:
            raise ValueError("the data are gone")
        if step % save_every == 0:
            run.save(step=step)
        watch.step(step, w=weights["w"])
        if fault == "early end" and step == 5:
            break
    return weights["w"]


def prove(fault: str = "", **options: object) -> Proof:
    return assert_resume_equivalent(walk, steps=8, arguments={"fault": fault}, **options)


def refusal(fault: str, **options: object) -> str:
    with pytest.raises(ResumeNotProvedError) as refused:
        prove(fault, **options)
    return str(refused.value)


@pytest.mark.slow
def test_a_training_that_resumes_is_proved_and_the_proof_says_what_was_done() -> None:
    proof = prove(stop_at=5)
    assert proof.stops == (Stop(after=5, went_on_with=5),)
    assert str(proof).startswith("8 steps, stopped after step 5 (went on with 5): ")


@pytest.mark.slow
def test_several_stops_by_an_exception_are_proved(tmp_path: Path) -> None:
    proof = prove(stop_at=[3, 4, 7], kill=False, folder=tmp_path / "kept")
    assert proof.stops == (Stop(3, 3), Stop(4, 5), Stop(7, 7))
    assert (tmp_path / "kept/stopped/experiments.db").exists()


@pytest.mark.slow
def test_kills_at_random_moments_are_proved() -> None:
    arguments = {"nap_s": 0.05, "save_every": 1}
    proof = assert_resume_equivalent(walk, steps=12, kill="random", kills=3, seed=3, arguments=arguments)
    assert any(stop.went_on_with > 1 for stop in proof.stops)


@pytest.mark.slow
def test_a_generator_that_was_left_out_is_found_with_the_step_and_the_amount() -> None:
    said = refusal("own generator", stop_at=4)
    assert "it differs first in step 5, in 1 of 3 values (stopped after step 4, went on with step 5)" in said
    assert "- w: " in said
    assert "apart" in said
    assert "The training itself is deterministic." in said


@pytest.mark.slow
def test_a_draw_between_resume_and_the_first_step_is_found_in_the_stream_with_a_hint() -> None:
    said = refusal("draws after resume", stop_at=4)
    assert "- streams.python: this random stream stands somewhere else" in said
    assert "Likely a random stream" in said


@pytest.mark.slow
def test_a_training_that_is_not_deterministic_is_told_apart_from_one_that_does_not_resume() -> None:
    assert "\nTwo uninterrupted trainings differ too, from step 1 on: the training is not" in refusal("clock")


@pytest.mark.slow
def test_a_training_that_starts_over_is_not_proved_although_it_ends_alike() -> None:
    assert "nothing was resumed" in refusal("no resume")


@pytest.mark.slow
def test_what_the_training_itself_failed_with_is_passed_on() -> None:
    said = refusal("crash")
    assert "the uninterrupted training ended by itself with status 1 after step 2" in said
    assert "ValueError: the data are gone" in said


@pytest.mark.slow
def test_a_training_that_ends_early_is_not_compared() -> None:
    assert "reported steps 1 to 5, and 1 to 8 are to be compared" in refusal("early end")


@pytest.mark.slow
def test_a_script_is_proved_and_runs_by_itself_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("STEPS", "6"))
    assert assert_resume_equivalent(script, steps=6).stops == (Stop(3, 4),)
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=60)
    assert capfd.readouterr().out.startswith("weights 2.9455")


def test_outside_of_a_proof_a_watch_does_nothing() -> None:
    watch().step(1, anything=object())
    assert watch().steps == 0


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"steps": 1}, "steps=1"),
        ({"stop_at": 8}, "stop_at=8"),
        ({"stop_at": [3, 2]}, "stop_at"),
        ({"kill": "maybe"}, "kill='maybe'"),
        ({"arguments": {"x": object()}}, "names and JSON values, for a function"),
    ],
)
def test_arguments_that_prove_nothing_are_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        assert_resume_equivalent(walk, **{"steps": 8, **options})


def test_a_function_that_a_new_process_could_not_find_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at the top level of a file"):
        assert_resume_equivalent(lambda watch: None, steps=4)


def test_a_script_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no script"):
        assert_resume_equivalent(tmp_path / "no.py", steps=4)


def test_a_folder_in_which_something_could_be_resumed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "experiments.db").touch()
    with pytest.raises(ConfigurationError, match="is not empty"):
        assert_resume_equivalent(walk, steps=4, folder=tmp_path)
