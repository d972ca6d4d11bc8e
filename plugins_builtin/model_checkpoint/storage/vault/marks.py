"""``marks/``: what is said of checkpoints after they were saved, one small file each, never changed.

::

    {"digest":<of the manifest>,"id":...,"kind":"tag","name":"stage","time_s":...,"value":"prod"}
    <SHA-256 of the line above, in hex>

A mark belongs to the manifest whose digest it names: should an id be used again, the new checkpoint does not inherit
the old one's. Names begin with the time in milliseconds and a count, so that they sort in the order of writing.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from model_checkpoint.common.clock import now_s
from model_checkpoint.common.digest import sha256_hex
from model_checkpoint.common.fsops import FsOps, publish_new, write_temp
from model_checkpoint.common.ids import random_id
from model_checkpoint.contracts import Mark
from model_checkpoint.errors import IntegrityError
from model_checkpoint.storage.canonical_json import from_bytes, from_text, to_bytes, to_text
from model_checkpoint.storage.committed import is_id
from model_checkpoint.storage.workspace import Writer

_MAX_NBYTES = 1024 * 1024
_SUFFIX = ".json"
_log = logging.getLogger("model_checkpoint")


class Marks:
    """The marks of one store."""

    def __init__(self, root: Path, fs: FsOps) -> None:
        self._root, self._fs = root, fs
        self._count = itertools.count()
        self._last_ms = 0

    def add(self, writer: Writer, mark: Mark, digest: str) -> None:
        """Publish a mark of the checkpoint whose manifest has that digest. Raises OSError."""
        content = {
            "digest": digest,
            "id": mark.checkpoint_id,
            "kind": mark.kind,
            "name": mark.name,
            "time_s": mark.time_s,
            "value": mark.value,
        }
        line = to_bytes(to_text(content, "mark"))
        sealed = line + b"\n" + sha256_hex(line).encode() + b"\n"
        self._fs.make_dirs(self._root)
        self._last_ms = max(self._last_ms, int(now_s() * 1000))  # a clock that is set back changes no order
        when = f"{self._last_ms:012x}{next(self._count) % 2**24:06x}"
        target = self._root / f"{mark.checkpoint_id}.{when}{random_id()}{_SUFFIX}"
        temp = writer.path("mark")
        write_temp(self._fs, temp, lambda file: file.write(memoryview(sealed)))
        try:
            publish_new(self._fs, temp, target)
        finally:
            with contextlib.suppress(OSError):
                self._fs.unlink(temp)

    def read(self) -> Iterator[tuple[Mark, str, Path]]:
        """Yield every mark, the digest of its manifest, and its file; the oldest first. A damaged one is told."""
        names = [name for name in self._fs.list_dir(self._root) if name.endswith(_SUFFIX)]
        for name in sorted(names, key=lambda name: name.removesuffix(_SUFFIX).rpartition(".")[2]):
            path = self._root / name
            try:
                mark, digest = _parse(self._fs.read(path, limit=_MAX_NBYTES), path)
            except FileNotFoundError:
                continue
            except IntegrityError as error:
                _log.warning("%s", error)
                continue
            yield mark, digest, path


def _parse(raw: bytearray, path: Path) -> tuple[Mark, str]:
    line, _, tail = bytes(raw).partition(b"\n")
    if tail != sha256_hex(line).encode() + b"\n":
        raise IntegrityError(f"{path} is damaged: its checksum is wrong. It was left as it is", path=str(path))
    try:
        content = from_text(from_bytes(line))
        assert isinstance(content, dict)
        texts = [content[key] for key in ("id", "kind", "name", "digest")]
        value, time_s = content["value"], content["time_s"]
        are_texts = all(isinstance(text, str) for text in texts) and (value is None or isinstance(value, str))
        if are_texts and is_id(texts[0]) and path.name.startswith(f"{texts[0]}."):
            return Mark(texts[0], texts[1], texts[2], value, float(time_s)), texts[3]
    except (ValueError, KeyError, TypeError, AssertionError, OverflowError):
        pass
    raise IntegrityError(f"{path} has the right checksum and is no mark", path=str(path))
