"""Real trainings of torch that are killed and resumed in a new process: every value of every step is the same."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from model_checkpoint.testing.resume_equivalence import Stop, assert_resume_equivalent

TRAININGS = Path(__file__).parent / "trainings"
pytestmark = pytest.mark.slow


def prove(script: str, *arguments: str, stop_at: int | Sequence[int] = 7, steps: int = 10) -> tuple[Stop, ...]:
    return assert_resume_equivalent(TRAININGS / f"{script}.py", arguments=arguments, steps=steps, stop_at=stop_at).stops


def test_every_optimizer_goes_on_whether_fused_foreach_or_neither() -> None:
    assert prove("optimizers") == (Stop(7, 7),)


def test_every_scheduler_goes_on() -> None:
    assert prove("schedulers", stop_at=5) == (Stop(5, 6),)


def test_streams_buffers_averages_ties_scalers_and_frozen_layers_go_on() -> None:
    assert prove("networks", stop_at=[3, 6]) == (Stop(3, 4), Stop(6, 7))


def test_a_group_that_was_added_late_goes_on_where_the_script_looks_before_it_resumes() -> None:
    assert prove("late_group", stop_at=[3, 5], steps=7) == (Stop(3, 4), Stop(5, 6))


def test_a_compiled_module_goes_on() -> None:
    assert prove("networks", "compiled", steps=6, stop_at=3) == (Stop(3, 4),)


def test_an_accumulation_that_was_stopped_in_its_middle_goes_on() -> None:
    assert prove("accumulation", stop_at=[3, 6]) == (Stop(3, 4), Stop(6, 7))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_resumable_loader_goes_on_in_the_middle_of_an_epoch(workers: str) -> None:
    assert prove("data", "resumable", workers, stop_at=9, steps=14) == (Stop(9, 9),)


def test_a_sampler_with_a_state_goes_on() -> None:
    assert prove("data", "sampler", stop_at=8, steps=14) == (Stop(8, 9),)


@pytest.mark.skipif(importlib.util.find_spec("torchdata") is None, reason="torchdata is not installed")
@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_stateful_loader_of_torchdata_goes_on(workers: str) -> None:
    assert prove("data", "stateful", workers, stop_at=8, steps=14) == (Stop(8, 9),)
