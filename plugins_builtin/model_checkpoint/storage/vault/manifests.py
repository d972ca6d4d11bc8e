"""The manifests of a vault: each buffer's place names its digests, and the pack that held it when it was written."""

from __future__ import annotations

import re
from pathlib import Path

from model_checkpoint.errors import IntegrityError
from model_checkpoint.storage.manifest import Manifest, parse

_SHA256, _XXH3 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{32}")


def parse_manifest(
    raw: bytes | bytearray, path: Path, checkpoint_id: str, expected_digest: str | None = None
) -> Manifest:
    """Return the manifest, every place in it checked. Raises ``IntegrityError``, ``StorageError`` as `parse` does."""
    manifest = parse(raw, path, checkpoint_id, expected_digest)
    for buffer in manifest.buffers:
        sha256, xxh3, pack = (buffer.place.get(key) for key in ("sha256", "xxh3", "pack"))
        told = isinstance(sha256, str) and isinstance(xxh3, str) and isinstance(pack, str)
        if not told or not _SHA256.fullmatch(str(sha256)) or not _XXH3.fullmatch(str(xxh3)):
            raise IntegrityError(
                f"{path} has a right checksum, and does not say where {buffer.name[:80]!r} is", path=str(path)
            )
    return manifest


def contents(manifest: Manifest) -> list[tuple[str, int]]:
    """Return the SHA-256 and the length of every buffer."""
    return [(str(buffer.place["sha256"]), buffer.nbytes) for buffer in manifest.buffers]
