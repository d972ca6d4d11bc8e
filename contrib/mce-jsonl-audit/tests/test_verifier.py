"""The verifier: whatever is done to the bytes of a trail is found, and named."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mce_jsonl_audit import Anchor, VerifyReport, head, verify
from mce_jsonl_audit.lines import EVENT, Link, encoded
from mce_jsonl_audit.trail import Trail, content, rotated

from model_checkpoint.errors import ConfigurationError, IntegrityError

SEAL_AT = 7


@cache
def whole() -> bytes:
    """A trail of a dozen lines, with a seal and a gap in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        for number in range(5):
            Trail(path).append(content(EVENT, "on_run_start", 1.0, fields={"number": number, "name": "ä\u2028"}))
        with path.open("ab") as file:
            file.write(b'{"actor":{"torn')
        Trail(path).append(content("gap", "", 2.0, fields={"lost": 3}), content(EVENT, "on_run_end", 3.0))
        for number in range(3):
            Trail(path).append(content(EVENT, "on_run_start", 4.0, fields={"number": number}))
        return path.read_bytes()


def verified(data: bytes, anchor: Anchor | None = None) -> VerifyReport:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        path.write_bytes(data)
        report = verify(path, anchor=anchor)
        report.torn = [line.removeprefix(folder) for line in report.torn]
        return report


def lines() -> list[bytes]:
    return whole().splitlines(keepends=True)


def anchor() -> Anchor:
    report = verified(whole())
    assert report.last is not None
    return Anchor(report.last.seq, report.last.sha256)


def kinds(report: VerifyReport) -> list[str]:
    return [finding.what for finding in report.findings]


def test_what_nobody_touched_is_whole_and_its_torn_line_is_no_tampering() -> None:
    report = verified(whole(), anchor())
    assert (report.findings, len(report.torn), len(report.gaps)) == ([], 1, 1)


@given(st.data())
def test_any_byte_that_is_changed_is_found(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole()) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda value: value != whole()[at]))
    changed = whole()[:at] + bytes([new]) + whole()[at + 1 :]
    assert is_found(changed), f"byte {at}"


@given(st.data())
def test_any_bytes_that_are_inserted_are_found(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole())))
    new = data.draw(st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([b"\n", b" ", b"\r", b"\0"])))
    assert is_found(whole()[:at] + new + whole()[at:])


@given(st.data())
def test_any_bytes_that_are_removed_are_found(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(whole()) - 1))
    stop = data.draw(st.integers(start + 1, len(whole())))
    try:
        assert is_found(whole()[:start] + whole()[stop:], anchor())
    except IntegrityError:
        assert (start, stop) == (0, len(whole()))


@given(st.permutations(range(13)))
def test_any_other_order_of_the_lines_is_found(order: list[int]) -> None:
    shuffled = b"".join(lines()[number] for number in order)
    assert (shuffled == whole()) or is_found(shuffled)


def is_found(data: bytes, anchor: Anchor | None = None) -> bool:
    """Say whether anything is found; a line left unfinished at the end is told as torn."""
    report = verified(data, anchor)
    unfinished = [line for line in report.torn if "next writer" in line]
    return bool(report.findings) or bool(unfinished)


@pytest.mark.parametrize("number", range(12))
def test_each_line_that_is_removed_is_named(number: int) -> None:
    report = verified(b"".join(lines()[:number] + lines()[number + 1 :]))
    assert kinds(report) == ["changed" if number == SEAL_AT else "removed"]  # the torn bytes then stand for it


def test_torn_bytes_that_were_changed_are_found() -> None:
    changed = [*lines()[: SEAL_AT - 1], b'{"actor":{"town\n', *lines()[SEAL_AT:]]
    (finding,) = verified(b"".join(changed)).findings
    assert (finding.what, finding.line) == ("changed", SEAL_AT)


def test_removing_torn_bytes_with_their_seal_is_found() -> None:
    assert kinds(verified(b"".join(lines()[:6] + lines()[8:]))) == ["removed"]


def test_a_changed_line_is_named_by_its_number() -> None:
    changed = [*lines()[:3], lines()[3].replace(b'"number":2', b'"number":7'), *lines()[4:]]
    (finding,) = verified(b"".join(changed)).findings
    assert (finding.what, finding.line) == ("changed", 4)


