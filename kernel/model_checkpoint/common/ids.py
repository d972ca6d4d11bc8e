"""Readable, unique names for runs and checkpoints, and the guard of every name that comes from outside.

A checkpoint id reads ``digits-7-e0004-s000350-3f``: run, epoch, step, and a short tail that tells two saves at one step
apart. The tail derives from run and position alone, so all ranks of a job arrive at the same id without talking.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from model_checkpoint.errors import InvalidNameError

MAX_NAME_LENGTH = 128
_MAX_RUN_IN_ID = 80  # leaves room for epoch, step and tail in the 128 characters of an id
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+=-]*[A-Za-z0-9_+=-])?")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def random_id() -> str:
    """Return 16 hex digits that nobody else has."""
    return secrets.token_hex(8)


def checked_name(name: object, what: str) -> str:
    """Return `name` if it can be a name, id or tag and part of a file's name everywhere.

    Letters, digits and ``. _ + = -``, beginning with a letter or digit, not ending in a dot, at most 128 characters,
    and not a device name of Windows. Raises ``InvalidNameError`` that says `what` it was meant to name.
    """
    if (
        isinstance(name, str)
        and len(name) <= MAX_NAME_LENGTH
        and _NAME.fullmatch(name)
        and not _RESERVED.fullmatch(name)
    ):
        return name
    shown = repr(name) if len(repr(name)) <= 80 else repr(name)[:77] + "..."
    raise InvalidNameError(
        f"{shown} cannot be the name of {what}: use letters, digits and . _ + = -, begin with a letter or digit,"
        f" do not end with a dot, at most {MAX_NAME_LENGTH} characters"
    )


def slug(text: str) -> str:
    """Return `text` made fit to be a name: what is not allowed becomes a dash."""
    cleaned = re.sub(r"[^A-Za-z0-9._+=-]+", "-", text).strip("-._+=")[:64].rstrip(".")
    return cleaned if cleaned and not _RESERVED.fullmatch(cleaned) else f"x-{cleaned}".rstrip("-.")


def checkpoint_id(run_name: str, *, epoch: int | None, step: int | None, sequence: int, tail_length: int = 2) -> str:
    """Return the id of a save: the same arguments give the same id in every process.

    `sequence` is the number of the save within its run. A longer tail settles the rare clash. Of a run name beyond 80
    characters the end is replaced by a digest of the whole.
    """
    parts = [run_name]
    if len(run_name) > _MAX_RUN_IN_ID:
        parts = [run_name[: _MAX_RUN_IN_ID - 9], hashlib.sha256(run_name.encode()).hexdigest()[:8]]
    if epoch is not None:
        parts.append(f"e{epoch:04d}")
    if step is not None:
        parts.append(f"s{step:06d}")
    seed = f"{run_name}\0{epoch}\0{step}\0{sequence}".encode()
    parts.append(hashlib.sha256(seed).hexdigest()[:tail_length])
    return "-".join(parts)
