"""``ls``, ``show``, ``best`` and ``diff`` on a real store, and on none."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from model_checkpoint.cli.failures import Exit
from model_checkpoint.cli.place import database_file
from model_checkpoint.kernel import Kernel

LOOKING = [
    ("ls",), ("show", "latest"), ("best",), ("verify",), ("verify", "latest"), ("diff", "a", "b"), ("store", "info"),
    ("store", "rebuild"), ("export", "latest", "x"), ("doctor",), ("config", "show"), ("plugins", "list"),
    ("hooks", "list"),
]  # fmt: skip


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_looking_where_nothing_is_creates_nothing(command: tuple[str, ...], mce) -> None:
    mce(*command)

    assert os.listdir() == []


def test_where_nothing_is_a_sentence_says_what_was_looked_for(mce) -> None:
    result = mce("ls")

    assert result.exit_code == Exit.NOT_FOUND
    assert f"no database {Path.cwd()}/experiments.db" in result.stderr


def test_where_only_checkpoints_are_left_the_sentence_says_how_to_record_them_anew(mce, store) -> None:
    Path("experiments.db").unlink()

    assert "mce store rebuild" in mce("ls").stderr


def test_ls_lists_all_runs_the_newest_first(mce_json, ids) -> None:
    assert [record["id"] for record in mce_json("ls")] == ids[::-1]


def test_ls_takes_a_query_and_its_order(mce_json, ids) -> None:
    found = mce_json("ls", "metrics.val_loss < 0.2 and run = 'digits-1' order by step")

    assert [record["id"] for record in found] == ids[1:3]


def test_ls_says_where_it_stopped_and_zero_is_no_limit(mce, mce_json, ids) -> None:
    assert "--limit 0 shows all" in mce("ls", "--limit", 2).output
    assert len(mce_json("ls", "--limit", 0)) == len(ids)
    assert len(mce_json("ls", "step >= 0", "--limit", 2)) == 2


def test_ls_shows_the_best_of_a_run_by_a_star_and_marks(mce, store, ids) -> None:
    with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel:
        kernel.pin(ids[0])
        kernel.alias("production", ids[0])
        kernel.records.mark_damaged(ids[2], "a byte is wrong")
    lines = {line.split()[0]: line for line in mce("ls").output.splitlines()}

    assert "val_loss=0.12*" in lines[ids[1]]
    assert "pinned, production, kept" in lines[ids[0]]
    assert "DAMAGED" in lines[ids[2]]


def test_a_query_that_cannot_be_read_is_wrong_usage_and_shows_the_place(mce, store) -> None:
    result = mce("ls", "step <")

    assert result.exit_code == Exit.USAGE
    assert "position" in result.stderr


def test_minus_c_is_as_if_it_were_called_there(mce_json, store, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert len(mce_json("ls", "-C", store)) == 4
    assert Path.cwd() == tmp_path


def test_database_and_checkpoint_dir_may_be_named_outright(mce_json, store, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = ("--database", f"sqlite:///{store}/experiments.db", "--checkpoint-dir", store / "checkpoints")

    assert mce_json("verify", *where)["ok"] is True


def test_show_tells_everything_that_is_known(mce, mce_json, ids) -> None:
    told = mce_json("show", ids[1])

    assert (told["step"], told["metrics"], told["best_for"]) == (1, {"val_loss": 0.12}, ["val_loss"])
    output = mce("show", ids[1]).output
    assert told["digest"] in output
    assert "(best)" in output


def test_best_is_that_of_the_newest_run_unless_told_otherwise(mce_json, ids) -> None:
    assert mce_json("best")["id"] == ids[3]
    assert mce_json("best", "--run", "digits-1")["id"] == ids[1]
    assert mce_json("best", "--run", "digits-1", "--mode", "max")["id"] == ids[0]
    assert mce_json("best", "--all-runs")["id"] == ids[3]


@pytest.mark.parametrize("arguments", [("--run", "nobody"), ("--metric", "accuracy")])
def test_a_best_that_is_not_there_is_not_found(arguments: tuple[str, ...], mce, store) -> None:
    assert mce("best", *arguments).exit_code == Exit.NOT_FOUND


def test_diff_names_the_tensors_and_metrics_that_differ(mce, mce_json, ids) -> None:
    told = mce_json("diff", ids[0], ids[1])

    assert "model.w" in told["changed"]
    assert "model.fixed" in told["same"]
    assert told["metrics"] == {"val_loss": [0.3, 0.12]}
    output = mce("diff", ids[0], ids[1]).output
    assert "model: 1 of 2 tensors changed, by at most 1 (model.w)" in output
    assert "metrics.val_loss: 0.3 -> 0.12" in output


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////data/a.db?timeout=5", "/data/a.db"),
        ("sqlite+pysqlite:///a.db", "a.db"),
        ("tinydb:///a.json", "a.json"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("sqlite:///file:a?mode=memory", None),
        ("postgresql://host/a", None),
    ],
)
def test_the_file_of_a_database_url_is_known_where_there_is_one(url: str, file: str | None) -> None:
    assert database_file(url) == (Path(file).absolute() if file else None)


def test_where_another_database_lies_it_is_named_and_no_second_one_offered(mce, store) -> None:
    Path("experiments.db").rename("demo.db")
    told = mce("ls").stderr

    assert "demo.db" in told
    assert "--database sqlite:///demo.db" in told
    assert "rebuild" not in told
    assert mce("ls", "--database", "sqlite:///demo.db").exit_code == Exit.OK


@pytest.mark.parametrize(
    "command", [("ls",), ("show", "latest"), ("best",), ("store", "info"), ("verify",)], ids=" ".join
)
def test_records_are_shown_where_the_storage_backend_is_not_available(
    command: tuple[str, ...], mce, unavailable
) -> None:
    result = mce(*command)

    assert result.exit_code == Exit.OK
    assert len(result.stderr.splitlines()) == 1
    assert "safetensors" in result.stderr
    assert "records can be looked at" in result.stderr


def test_what_is_stored_by_a_backend_that_is_not_available_cannot_be_read(mce, unavailable) -> None:
    result = mce("export", unavailable, "out.safetensors")

    assert result.exit_code != Exit.OK
    assert "mce plugins enable safetensors" in result.stderr


def test_sizes_are_told_in_a_way_that_needs_no_reckoning(mce, ids) -> None:
    assert re.search(r"^size +\S+ k?B \(\S+ k?B written\)$", mce("show", ids[0]).output, re.MULTILINE)


def test_diff_has_a_line_for_each_tensor_when_asked(mce, mce_json, ids) -> None:
    output = mce("diff", "--all", ids[0], ids[1]).output

    assert "~ model.w  by at most 1, norm 2.45" in output
    assert mce_json("diff", ids[0], ids[1])["changes"]["model.w"]["max_abs"] == 1.0


def test_diff_of_digests_reads_no_tensor(mce, mce_json, ids) -> None:
    for pack in Path("checkpoints/vault/packs").iterdir():
        pack.unlink()

    assert "model: 1 of 2 tensors changed\n" in mce("diff", "--digests", ids[0], ids[1]).output
    assert mce_json("diff", "--digests", ids[0], ids[1])["changes"] == {}
    assert mce("diff", ids[0], ids[1]).exit_code != Exit.OK


def test_diff_folds_by_object_what_is_new_gone_and_of_another_shape(mce, store) -> None:
    with Kernel.open("sqlite:///experiments.db", quiet=True) as kernel:
        kernel.start_run("shapes")
        first = kernel.save({"a": {"x": np.zeros(2), "old": np.zeros(1)}, "b": {"y": np.zeros(3)}})
        second = kernel.save({"a": {"x": np.zeros(3), "new": np.zeros(4)}, "b": {"y": np.zeros(3)}})

    folded, listed = mce("diff", first, second).output, mce("diff", "--all", first, second).output
    assert "a: 1 of 1 tensors changed, 1 are new, 1 are gone\n" in folded
    assert "b:" not in folded
    assert "~ a.x  float64 (2,) -> float64 (3,)" in listed


def test_a_database_of_somebody_else_or_none_yet_is_left_alone(mce) -> None:
    empty, other = Path("empty.db"), Path("other.db")
    empty.touch()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
        connection.commit()
    before = other.read_bytes()
    for file in (empty, other):
        result = mce("ls", "--database", f"sqlite:///{file}")
        assert result.exit_code == Exit.NOT_FOUND
        assert f"{file} is no database of ours" in result.stderr
    assert (empty.stat().st_size, other.read_bytes()) == (0, before)
