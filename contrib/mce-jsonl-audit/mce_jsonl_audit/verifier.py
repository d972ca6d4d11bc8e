"""Finds what was done to a trail: lines changed, removed, inserted or moved, a tail cut off; and what a kill left torn.

One pass, a line at a time. `expected` is the place that the next line must follow. A line that agrees with itself but
stands elsewhere is set aside, and at the end everything is named: numbers that never came were removed, those that came
late were moved, those that came twice were inserted.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple, cast

from mce_jsonl_audit.lines import BEFORE_ALL, BEGIN, GAP, MAX_LINE_NBYTES, SEAL, Line, Link, decoded
from mce_jsonl_audit.trail import rotated
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.errors import ConfigurationError, IntegrityError

_MAX_FINDINGS = 1000


@dataclass(frozen=True, slots=True)
class Anchor:
    """A line's number and digest, kept where whoever can write to the trail cannot."""

    seq: int
    sha256: str

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """Read ``41:9f86d0...`` as `head` prints it. Raises ``ConfigurationError``."""
        if not (found := re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text.strip())):
            raise ConfigurationError(f"{text[:80]!r} is no anchor: give what `mce audit head` printed, number:digest")
        return cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.seq}:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    what: str
    """``changed``, ``removed``, ``inserted``, ``moved`` or ``truncated``."""
    path: str
    line: int
    """Counted from 1; of what is gone, the line before which it stood."""
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}: {self.message}"


@dataclass(slots=True)
class VerifyReport:
    """What was found in a trail."""

    findings: list[Finding] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    """Bytes that a killed writer left in the middle of a line. Not tampering: nothing whole is missing."""
    gaps: list[str] = field(default_factory=list)
    """What the trail itself says that it could not record."""
    lines: int = 0
    files: list[str] = field(default_factory=list)
    first: Link | None = None
    last: Link | None = None

    @property
    def ok(self) -> bool:
        """Whether the chain is whole. Torn bytes and gaps that the trail tells of do not break it."""
        return not self.findings


class _Raw(NamedTuple):
    number: int
    bytes: bytes
    """Without the line break; empty where the line is too long to be one."""
    nbytes: int
    sha256: str
    ended: bool


def verify(path: str | Path, *, anchor: Anchor | None = None, pruned: bool = False) -> VerifyReport:
    """Check a trail with all files that it was rotated into. Memory does not grow with its length.

    Args:
        anchor: what `head` gave; without it nobody can tell that a tail was cut off, or all of it written anew.
        pruned: the oldest files were put away on purpose, so that lines may be missing at the beginning.

    Raises FileNotFoundError, and ``IntegrityError`` where the path is no file or no trail at all.
    """
    path = Path(path)
    older = rotated(path)
    files = [*older, path] if path.exists() or not older else older
    check = _Check(anchor, pruned)
    for file in files:
        check.file(file)
    return check.finished(path)


def head(path: str | Path) -> Anchor:
    """Return the anchor of the last line. Raises ``IntegrityError`` where the trail is not whole."""
    report = verify(path, pruned=True)
    if report.findings or report.last is None:
        found = str(report.findings[0]) if report.findings else "it holds no line"
        raise IntegrityError(
            f"{path} is not whole, so an anchor would vouch for what was done to it: {found}", path=str(path)
        )
    return Anchor(report.last.seq, report.last.sha256)


