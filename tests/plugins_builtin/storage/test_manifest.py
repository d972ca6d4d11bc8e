"""Manifests: JSON that comes back exactly, digests that commit to it, and everything else refused."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.common.digest import sha256_hex
from model_checkpoint.contracts import CheckpointPayload, StoredFile
from model_checkpoint.errors import IntegrityError, StorageError, UnstorableStateError
from model_checkpoint.storage import manifest
from model_checkpoint.storage.canonical_json import from_bytes, from_text, to_bytes, to_text
from model_checkpoint.storage.manifest import compose, parse, state_text
from model_checkpoint.testing.storage_samples import awkward_payload, buffer, described, payload

PATH = Path("manifests/one.json")
DATA = StoredFile("one.safetensors", 124, "ab" * 32)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def sealed(line: bytes) -> bytes:
    return line + b"\n" + sha256_hex(line).encode() + b"\n"


def composed(of: CheckpointPayload) -> tuple[bytes, str]:
    return compose(of, state_text(of), DATA, [{"offset": number} for number, _ in enumerate(of.buffers)])


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a manifest with right checksums and content that an attacker changed."""
    content = json.loads(composed(payload("one"))[0].split(b"\n")[0])
    change(content)
    return sealed(to_bytes(to_text(content, "manifest")))


@given(JSON_VALUES)
def test_json_comes_back_as_what_it_was(value: object) -> None:
    assert described(from_text(from_bytes(to_bytes(to_text(value, "tree"))))) == described(value)


@pytest.mark.parametrize("text", ["\ud800", "\ud83d\ude00", "\U0001f600", "\0\n\u2028"])
def test_any_text_comes_back_as_the_same_characters(text: str) -> None:
    assert from_text(from_bytes(to_bytes(to_text({text: text}, "tree")))) == {text: text}
    assert b"\n" not in to_bytes(to_text(text, "tree"))


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({"a": {"b": [1.0, math.nan]}}, {"tree.a.b[1]": "nan is no JSON"}),
        ({"a": {1, 2}, "b": math.inf}, {"tree.a": "a set is no JSON", "tree.b": "inf is no JSON"}),
        ({"a": 10**5000}, {"tree.a": "an integer of more than 4300 digits"}),
        ({"a": object()}, {"tree.a": "a object is no JSON"}),
        ({(1, 2): 3, "b": b"x"}, {"tree": "the key (1, 2) is no string", "tree.b": "a bytes is no JSON"}),
    ],
)
def test_what_is_no_json_is_named_with_its_place(value: object, problems: dict[str, str]) -> None:
    with pytest.raises(UnstorableStateError) as refused:
        to_text(value, "tree")
    found = dict(refused.value.problems)
    assert set(found) == set(problems)
    assert all(problems[where] in why for where, why in found.items())


def test_json_that_contains_itself_or_has_no_end_is_refused() -> None:
    ring: list[object] = []
    ring.append(ring)
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    for endless in (ring, deep):
        with pytest.raises(UnstorableStateError, match="tree: nested too deeply"):
            to_text(endless, "tree")
    while isinstance(deep, list):  # taken apart by hand: the interpreter would recurse
        deep = deep.pop()


def test_how_deep_the_caller_stands_does_not_matter() -> None:
    nested: object = 0
    for _ in range(300):
        nested = [nested]

    def from_below(depth: int) -> object:
        return from_below(depth - 1) if depth else from_text(to_text(nested, "tree"))

    taken, frame = 0, sys._getframe()
    while frame is not None:
        taken, frame = taken + 1, frame.f_back  # type: ignore[assignment]
    assert from_below(sys.getrecursionlimit() - taken - 150) == nested


@pytest.mark.parametrize("text", [
    '{"a":1,"a":2}', '{"a": 1}', "[1.0,NaN]", "[Infinity]", "[1e5]", "[-0]", "[01]", '["\\u0041"]', "", "{", "[1]x",
    "[" * 200_000, '{"a":' * 200_000, "1" * 5000, '"\n"',
])  # fmt: skip
def test_json_in_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        from_text(text)


def test_what_was_composed_is_parsed() -> None:
    for one in (payload("one"), awkward_payload("one")):
        content, digest = composed(one)
        found = parse(content, PATH, "one", digest)
        assert (found.checkpoint_id, found.digest, found.data) == ("one", digest, DATA)
        assert described(found.tree) == described(one.tree)
        assert described(found.metadata) == described(dict(one.metadata))
        assert [(b.name, b.dtype, b.shape, b.nbytes) for b in found.buffers] == [
            (b.name, b.dtype, tuple(b.shape), b.nbytes) for b in one.buffers
        ]
        assert [b.place for b in found.buffers] == [{"offset": n} for n, _ in enumerate(one.buffers)]


