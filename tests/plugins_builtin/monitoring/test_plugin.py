"""The events of a kernel end up in the performance report of that kernel, and of no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model_checkpoint.errors import StorageError, UnstorableStateError
from model_checkpoint.kernel import Kernel
from model_checkpoint.monitoring.report import OPERATIONS

STATE = {"w": np.ones(1000, dtype=np.float64)}


def opened(folder: Path) -> Kernel:
    return Kernel.open(f"sqlite:///{folder}/experiments.db", storage_backend="pytorch", plugins="builtin", quiet=True)


def operations(kernel: Kernel) -> dict[str, dict[str, float]]:
    return kernel.performance_report()["operations"]  # type: ignore[return-value]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with opened(tmp_path) as kernel:
        yield kernel


def test_the_plugin_provides_the_analyzer(kernel: Kernel) -> None:
    info = kernel.plugins.get("performance")

    assert info is not None
    assert info.provides == ("analyzer:performance",)


def test_saves_loads_and_checks_are_timed_and_their_bytes_counted(kernel: Kernel) -> None:
    saved = [kernel.save(STATE, step=step) for step in range(3)]
    kernel.load(saved[0])
    kernel.verify(saved[1])
    found = operations(kernel)

    assert {name: found[name]["count"] for name in OPERATIONS} == {"save": 3, "load": 1, "verify": 1, "stage": 3}
    assert {name: found[name]["errors"] for name in OPERATIONS} == dict.fromkeys(OPERATIONS, 0)
    assert found["save"]["nbytes"] >= 3 * STATE["w"].nbytes
    assert found["save"]["nbytes_written"] > found["save"]["nbytes"]
    assert found["load"]["nbytes"] >= STATE["w"].nbytes
    assert found["verify"]["nbytes"] > 0
    for name in OPERATIONS:
        assert 0 < found[name]["p50_s"] <= found[name]["p99_s"] <= found[name]["max_s"] <= found[name]["total_s"]
    assert found["stage"]["total_s"] < found["save"]["total_s"]


def test_a_failing_save_is_an_error_and_no_save(kernel: Kernel) -> None:
    with pytest.raises(UnstorableStateError):
        kernel.save({"f": lambda: None})

    assert (operations(kernel)["save"]["errors"], operations(kernel)["save"]["count"]) == (1, 0)


def test_a_failing_load_is_an_error_and_damage_found_is_one_of_the_check(kernel: Kernel) -> None:
    saved = kernel.save(STATE)
    path = kernel.checkpoint_path(saved)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(StorageError):
        kernel.load(saved)
    kernel.verify(saved)
    found = operations(kernel)

    assert (found["load"]["errors"], found["load"]["count"]) == (1, 0)
    assert (found["verify"]["errors"], found["verify"]["count"]) == (1, 1)


def test_two_open_kernels_do_not_mix(tmp_path: Path, kernel: Kernel) -> None:
    (tmp_path / "other").mkdir()
    with opened(tmp_path / "other") as other:
        kernel.save(STATE)
        kernel.save(STATE)
        other.save(STATE)

        assert operations(kernel)["save"]["count"] == 2
        assert operations(other)["save"]["count"] == 1
