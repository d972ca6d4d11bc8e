"""The manifests of a vault: each buffer's place has its digests, and counts the pack that held it at the time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from model_checkpoint.errors import IntegrityError
from model_checkpoint.storage.manifest import Manifest, Place, parse

_SHA256, _XXH3 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{32}")


def parse_manifest(
    raw: bytes | bytearray, path: Path, checkpoint_id: str, expected_digest: str | None = None
) -> Manifest:
    """Return the manifest, every place in it checked. Raises ``IntegrityError``, ``StorageError`` as `parse` does."""
    manifest = parse(raw, path, checkpoint_id, expected_digest)
    for buffer in manifest.buffers:
        sha256, xxh3, pack = (buffer.place.get(key) for key in ("sha256", "xxh3", "pack"))
        has_digests = _is(_SHA256, sha256) and _is(_XXH3, xxh3)
        if not has_digests or type(pack) is not int or not 0 <= pack < len(manifest.packs):
            raise IntegrityError(
                f"{path} has a right checksum, and does not say where {buffer.name[:80]!r} is", path=str(path)
            )
    return manifest


def contents(manifest: Manifest) -> list[tuple[str, int]]:
    """Return the SHA-256 and the length of every buffer."""
    return [(str(buffer.place["sha256"]), buffer.nbytes) for buffer in manifest.buffers]


def placed(tensors: Iterable[tuple[str, str, str]]) -> tuple[list[str], list[Place]]:
    """Return the packs, and the places that count them, of tensors: SHA-256, xxh3-128 and pack of each."""
    listed = list(tensors)
    packs = sorted({pack for _, _, pack in listed})
    count = {name: number for number, name in enumerate(packs)}
    return packs, [{"sha256": sha256, "xxh3": xxh3, "pack": count[pack]} for sha256, xxh3, pack in listed]


def _is(form: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and form.fullmatch(text) is not None
