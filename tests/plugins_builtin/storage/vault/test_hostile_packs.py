"""Packs that somebody made by hand, with right checksums and wrong content, and what is no file at all.

Each is refused with an error of ours, or never relied upon: fast, in little memory, and no collection deletes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import struct
from pathlib import Path
from typing import Any

import pytest

from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import IntegrityError
from model_checkpoint.storage.vault.plugin import open_vault
from model_checkpoint.testing.storage_samples import contents, payload

Hostile = runpy.run_path(str(Path(__file__).with_name("hostile.py")))
DATA, FULL = Hostile["DATA"], Hostile["FULL"]
manifest, place, within_bounds, still_good = (
    Hostile[name] for name in ("manifest", "place", "within_bounds", "still_good")
)
Entries = dict[str, Any]


def dumps(value: Any, **options: Any) -> str:
    """Return JSON in the form in which headers are written: what is refused is refused for its content."""
    return json.dumps(value, separators=(",", ":"), **options)


def metadata(**changed: Any) -> Entries:
    whole = {"format": "pt", "mce.pack": "1", "mce.sha256": FULL, "mce.xxh3": "0" * 32}
    return {**whole, **{f"mce.{name}": value for name, value in changed.items()}}


def entry(dtype: Any = "U8", shape: Any = (48,), offsets: Any = (0, 48)) -> Entries:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": offsets}


def one(**changed: Any) -> str:
    """Return a header with one tensor, of which something is changed."""
    return dumps({"__metadata__": metadata(), "w": {**entry(), **changed}})


def named(name: str) -> str:
    return dumps({"__metadata__": metadata(), name: entry()})


def two(first: Any, second: Any, sizes: tuple[int, int] = (24, 24)) -> str:
    digests = {"sha256": f"{FULL} {FULL}", "xxh3": f"{'0' * 32} {'1' * 32}"}
    return dumps(
        {
            "__metadata__": metadata(**digests),
            "a": entry(shape=(sizes[0],), offsets=first),
            "b": entry(shape=(sizes[1],), offsets=second),
        }
    )


def raw_number(number: str) -> str:
    return one().replace("[48]", f"[{number}]").replace("[0,48]", f"[0,{number}]")


HEADERS: dict[str, str | bytes] = {
    "no JSON": "{",
    "empty": "  ",
    "a list": "[]",
    "a number": "12",
    "null": "null",
    "no metadata": dumps({"w": entry()}),
    "metadata is a list": dumps({"__metadata__": [], "w": entry()}),
    "metadata is text": dumps({"__metadata__": "mce.pack", "w": entry()}),
    "no version": dumps({"__metadata__": {"format": "pt"}, "w": entry()}),
    "newer version": dumps({"__metadata__": metadata(pack="2"), "w": entry()}),
    "version is a number": dumps({"__metadata__": metadata(pack=1), "w": entry()}),
    "a name twice": two([0, 48], [48, 48], (48, 0)).replace('"b":', '"a":'),
    "metadata twice": f'{{"__metadata__":{dumps(metadata())},"__metadata__":{{}},"w":{dumps(entry())}}}',
    "a field twice": one().replace('"dtype"', '"dtype":"F64","dtype"'),
    "overlap": two([0, 24], [12, 36]),
    "the same place": two([0, 48], [0, 48], (48, 48)),
    "gap": two([0, 12], [24, 48], (12, 24)),
    "gap at the start": one(data_offsets=[1, 49]),
    "too short": one(shape=[47], data_offsets=[0, 47]),
    "too long": one(shape=[49], data_offsets=[0, 49]),
    "backwards": one(data_offsets=[48, 0]),
    "negative size": one(shape=[-48]),
    "two negative sizes": one(shape=[-6, -8]),
    "negative place": one(data_offsets=[-1, 47]),
    "zero times huge": one(shape=[0, 2**62], data_offsets=[0, 48]),
    "product overflows": one(shape=[2**62, 4], data_offsets=[0, 48]),
    "huge size": one(shape=[2**63]),
    "huge place": one(data_offsets=[0, 2**64]),
    "float size": raw_number("48.0"),
    "float with exponent": raw_number("48e0"),
    "not a number": raw_number("NaN"),
    "infinite": raw_number("1e999"),
    "true as a size": one(shape=[True]),
    "true as a place": one(data_offsets=[False, 48]),
    "text as a size": one(shape=["48"]),
    "5000 digits": raw_number("9" * 5000),
    "shape is text": one(shape="48"),
    "shape is null": one(shape=None),
    "shape is an object": one(shape={"48": 0}),
    "65 dimensions": one(shape=[48, *[1] * 64]),
    "three offsets": one(data_offsets=[0, 48, 48]),
    "offsets are text": one(data_offsets="04"),
    "no offsets": dumps({"__metadata__": metadata(), "w": {"dtype": "U8", "shape": [48]}}),
    "dtype does not fit": one(dtype="F32"),
    "dtype of tomorrow": one(dtype="F12"),
    "dtype is null": one(dtype=None),
    "dtype is a list": one(dtype=["U8"]),
    "dtype in small letters": one(dtype="u8"),
    "an entry is a list": dumps({"__metadata__": metadata(), "w": [1]}),
    "an entry is null": dumps({"__metadata__": metadata(), "w": None}),
    "one digest for two": dumps({"__metadata__": metadata(), "a": entry(), "b": entry()}),
    "two digests for one": dumps({"__metadata__": metadata(sha256=f"{FULL} {FULL}"), "w": entry()}),
    "no digest": dumps({"__metadata__": metadata(sha256=""), "w": entry()}),
    "digest too short": dumps({"__metadata__": metadata(sha256=FULL[:-1]), "w": entry()}),
    "digest too long": dumps({"__metadata__": metadata(sha256=FULL + "0"), "w": entry()}),
    "digest in capitals": dumps({"__metadata__": metadata(sha256=FULL.upper()), "w": entry()}),
    "digest of other digits": dumps({"__metadata__": metadata(sha256="\u0660" * 64), "w": entry()}),
    "digest is a number": dumps({"__metadata__": metadata(sha256=12), "w": entry()}),
    "fast digest too short": dumps({"__metadata__": metadata(xxh3="0" * 31), "w": entry()}),
    "no fast digests": dumps({"__metadata__": {"mce.pack": "1", "mce.sha256": FULL}, "w": entry()}),
    "no UTF-8": one().encode().replace(b'"w"', b'"\xff"'),
    "letters beyond ASCII": dumps({"__metadata__": metadata(), "é": entry()}, ensure_ascii=False),
    "NUL at the end": one() + "\0",
    "trailing text": one() + " {}",
    "byte order mark": b"\xef\xbb\xbf" + one().encode(),
    "nameless": named(""),
    "1025 letters": named("x" * 1025),
    "1025 bytes": named("é" * 513),
    "NUL in a name": named("../../etc/passwd\0x"),
    "newline in a name": named("a\nb"),
    "delete in a name": named("a\x7fb"),
    "lone surrogate": named("\ud800"),
    "deep lists": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "deep and closed": one(shape=0).replace('"shape": 0', '"shape": ' + "[" * 100_000 + "]" * 100_000),
    "many digits": '{"__metadata__":' + "1" * 1_000_000 + "}",
    "a long name": '{"' + "x" * 4_000_000,
    "only spaces": " " * 4_000_000,
}


def pack(header: str | bytes, data: bytes = DATA) -> bytes:
    """Return a file of that header, filled up as a pack's is."""
    text = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    text = text.ljust(-(-(len(text) + 8) // 4096) * 4096 - 8)
    return struct.pack("<Q", len(text)) + text + data


def called(raw: bytes) -> str:
    """Return the name that fits the digest of the header."""
    end = len(raw) if len(raw) < 8 else 8 + struct.unpack_from("<Q", raw)[0]
    return f"{'0' * 24}-{hashlib.sha256(raw[:end]).hexdigest()[:16]}.safetensors"


def with_header_length(length: int) -> bytes:
    return struct.pack("<Q", length) + one().encode().ljust(4088) + DATA


FILES: dict[str, bytes] = {
    "no header": with_header_length(0),
    "header of one byte": with_header_length(1),
    "header of 2**63 bytes": with_header_length(2**63),
    "header of 2**64 - 1 bytes": with_header_length(2**64 - 1),
    "header longer than the file": with_header_length(4088 + len(DATA) + 1),
    "header longer than any": struct.pack("<Q", 16 * 1024 * 1024 + 1).ljust(17 * 1024 * 1024, b" "),
    "nothing": b"",
    "seven bytes": b"\0" * 7,
    "trailing bytes": pack(one()) + b"x",
    **{name: pack(header) for name, header in HEADERS.items()},
}


@pytest.fixture
def root(folder: Path) -> Path:
    store = open_vault(folder / "store", FsOps())
    store.write(payload("good"))
    store.close()
    return folder / "store"


def refused_everywhere(root: Path, path: Path, nbytes: int) -> None:
    """See that a checkpoint that needs the hostile pack is refused, all others work, and no collection touches it."""
    store = open_vault(root, FsOps())
    for depth in ("fast", "full"):
        within_bounds(nbytes, lambda depth=depth: store.read("bad", depth=depth))
        assert not store.verify("bad", depth=depth).ok
    still_good(store)
    before = os.lstat(path)
    store.collect()
    assert os.lstat(path).st_ino == before.st_ino
    (root / "manifests/bad.json").unlink()
    store.collect()  # nobody needs it now, and nobody knows what it is: it stays
    assert os.lstat(path).st_ino == before.st_ino
    store.close()
    again = open_vault(root, FsOps())
    again.forget("new")
    again.collect()
    assert contents(again.read("good")) == contents(payload("good"))
    again.close()
    assert os.lstat(path).st_ino == before.st_ino


@pytest.mark.parametrize("what", FILES)
def test_a_hostile_pack_is_refused_and_left_alone(what: str, root: Path) -> None:
    raw = FILES[what]
    path = root / "packs" / called(raw)
    path.write_bytes(raw)
    (root / "manifests/bad.json").write_bytes(manifest(place(path.name)))
    refused_everywhere(root, path, len(raw))


def test_the_pack_that_all_of_these_are_changed_from_is_not_refused(root: Path) -> None:
    import xxhash

    raw = pack(dumps({"__metadata__": metadata(xxh3=xxhash.xxh3_128_hexdigest(DATA)), "w": entry()}))
    (root / "packs" / called(raw)).write_bytes(raw)
    sound = manifest(place(called(raw), xxh3=xxhash.xxh3_128_hexdigest(DATA)))
    (root / "manifests/bad.json").write_bytes(sound)
    store = open_vault(root, FsOps())
    assert bytes(store.read("bad").buffers[0].data) == DATA
    still_good(store)
    store.collect()
    assert bytes(store.read("bad").buffers[0].data) == DATA
    (root / "manifests/bad.json").unlink()
    store.collect()
    assert not (root / "packs" / called(raw)).exists()
    store.close()


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "directory"])
@pytest.mark.parametrize("where", ["packs", "manifests", "FORMAT"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(kind: str, where: str, root: Path) -> None:
    raw = pack(one())
    elsewhere = root.parent / "elsewhere"
    sound = (root / "FORMAT").read_bytes()
    content = {"packs": raw, "manifests": manifest(place(called(raw))), "FORMAT": sound}
    elsewhere.write_bytes(content[where])
    (root / "manifests/bad.json").write_bytes(content["manifests"])
    path = root / {"packs": f"packs/{called(raw)}", "manifests": "manifests/bad.json", "FORMAT": "FORMAT"}[where]
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(elsewhere if kind == "symlink" else root / "nowhere")
    store = open_vault(root, FsOps())
    within_bounds(len(content[where]), lambda: store.read("bad"))
    if where == "FORMAT":
        for call in (store.collect, lambda: store.write(payload("new")), lambda: store.forget("good")):
            within_bounds(len(sound), call)
    else:
        assert not store.verify("bad").ok
        still_good(store)
        if where == "packs":
            store.collect()
        else:
            with pytest.raises(IntegrityError, match=r"bad\.json"):
                store.collect()
    store.close()
    assert os.path.lexists(path)
    assert elsewhere.read_bytes() == content[where]


@pytest.mark.parametrize("unit", ["[],", "{},", "1,", '"",'])
def test_a_header_of_countless_parts_takes_no_more_than_its_size_allows(unit: str, root: Path) -> None:
    inner = (unit * (1024 * 1024 // len(unit)))[:-1]
    raw = pack(f"[{inner}]")
    path = root / "packs" / called(raw)
    path.write_bytes(raw)
    (root / "manifests/bad.json").write_bytes(manifest(place(path.name)))
    store = open_vault(root, FsOps())
    within_bounds(len(raw), lambda: store.read("bad"))
    store.close()
