"""Thousands of small sets of plugins, and some large ones, are resolved as the slow oracle resolves them."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from model_checkpoint.plugins import soundness
from model_checkpoint.plugins.resolution import Candidate, Resolution, resolve
from resolution_oracle import World, exhaustive, in_order, is_sound, is_topological, outcomes, step_by_step

MORE = 20 if os.environ.get("MCE_FULL") == "1" else 1
NAMES = ["a", "b", "c-1", "d", "e", "f", "g"]
SPELLED = {"c-1": ["c-1", "C_1", "c.1"]}
CAPABILITIES = ["storage:x", "storage:y", "scheme:z"]
VERSIONS = ["1.0", "1.5", "2.0", "2.0rc1", "2.0.dev3", "1.0+local", "banana", ""]
SPECIFIERS = ["", "", "", ">=1", ">=1.5,<2", "<2", "==2.0", "~=1.0", "!=1.5"]
C = Candidate

plugin_names = st.sampled_from([*NAMES, "gone", "barred"]).flatmap(
    lambda name: st.sampled_from(SPELLED.get(name, [name]))
)
plugins_wanted = st.builds(lambda name, specifier: f"{name}{specifier}", plugin_names, st.sampled_from(SPECIFIERS))
wanted = plugins_wanted | st.sampled_from(CAPABILITIES)
few = st.lists(wanted, max_size=2).map(tuple)


@st.composite
def small_sets(draw: st.DrawFn) -> list[Candidate]:
    """Up to seven plugins that require, provide and fight whatever they like, themselves and in rings too."""
    return [
        Candidate(
            name=name,
            version=draw(st.sampled_from(VERSIONS)),
            builtin=draw(st.booleans()),
            provides=tuple(draw(st.lists(st.sampled_from(CAPABILITIES), max_size=2))),
            requires=draw(few),
            optional=draw(few),
            after=draw(few),
            conflicts=draw(st.lists(wanted, max_size=1).map(tuple)),
        )
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES)))
    ]


def check_what_always_holds(candidates: list[Candidate], result: Resolution) -> None:
    """Sound, nothing could be added, everybody is accounted for, and each reason is one line that says something."""
    world, loaded = World(candidates), {*result.order}
    assert is_sound(world, loaded)
    assert is_topological(world, result.order)
    assert {*result.order} | {*result.refused} == {c.name for c in candidates}
    assert not {*result.order} & {*result.refused}
    for name, verdict in result.refused.items():
        assert not is_sound(world, loaded | {name}), f"{name} could be added"
        assert verdict.name == name
        assert len(verdict.reason) > 10
        assert "\n" not in verdict.reason
    assert {*result.notes} <= {*result.order}


@example(  # the first provider would do for the first plugin, and only the second one for both
    [
        C("a", requires=("storage:x",)),
        C("b", conflicts=("d",)),
        C("d", provides=("storage:x",)),
        C("e", provides=("storage:x",)),
    ]
)
@example([C("a", requires=("a>=9",)), C("b", requires=("storage:x",), provides=("storage:x",))])
@given(small_sets())
@settings(max_examples=800 * MORE)
def test_the_set_is_the_first_sound_one_of_all_subsets_and_every_outcome_is_that_of_the_oracle(
    candidates: list[Candidate],
) -> None:
    barred = {"barred": "is disabled: mce plugins enable barred"}
    result = resolve(candidates, barred)

    world = World(candidates)
    best = exhaustive(world)
    event(f"{len(best)} of {len(candidates)} loaded")
    assert {*result.order} == best
    assert {name: str(verdict.outcome) for name, verdict in result.refused.items()} == outcomes(world, barred, best)
    check_what_always_holds(candidates, result)


@given(small_sets(), st.randoms(use_true_random=False))
@settings(max_examples=300 * MORE)
def test_the_order_in_which_plugins_and_capabilities_are_given_changes_nothing(
    candidates: list[Candidate], chance: random.Random
) -> None:
    barred = {"barred": "is blocked", "zzz": "is disabled"}
    shuffled = list(candidates)
    chance.shuffle(shuffled)

    assert resolve(shuffled, dict(reversed(barred.items()))) == resolve(candidates, barred)


def large_set(seed: int, count: int = 200) -> list[Candidate]:
    """Return plugins of which many require one another; each capability that is required has one provider."""
    chance = random.Random(seed)
    names = [f"p{number:03}" for number in range(count)]
    spread = chance.choice([5, 20, count])

    def near(number: int) -> str:
        return names[max(0, min(count - 1, number + chance.randint(-spread, 1 if chance.random() < 0.9 else spread)))]

    def requirement(number: int) -> str:
        if chance.random() < 0.1:
            return f"storage:{near(number)}"
        return ("gone" if chance.random() < 0.02 else near(number)) + (">=2" if chance.random() < 0.05 else "")

    def several(of: float, number: int) -> tuple[str, ...]:
        return tuple(requirement(number) for _ in range(chance.choice([1, 2, 3]))) if chance.random() < of else ()

    return [
        Candidate(
            name=name,
            version=chance.choice(["1.0", "2.0", "2.5"]),
            builtin=chance.random() < 0.2,
            provides=(f"storage:{name}", *(["cadence:shared"] if chance.random() < 0.03 else [])),
            requires=several(0.4, number),
            optional=several(0.3, number),
            after=several(0.3, number),
            conflicts=several(0.05, number),
        )
        for number, name in enumerate(names)
    ]


def test_two_hundred_plugins_are_resolved_as_repeating_until_nothing_changes_resolves_them() -> None:
    seen: set[str] = set()
    for seed in range(6 * MORE):
        candidates = large_set(seed)
        result = resolve(candidates)
        world = World(candidates)
        expected = step_by_step(world)

        assert {*result.order} == expected, seed
        found = {name: str(verdict.outcome) for name, verdict in result.refused.items()}
        assert found == outcomes(world, {}, expected), seed
        check_what_always_holds(candidates, result)
        seen |= {*found.values()}
    assert seen == {"missing", "wrong version", "conflict", "requirement refused", "cycle"}


def entangled(count: int) -> list[Candidate]:
    """Return plugins with two providers for each capability, where one provider in each pair fights a common enemy."""
    wanting = [Candidate(f"a{n:02}", requires=(f"storage:{n}",)) for n in range(count)]
    first = [Candidate(f"m{n:02}", provides=(f"storage:{n}",), conflicts=("b-enemy",)) for n in range(count)]
    second = [Candidate(f"n{n:02}", provides=(f"storage:{n}",)) for n in range(count)]
    return [*wanting, *first, *second, Candidate("b-enemy")]


def test_a_plugin_that_comes_early_decides_between_the_providers_of_twenty_capabilities() -> None:
    result = resolve(entangled(20))

    assert "b-enemy" in result.order
    assert [name for name in result.order if name.startswith("n")] == [f"n{n:02}" for n in range(20)]


def test_even_without_trying_alternatives_nothing_is_refused_that_could_be_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soundness, "STEPS", 0)
    candidates = [
        C("a", conflicts=("z",)),
        C("c", requires=("storage:y",)),  # its first provider needs z, which a is in the way of
        C("q1", provides=("storage:y",), requires=("z",)),
        C("q2", provides=("storage:y",)),
        C("z"),
    ]
    result = resolve(candidates)

    assert result.order == ("a", "q2", "c")
    check_what_always_holds(candidates, result)


def test_a_puzzle_that_would_take_for_ever_ends_with_a_sound_set_to_which_nothing_can_be_added() -> None:
    holes, pigeons = 9, 10
    nests = [
        Candidate(
            f"n{pigeon}-{hole}",
            provides=(f"storage:nest-of-{pigeon}",),
            conflicts=tuple(f"n{other}-{hole}" for other in range(pigeons) if other != pigeon),
        )
        for pigeon in range(pigeons)
        for hole in range(holes)
    ]
    impossible = Candidate("a", requires=tuple(f"storage:nest-of-{pigeon}" for pigeon in range(pigeons)))
    candidates = in_order([impossible, *nests])
    result = resolve(candidates)

    assert "a" in result.refused
    assert result == resolve(candidates[::-1])
    check_what_always_holds(candidates, result)
