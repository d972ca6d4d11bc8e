"""Names and ids: what can be one, how they read, and that they never clash."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.common.ids import MAX_NAME_LENGTH, checked_name, checkpoint_id, random_id, slug
from model_checkpoint.errors import InvalidNameError

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,126}[A-Za-z0-9_+=-]", fullmatch=True)


@pytest.mark.parametrize("name", ["a", "digits-7", "2026", "a.b", "a+b=c", "x_", "console", "a" * MAX_NAME_LENGTH])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert checked_name(name, "a run") == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "C:x", "-a", ".a", "a.", "a b", "a\n", "a\0", "ünï",
        "\u202eabc", "CON", "con.txt", "Lpt1", "%2e%2e%2f", "a;b", "🦜", "a" * (MAX_NAME_LENGTH + 1), None, 7, b"a",
        ["a"],
    ],
    ids=repr,
)  # fmt: skip
def test_any_other_name_is_refused_and_shown_with_what_it_was_meant_to_name(name: object) -> None:
    with pytest.raises(InvalidNameError, match="cannot be the name of a run: use letters, digits") as refused:
        checked_name(name, "a run")
    assert len(str(refused.value)) < 300


@given(st.text(max_size=200))
def test_a_slug_of_any_text_is_a_name(text: str) -> None:
    assert checked_name(slug(text), "an experiment") == slug(text)


@given(names)
def test_a_slug_of_a_short_name_that_ends_plainly_is_that_name(name: str) -> None:
    plain = name.strip("-._+=")[:64].rstrip(".")
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", plain):
        assert slug(name) == f"x-{plain}"
    else:
        assert slug(name) == plain


def test_a_checkpoint_id_says_run_epoch_and_step() -> None:
    made = checkpoint_id("digits-7", epoch=4, step=350, sequence=12)
    assert re.fullmatch(r"digits-7-e0004-s000350-[0-9a-f]{2}", made)
    assert re.fullmatch(r"digits-7-[0-9a-f]{2}", checkpoint_id("digits-7", epoch=None, step=None, sequence=1))


def test_every_process_arrives_at_the_same_id_and_every_save_at_another() -> None:
    def made(sequence: int) -> str:
        return checkpoint_id("digits-7", epoch=1, step=2, sequence=sequence, tail_length=16)

    assert made(3) == made(3)
    assert len({made(sequence) for sequence in range(1000)}) == 1000


@given(
    names, st.none() | st.integers(0, 10**9), st.none() | st.integers(0, 10**12), st.integers(1, 2**40),
    st.sampled_from([2, 4, 8]),
)  # fmt: skip
def test_an_id_of_any_run_is_a_name_that_can_be_stored(
    run: str, epoch: int | None, step: int | None, sequence: int, tail_length: int
) -> None:
    made = checkpoint_id(run, epoch=epoch, step=step, sequence=sequence, tail_length=tail_length)
    assert checked_name(made, "a checkpoint") == made


def test_two_long_run_names_that_begin_alike_give_different_ids() -> None:
    made = {checkpoint_id("x" * 120 + end, epoch=1, step=1, sequence=1) for end in "ab"}
    assert len({each.rpartition("-")[0] for each in made}) == 2


def test_random_ids_are_16_hex_digits_and_differ() -> None:
    made = {random_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in made)