def test_a_line_that_was_changed_and_given_a_new_digest_is_found() -> None:
    entry = json.loads(lines()[3])
    entry["fields"] = {"number": 99}
    previous, seq = entry.pop("previous"), entry.pop("seq")
    del entry["sha256"]
    forged, _ = encoded(entry, Link(seq - 1, previous))
    (finding,) = verified(b"".join([*lines()[:3], forged, *lines()[4:]])).findings
    assert (finding.what, finding.line) == ("changed", 4)


def test_two_lines_that_changed_places_are_named_as_moved() -> None:
    swapped = [*lines()[:2], lines()[3], lines()[2], *lines()[4:]]
    assert kinds(verified(b"".join(swapped))) == ["moved"]


def test_a_line_that_stands_twice_was_inserted() -> None:
    (finding,) = verified(b"".join([*lines()[:4], lines()[1], *lines()[4:]])).findings
    assert (finding.what, finding.line) == ("inserted", 5)


def test_a_line_of_another_trail_was_inserted() -> None:
    (finding,) = verified(b"".join([*lines()[:4], b'{"actor":1}\n', *lines()[4:]])).findings
    assert (finding.what, finding.line) == ("inserted", 5)


def test_a_removed_beginning_is_found() -> None:
    assert kinds(verified(b"".join(lines()[2:]))) == ["removed"]


def test_a_tail_that_was_cut_off_is_found_by_the_anchor_alone() -> None:
    shorter = b"".join(lines()[:-1])
    assert verified(shorter).ok
    (finding,) = verified(shorter, anchor()).findings
    assert finding.what == "truncated"
    assert "the trail ends with line 10" in finding.message


def test_a_trail_that_was_written_anew_is_found_by_the_anchor(path: Path, write) -> None:
    write(20)
    assert kinds(verified(path.read_bytes(), anchor())) == ["changed"]


def test_more_lines_after_the_anchor_are_no_finding(path: Path, write) -> None:
    write(2)
    kept = head(path)
    write(3)
    assert verify(path, anchor=kept).ok


def test_a_line_with_a_huge_number_costs_no_memory() -> None:
    forged, _ = encoded(content(EVENT, "on_run_end", 1.0), Link(10**17, "0" * 64))
    assert kinds(verified(whole() + forged)) == ["removed"]


def test_a_line_without_end_is_not_read_into_memory(path: Path) -> None:
    path.write_bytes(whole() + b"x" * 1_000_000 + b"\n")
    (finding,) = verify(path).findings
    assert "1000000 bytes" in finding.message


@pytest.mark.parametrize("hostile", [b"[" * 50_000, b'{"actor":' * 5000, b'{"actor":1,"seq":' + b"9" * 5000 + b"}"])
def test_hostile_json_is_a_finding_like_any_other(hostile: bytes) -> None:
    assert kinds(verified(b"".join([*lines()[:2], hostile + b"\n", *lines()[2:]]))) == ["inserted"]


def test_a_rotated_file_that_is_gone_is_found(path: Path, write) -> None:
    write(60, max_nbytes=5000)
    rotated(path)[2].unlink()
    assert kinds(verify(path)) == ["removed"]


def test_the_oldest_file_may_be_put_away_on_purpose(path: Path, write) -> None:
    write(60, max_nbytes=5000)
    rotated(path)[0].unlink()
    assert kinds(verify(path)) == ["removed"]
    assert verify(path, pruned=True).ok


def test_no_anchor_is_given_of_a_trail_that_is_not_whole(path: Path) -> None:
    path.write_bytes(b"".join(lines()[1:]))
    with pytest.raises(IntegrityError, match="vouch"):
        head(path)


def test_an_empty_file_is_nothing_to_verify(path: Path) -> None:
    path.touch()
    with pytest.raises(IntegrityError, match="empty"):
        verify(path)


@pytest.mark.parametrize("text", ["", "5", "5:abc", "-1:" + "0" * 64, "5:" + "0" * 64 + "\nx"])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no anchor"):
        Anchor.parse(text)


def test_an_anchor_reads_what_it_prints() -> None:
    assert Anchor.parse(str(anchor()) + "\n") == anchor()


def test_the_check_that_the_readme_shows_agrees(path: Path, write) -> None:
    write(5)
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    script = readme.split("```python\n")[1].split("```")[0]
    check = [sys.executable, "-c", script, str(path)]
    assert subprocess.run(check, capture_output=True).returncode == 0
    path.write_bytes(path.read_bytes().replace(b'"number":3', b'"number":4'))
    assert b"AssertionError: 4" in subprocess.run(check, capture_output=True).stderr
