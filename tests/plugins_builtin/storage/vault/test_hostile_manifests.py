"""Manifests, marks and FORMAT files that somebody made by hand, with right checksums and wrong content.

Each is refused with an error of ours: fast, in little memory, and it harms nothing beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.contracts import Mark, StorageBackend
from model_checkpoint.errors import IntegrityError, StorageError
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.storage_samples import contents, payload

Hostile = runpy.run_path(str(Path(__file__).with_name("hostile.py")))
FULL, seal, manifest, place, within_bounds, still_good = (
    Hostile[name] for name in ("FULL", "seal", "manifest", "place", "within_bounds", "still_good")
)


@pytest.fixture
def root(folder: Path) -> Path:
    store = open_vault(folder / "store", FsOps())
    store.write(payload("good"))
    store.close()
    return folder / "store"


def deep(depth: int) -> bytes:
    return seal(manifest({}).partition(b"\n")[0].replace(b'"objects":{}', b'"objects":' + b"[" * depth + b"]" * depth))


NAMED = f"{'0' * 24}-{'0' * 16}.safetensors"
MANIFESTS: dict[str, bytes] = {
    "no JSON": seal(b"{"),
    "a list": seal(b"[]"),
    "a number": seal(b"1"),
    "no UTF-8": seal(b'{"\xff":1}'),
    "of another checkpoint": manifest(place(NAMED), id="good"),
    "of a newer version": manifest(place(NAMED), version=2),
    "version is true": manifest(place(NAMED), version=True),
    "another format": manifest(place(NAMED), format="zip"),
    "no buffers": manifest(place(NAMED), buffers=None),
    "a name twice": manifest(place(NAMED), buffers=json.loads(manifest(place(NAMED)).split(b"\n")[0])["buffers"] * 2),
    "place is null": manifest(None),
    "place is a list": manifest([]),
    "place is empty": manifest({}),
    "place without a pack": manifest({"sha256": FULL, "xxh3": "0" * 32}),
    "pack is null": manifest(place(None)),
    "pack is a number": manifest(place(7)),
    "pack is a list": manifest(place([NAMED])),
    "pack is a path": manifest(place("../../../etc/passwd")),
    "pack is a path with a pack's name": manifest(place(f"../quarantine/{NAMED}")),
    "pack is long": manifest(place("x" * 100_000)),
    "pack with NUL": manifest(place("\0" + NAMED)),
    "pack is a surrogate": manifest(place("\ud800")),
    "digest is null": manifest(place(NAMED, sha256=None)),
    "digest is a number": manifest(place(NAMED, sha256=5)),
    "digest is a list": manifest(place(NAMED, sha256=[FULL])),
    "digest is no hex": manifest(place(NAMED, sha256="z" * 64)),
    "digest is odd": manifest(place(NAMED, sha256="a")),
    "digest is empty": manifest(place(NAMED, sha256="")),
    "digest is a surrogate": manifest(place(NAMED, sha256="\ud800" * 64)),
    "digest in capitals": manifest(place(NAMED, sha256=FULL.upper())),
    "fast digest is null": manifest(place(NAMED, xxh3=None)),
    "negative length": manifest(place(NAMED), nbytes=-1),
    "huge length": manifest(place(NAMED), nbytes=2**63),
    "length is true": manifest(place(NAMED), nbytes=True),
    "length is a float": manifest(place(NAMED), nbytes=48.0),
    "length does not fit": manifest(place(NAMED), nbytes=1),
    "largest length": manifest(place(NAMED), nbytes=2**63 - 1),
    "deep": deep(100_000),
    "metadata of an unknown kind": manifest(place(NAMED), metadata={"$": "of tomorrow", "v": 1}),
    "nothing": b"",
    "only a newline": b"\n",
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_hostile_manifest_is_refused_and_left_alone(what: str, root: Path) -> None:
    raw, path = MANIFESTS[what], root / "manifests/bad.json"
    path.write_bytes(raw)
    store = open_vault(root, FsOps())
    packs = set(os.listdir(root / "packs"))
    for depth in ("fast", "full"):
        within_bounds(len(raw), lambda depth=depth: store.read("bad", depth=depth))
        with contextlib.suppress(StorageError):  # what a newer version wrote is no damage
            assert not store.verify("bad", depth=depth).ok
    still_good(store)
    with contextlib.suppress(IntegrityError):  # what it needs is unknown, and nothing may go
        store.collect()
    assert packs <= set(os.listdir(root / "packs"))
    assert path.read_bytes() == raw
    store.forget("bad")
    for call in (store.read, store.restore):  # type: ignore[attr-defined]
        within_bounds(len(raw), lambda call=call: call("bad"))
    store.collect()
    still = open_vault(root, FsOps())
    assert contents(still.read("good")) == contents(payload("good"))
    still.close()
    store.close()


def format_file(**changed: Any) -> bytes:
    whole = {"features": {"gc": [], "read": [], "write": []}, "format": "mce-vault", "hash": "sha256", "version": 1}
    return seal(json.dumps({**whole, "store": "0" * 16, **changed}).encode())


def features(**of: Any) -> bytes:
    return format_file(features={"gc": [], "read": [], "write": [], **of})


CALLS: dict[str, Callable[[StorageBackend], object]] = {
    "read": lambda store: store.read("good"),
    "write": lambda store: store.write(payload("new", seed=5)),
    "forget": lambda store: store.forget("good"),
    "gc": lambda store: store.collect(),
}
REFUSED = {"read": {"read", "write", "forget", "gc"}, "write": {"write", "forget", "gc"}, "gc": {"gc"}}


@pytest.mark.parametrize("first", ["gc", "write", "read"])
@pytest.mark.parametrize("feature", REFUSED)
def test_a_feature_of_tomorrow_refuses_what_needs_it_and_nothing_else(feature: str, first: str, root: Path) -> None:
    """Whatever the store was used for before: understanding enough to write is not enough to clean up."""
    (root / "FORMAT").write_bytes(features(**{feature: ["of tomorrow"]}))
    store = open_vault(root, FsOps())
    for name in dict.fromkeys([first, "read", "write", "gc", "forget"]):
        if name in REFUSED[feature]:
            with pytest.raises(StorageError, match=r"needs of tomorrow, which .* update model-checkpoint-engine"):
                CALLS[name](store)
        else:
            CALLS[name](store)
    store.close()


@pytest.mark.parametrize("feature", ["read", "write"])
def test_taking_back_a_deletion_is_a_change_like_others(feature: str, root: Path) -> None:
    store = open_vault(root, FsOps())
    store.forget("good")
    store.close()
    (root / "FORMAT").write_bytes(features(**{feature: ["of tomorrow"]}))
    with pytest.raises(StorageError, match="needs of tomorrow"):
        open_vault(root, FsOps()).restore("good")  # type: ignore[attr-defined]


FORMATS: dict[str, bytes] = {
    "no JSON": seal(b"{"),
    "empty": seal(b""),
    "a list": seal(b"[]"),
    "deep": seal(b"[" * 30_000),
    "too long": seal(b" " * 70_000),
    "another format": format_file(format="zip"),
    "newer version": format_file(version=2),
    "version is text": format_file(version="1"),
    "version is true": format_file(version=True),
    "another hash": format_file(hash="blake3"),
    "hash is a list": format_file(hash=["sha256"]),
    "features is a list": format_file(features=[]),
    "features is null": format_file(features=None),
    "a feature list is a number": features(read=5),
    "a feature list is null": features(read=None),
    "a feature list is text": features(read="of tomorrow"),
    "a feature is a list": features(read=[[]]),
    "nothing": b"",
    "a checksum alone": b"\n" + hashlib.sha256(b"").hexdigest().encode() + b"\n",
}


@pytest.mark.parametrize("what", FORMATS)
def test_a_hostile_format_file_refuses_everything_and_is_left_alone(what: str, root: Path) -> None:
    (root / "FORMAT").write_bytes(FORMATS[what])
    for call in CALLS.values():
        store = open_vault(root, FsOps())
        within_bounds(len(FORMATS[what]), lambda call=call, store=store: call(store))
        store.close()
    with contextlib.suppress(StorageError):  # what a newer version wrote is no damage
        assert not open_vault(root, FsOps()).verify("good").ok
    assert (root / "FORMAT").read_bytes() == FORMATS[what]
    assert len(os.listdir(root / "packs")) == 1


def mark(**changed: Any) -> bytes:
    whole = {"digest": "0" * 64, "id": "good", "kind": "tag", "name": "stage", "time_s": 1.0, "value": "prod"}
    return seal(json.dumps({**whole, **changed}, separators=(",", ":"), ensure_ascii=False).encode())


MARKS: dict[str, bytes] = {
    "no JSON": seal(b"{"),
    "a list": seal(b"[]"),
    "deep": seal(b"[" * 100_000 + b"]" * 100_000),
    "no UTF-8": seal(b'{"\xff":1}'),
    "time is text": mark(time_s="now"),
    "time is huge": mark(time_s=10**400),
    "time is null": mark(time_s=None),
    "name is a list": mark(name=[]),
    "of a checkpoint that is a path": mark(id="../../x"),
    "of a checkpoint with no name": mark(id=""),
    "of a long name": mark(id="x" * 100_000),
    "of nobody": mark(id="nobody"),
    "of another manifest": mark(),
    "wrong checksum": mark()[:-2] + b"x\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", ["good.0.json", "x.json", "..json"])
@pytest.mark.parametrize("what", MARKS)
def test_a_hostile_mark_is_passed_over(what: str, name: str, root: Path) -> None:
    store = open_vault(root, FsOps())
    store.add_mark(Mark("good", "tag", "kept", "yes", 2.0))  # type: ignore[attr-defined]
    (root / "marks" / name).write_bytes(MARKS[what])
    assert [each.name for each in store.marks()] == ["kept"]  # type: ignore[attr-defined]
    still_good(store)
    store.collect()
    assert [each.name for each in store.marks()] == ["kept"]  # type: ignore[attr-defined]
    store.close()


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_a_mark_that_is_no_file_is_passed_over(kind: str, root: Path) -> None:
    (root / "marks").mkdir()
    path = root / "marks/good.0.json"
    {"symlink": lambda: path.symlink_to(root / "FORMAT"), "fifo": lambda: os.mkfifo(path), "directory": path.mkdir}[
        kind
    ]()
    store = open_vault(root, FsOps())
    assert list(store.marks()) == []  # type: ignore[attr-defined]
    still_good(store)
    store.collect()
    store.close()
    assert os.path.lexists(path)
