"""A new plugin of every kind is installed, passes its own tests, is found by a kernel, and does its work there."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.cli.scaffold.kinds import KINDS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scaffold")]

WORK = {
    "storage": """
        with Kernel.open("sqlite:///:memory:", storage_backend="my-storage", quiet=True) as kernel:
            saved = kernel.save({"w": [1, 2]})
            assert kernel.load(saved)["w"] == [1, 2]
        assert list(Path("checkpoints/my-storage").glob("*.checkpoint"))
    """,
    "record-store": """
        with Kernel.open("my-record-store://", storage_backend="memory", quiet=True) as kernel:
            for step in range(3):
                kernel.save({"w": step}, step=step, metrics={"val_loss": 1 - step / 4})
            assert [each.step for each in kernel.query("metrics.val_loss < 0.9 order by step")] == [1, 2]
    """,
    "hook": """
        with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
            assert kernel.plugins.get("my-hook").state == "registered"
            kernel.save({"w": 1}, metrics={"val_loss": 0.5})
            assert kernel.plugins.get("my-hook").state == "active"
        assert "best by val_loss: 0.5" in Path("best.log").read_text()
    """,
    "adapter": """
        from mce_my_adapter.framework import Model, Vector
        with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
            live = Model(w=Vector.of([0.0]))
            kernel.load(kernel.save({"model": Model(w=Vector.of([2.5]))}), into={"model": live})
        assert list(live.vectors["w"].numbers) == [2.5]
    """,
    "analyzer": """
        with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
            kernel.log_metrics({"loss": 0.5}, step=1)
            assert kernel.analyzer("my-analyzer").report()["loss"]["average"] == 0.5
    """,
    "codec": """
        import numpy as np
        with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
            saved = kernel.save({"model": {"w": np.arange(3.0)}})
            (file,) = kernel.export(saved, "model.json", format="my-codec")
            again = kernel.import_checkpoint(file)
            assert kernel.load(again)["model"]["w"].tolist() == [0.0, 1.0, 2.0]
    """,
    "command": """
        from click.testing import CliRunner
        with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel:
            saved = kernel.save({"w": 1}, step=7)
        with Kernel.prepare() as kernel:
            command = kernel.plugins.provided.others["register_commands"].get("my-command").create()
        assert CliRunner().invoke(command).output == f"{saved}  step 7  sound\\n"
    """,
    "save-decision": """
        from model_checkpoint.contracts import Moment
        with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
            kinds = kernel.plugins.provided.others["register_save_decisions"]
            decision = kinds.get("my-save-decision").create("2")
        assert [step for step in range(1, 9) if decision.decide(Moment(step=step, saved_step=step - 1))] == [2, 4, 8]
    """,
}


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_pass(kind: str, installed: Any, projects: dict[str, Path]) -> None:
    done = installed("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", cwd=projects[kind])

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_finds_it_and_it_does_its_work(kind: str, installed: Any, tmp_path: Path) -> None:
    program = "from pathlib import Path\nfrom model_checkpoint.kernel import Kernel\n" + textwrap.dedent(WORK[kind])
    done = installed("-c", program, cwd=tmp_path)

    assert done.returncode == 0, done.stderr


def test_all_of_them_are_found_with_their_manifests_and_none_is_odd(installed: Any, tmp_path: Path) -> None:
    program = """
        from model_checkpoint.kernel import Kernel
        with Kernel.open("sqlite:///:memory:", storage_backend="memory", quiet=True) as kernel:
            mine = [info for info in kernel.plugins.list() if info.name.startswith("my-")]
            for info in mine:
                kernel.plugins.activate(info.name)
            for info in kernel.plugins.list():
                if info.name.startswith("my-"):
                    print(info.name, info.state, info.has_manifest, info.error, *info.notes)
    """
    done = installed("-c", textwrap.dedent(program), cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"my-{kind} active True " for kind in sorted(KINDS)]
