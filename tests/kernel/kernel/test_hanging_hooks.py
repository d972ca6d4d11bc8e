"""What a hook that hangs costs a save, and how one sees which it was."""

from __future__ import annotations

import time
from pathlib import Path

from model_checkpoint.checkpoint.enhanced_manager import EnhancedCheckpointManager
from model_checkpoint.hooks import HookEvent

LIMIT_S = 0.05


def seconds_of_a_save(manager: EnhancedCheckpointManager) -> float:
    started = time.perf_counter()
    manager.save_checkpoint(state={"x": 1})
    return time.perf_counter() - started


def test_it_costs_its_limit_and_is_switched_off_after_two(tmp_path: Path) -> None:
    costs = []
    for attempt in range(5):  # a busy machine may hold up any one of them
        manager = EnhancedCheckpointManager(f"sqlite:///{tmp_path}/{attempt}.db", storage_backend="memory", quiet=True)
        seconds_of_a_save(manager)
        plain_s = min(seconds_of_a_save(manager) for _ in range(3))
        manager.register_hook(
            "hangs", lambda context: time.sleep(0.5), [HookEvent.AFTER_CHECKPOINT_SAVE], timeout=LIMIT_S
        )
        hanging_s = [seconds_of_a_save(manager) for _ in range(2)]
        costs += [seconds - plain_s for seconds in hanging_s]
        assert min(hanging_s) >= LIMIT_S
        (line,) = [line for line in manager.hook_manager.stats() if line.plugin == "hangs"]
        assert (line.calls, line.timeouts, line.quarantined) == (2, 2, True)
        seconds_of_a_save(manager)
        (line,) = [line for line in manager.hook_manager.stats() if line.plugin == "hangs"]
        assert line.calls == 2, "it is not called any more"
        manager.close()
    assert min(costs) <= 0.1