def test_a_manifest_is_two_lines_that_common_tools_read() -> None:
    content, digest = composed(payload("one"))
    line, recorded, rest = content.split(b"\n")
    assert (recorded.decode(), rest) == (digest, b"")
    assert json.loads(line)["metadata"]["metrics"] == {"val_loss": 0.5}


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    content, _ = composed(replace(payload("one"), tree={}, buffers=()))
    for bit in range(len(content) * 8):
        wrong = bytearray(content)
        wrong[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(IntegrityError, match=r"one\.json is damaged"):
            parse(wrong, PATH, "one", None)
    for length in range(len(content)):
        with pytest.raises(IntegrityError, match=r"one\.json is damaged"):
            parse(content[:length], PATH, "one", None)
    with pytest.raises(IntegrityError):
        parse(content + b"\n", PATH, "one", None)


def test_a_wrong_digest_is_shown_beside_the_right_one() -> None:
    content, digest = composed(payload("one"))
    with pytest.raises(IntegrityError, match="Put the file back from a copy") as refused:
        parse(content, PATH, "one", "00" * 32)
    assert (refused.value.path, refused.value.expected, refused.value.actual) == (str(PATH), "00" * 32, digest)
    with pytest.raises(IntegrityError) as refused:
        parse(content.replace(b"digits", b"Digits"), PATH, "one", digest)
    assert refused.value.expected == digest
    assert len(refused.value.actual) == 64


def test_nothing_is_decoded_before_the_digests_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "from_text", lambda text: pytest.fail("decoded"))
    with pytest.raises(IntegrityError):
        parse(b"{}\n" + b"0" * 64 + b"\n", PATH, "one", None)
    with pytest.raises(IntegrityError):
        parse(sealed(b"{}"), PATH, "one", "00" * 32)


@pytest.mark.parametrize("change", [
    lambda c: c.pop("format"), lambda c: c.update(format="other"), lambda c: c.pop("version"),
    lambda c: c.update(version="1"), lambda c: c.update(version=True), lambda c: c.update(version=-1),
    lambda c: c.pop("id"), lambda c: c.update(id="two"), lambda c: c.update(id=["one"]),
    lambda c: c.update(data=[]), lambda c: c["data"].update(nbytes=-1),
    lambda c: c["data"].update(nbytes=2**63), lambda c: c["data"].update(nbytes=1.5), lambda c: c["data"].pop("sha256"),
    lambda c: c["data"].update(name=None), lambda c: c.pop("tree"), lambda c: c.update(tree=[]),
    lambda c: c.pop("metadata"), lambda c: c.update(metadata=[1]), lambda c: c.update(metadata={"$": "tuple", "v": []}),
    lambda c: c.update(metadata={"$": "of tomorrow"}), lambda c: c["metadata"].update(x={"$": "enum", "class": "a:B"}),
    lambda c: c.pop("buffers"), lambda c: c.update(buffers={}), lambda c: c.update(buffers=[7]),
    lambda c: c["buffers"][0].pop("place"), lambda c: c["buffers"][0].update(place=[]),
    lambda c: c["buffers"][0].update(name=7), lambda c: c["buffers"][0].update(name=c["buffers"][1]["name"]),
    lambda c: c["buffers"][0].update(dtype=None), lambda c: c["buffers"][0].update(nbytes=-4),
    lambda c: c["buffers"][0].update(nbytes=True), lambda c: c["buffers"][0].update(shape=[-1, 4]),
    lambda c: c["buffers"][0].update(shape=[2**62, 2**62]), lambda c: c["buffers"][0].update(shape=[1.0]),
    lambda c: c["buffers"][0].update(shape=[2**64]), lambda c: c["buffers"][0].update(shape=[True]),
    lambda c: c["buffers"][0].update(shape=[1] * 65), lambda c: c["buffers"][0].update(shape="12"),
])  # fmt: skip
def test_content_that_was_never_written_is_refused_in_spite_of_its_checksum(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(IntegrityError, match=r"one\.json has a right checksum, but is no manifest of one: ") as refused:
        parse(changed(change), PATH, "one", None)
    assert refused.value.path == str(PATH)


def test_unknown_fields_are_passed_over() -> None:
    found = parse(changed(lambda c: (c.update(colour="red"), c["buffers"][0].update(x=1))), PATH, "one", None)
    assert described(found.tree) == described(payload("one").tree)


def test_a_newer_version_is_told_from_damage() -> None:
    newer = changed(lambda content: content.update(version=2, buffers="in a new form"))
    with pytest.raises(
        StorageError, match=r"one\.json was written in version 2 .* update model-checkpoint-engine"
    ) as told:
        parse(newer, PATH, "one", None)
    assert not isinstance(told.value, IntegrityError)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("line", [
    b"[" * 200_000, b'{"a":' * 200_000, b'{"format":"model-checkpoint","format":"x"}', b"\xff\xfe", b"\xed\xa0", b"NaN",
    b"", b"[]", b"7", b"1" * 100_000, b"\xef\xbb\xbf{}",
], ids=lambda line: repr(line[:20]))  # fmt: skip
def test_a_hostile_line_with_a_right_checksum_is_refused_at_once(line: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises(IntegrityError):
        parse(sealed(line), PATH, "one", None)
    assert time.perf_counter() - began < 2


def test_a_name_given_twice_is_refused_before_anything_is_written() -> None:
    twice = CheckpointPayload("one", {}, [buffer("w", "int8", (1,)), buffer("w", "int8", (2,))], {})
    with pytest.raises(UnstorableStateError, match="w: two buffers have this name"):
        state_text(twice)


def test_metadata_that_nobody_can_store_is_named() -> None:
    with pytest.raises(UnstorableStateError, match=r"metadata\.owner: a object cannot be stored"):
        state_text(CheckpointPayload("one", {}, (), {"owner": object()}))  # type: ignore[dict-item]


def test_a_structure_that_would_not_be_read_back_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_NBYTES", 1000)
    with pytest.raises(StorageError, match="Keep large lists of numbers in tensors or arrays"):
        state_text(CheckpointPayload("one", {"a": [1] * 1000}, (), {}))
    many = CheckpointPayload("one", {}, [buffer(f"w{number}", "int8", (1,)) for number in range(50)], {})
    with pytest.raises(StorageError, match="structure and metadata of one take"):
        composed(many)