class _Check:
    """The state of one pass."""

    def __init__(self, anchor: Anchor | None, pruned: bool) -> None:
        self.report = VerifyReport()
        self._anchor, self._anchored, self._pruned = anchor, anchor is None, pruned
        self._expected: Link | None = None
        """The last line that stood where it belongs, and where that was."""
        self._where = ("", 0)
        self._pending: list[_Raw] = []
        """Lines since that one that are none."""
        self._missing: list[tuple[range, int, str, int]] = []
        """Numbers that did not come, how many of them are named already, and before which line."""
        self._strays: list[tuple[int, str, int]] = []

    def file(self, path: Path) -> None:
        """Go through one file."""
        shown = str(path)
        self.report.files.append(shown)
        with FsOps().open_regular(path) as file:
            for raw in _lines(file):
                line = decoded(raw.bytes) if raw.ended else None
                if line is not None:
                    self._take(line, shown, raw.number)
                elif len(self._pending) < _MAX_FINDINGS:
                    self._pending.append(raw)
        if self._pending and not self._pending[-1].ended:
            self._tell_torn(shown, "; the next writer seals them")
        self._settle(len(self._pending), shown)

    def _take(self, line: Line, path: str, number: int) -> None:
        self.report.lines += 1
        link, before = line.link, self._expected or BEFORE_ALL
        if link.seq <= before.seq:
            if len(self._strays) < _MAX_FINDINGS:
                self._strays.append((link.seq, path, number))
            return
        if line.kind == SEAL:
            self._take_seal(line, path, number)
        gap = link.seq - before.seq - 1
        named = min(gap, len(self._pending))
        self._settle(gap, path)
        if self._expected is None:
            self.report.first = link
        if self._expected is None and self._pruned and line.kind == BEGIN:
            self.report.gaps.append(f"{path}:{number}: begins with line {link.seq}; older files were put away")
        elif gap:
            self._missing.append((range(before.seq + 1, link.seq), named, path, number))
        elif line.previous != before.sha256:
            self._find("changed", *self._where, f"line {link.seq} was chained to another line before it than this one")
        if line.kind == GAP:
            self.report.gaps.append(f"{path}:{number}: {line.fields.get('lost')} events were lost")
        self._expected, self._where = link, (path, number)
        self._compare_with_anchor(link, path, number)

    def _compare_with_anchor(self, link: Link, path: str, number: int) -> None:
        if self._anchor is not None and link.seq == self._anchor.seq:
            self._anchored = True
            if link.sha256 != self._anchor.sha256:
                self._find("changed", path, number, f"line {link.seq} is not the one that the anchor was taken of")

    def _take_seal(self, line: Line, path: str, number: int) -> None:
        told = (line.fields.get("nbytes"), line.fields.get("sha256"))
        if len(self._pending) != 1:
            self._find("removed", path, number, f"{told[0]} torn bytes that this line seals, and that stood before it")
        elif told == (self._pending[0].nbytes, self._pending[0].sha256):
            self._tell_torn(path, "; the line after it says so")
        else:
            torn = self._pending.pop()
            self._find("changed", path, torn.number, f"{torn.nbytes} torn bytes are not those that the next line seals")

    def _tell_torn(self, path: str, more: str) -> None:
        raw = self._pending.pop()
        self.report.torn.append(f"{path}:{raw.number}: {raw.nbytes} bytes of a line that was never finished{more}")

    def _settle(self, gap: int, path: str) -> None:
        """Name the lines that are none: as many as are missing were changed, the others inserted."""
        for index, raw in enumerate(self._pending):
            if index < gap:
                self._find("changed", path, raw.number, f"{raw.nbytes} bytes that do not agree with their own digest")
            else:
                self._find("inserted", path, raw.number, f"{raw.nbytes} bytes that are no line of this trail")
        self._pending = []

    def finished(self, path: Path) -> VerifyReport:
        """Name what is only known at the end, and return the report."""
        report = self.report
        if self._expected is None and not report.torn and not report.findings:
            raise IntegrityError(f"{path} is empty: there is nothing to verify", path=str(path))
        for numbers, named, where, number in self._missing:
            self._name_missing(numbers, named, where, number)
        for seq, where, number in self._strays:
            if any(seq in numbers for numbers, *_ in self._missing):
                self._find("moved", where, number, f"line {seq} stands here, out of its place")
            else:
                self._find("inserted", where, number, f"a second line {seq}")
        report.last = self._expected
        if self._anchor is not None and not self._anchored:
            end = self._expected.seq if self._expected else -1
            found = f"the trail ends with line {end}" if self._anchor.seq > end else "that line is not here"
            self._find("truncated", *self._where, f"the anchor is of line {self._anchor.seq}, and {found}")
        report.findings.sort(key=lambda each: (each.path, each.line))
        return report

    def _name_missing(self, numbers: range, named: int, path: str, number: int) -> None:
        gone = len(numbers) - named - len({seq for seq, *_ in self._strays if seq in numbers})
        if gone > 0:
            shown = f"line {numbers[0]}" if len(numbers) == 1 else f"{gone} of the lines {numbers[0]} to {numbers[-1]}"
            self._find("removed", path, number, f"{shown}, which stood before this one")

    def _find(self, what: str, path: str, line: int, message: str) -> None:
        if len(self.report.findings) < _MAX_FINDINGS:
            self.report.findings.append(Finding(what, path, max(line, 1), message))


def _lines(file: IO[bytes]) -> Iterator[_Raw]:
    """Yield the lines of a file; of one that is too long, only its length and digest."""
    reader = io.BufferedReader(cast(io.RawIOBase, file))
    number = 0
    while part := reader.readline(MAX_LINE_NBYTES + 2):
        number += 1
        digest, nbytes, first = hashlib.sha256(), 0, part
        while not part.endswith(b"\n"):
            digest.update(part)
            nbytes += len(part)
            if not (part := reader.readline(MAX_LINE_NBYTES + 2)):
                break
        ended = part.endswith(b"\n")
        digest.update(part[:-1] if ended else part)
        nbytes += len(part) - ended
        kept = first.removesuffix(b"\n") if nbytes <= MAX_LINE_NBYTES else b""
        yield _Raw(number, kept, nbytes, digest.hexdigest(), ended)


__all__ = ["Anchor", "Finding", "VerifyReport", "head", "verify"]
