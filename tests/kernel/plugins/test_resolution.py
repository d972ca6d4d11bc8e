"""Which plugins are loaded together, in which order, and what the others are told."""

from __future__ import annotations

import time

import pytest

from model_checkpoint.plugins import requirements
from model_checkpoint.plugins.requirements import RequirementError, parse
from model_checkpoint.plugins.resolution import Candidate, Outcome, Resolution, resolve

C = Candidate


def refusal(result: Resolution, name: str) -> tuple[Outcome, str]:
    verdict = result.refused[name]
    return verdict.outcome, verdict.reason


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3", ("s3", "", False)),
        (" s3 >= 1.2, < 2 ", ("s3", ">=1.2,<2", False)),
        ("s3~=1.2", ("s3", "~=1.2", False)),
        ("a.b-c_d!=1", ("a.b-c_d", "!=1", False)),
        ("storage:vault", ("storage:vault", "", True)),
        ("scheme:postgresql+psycopg", ("scheme:postgresql+psycopg", "", True)),
    ],
)
def test_a_requirement_is_a_name_with_or_without_versions_or_a_capability(
    text: str, parts: tuple[str, str, bool]
) -> None:
    read = parse(text)
    assert (read.name, read.specifier, read.is_capability) == parts


@pytest.mark.parametrize(
    "text",
    [
        *("", "a b", "a[extra]", "a; python_version>'3'", "a @ file:///x", "a>=", "a>=x y", "a\nb", "a\0", "é"),
        *("-x", "../x", "a" * 501, "a>=" + "1" * 501, "storage:vault>=1", "x:", ":x", "a:b:c", "Storage:x"),
    ],
)
def test_what_is_no_requirement_is_refused_with_the_text_and_what_to_write(text: str) -> None:
    with pytest.raises(RequirementError, match="write") as caught:
        parse(text)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("text", "version", "matches"),
    [
        ("x>=1.2,<2", "1.2", True),
        ("x>=1.2,<2", "2.0", False),
        ("x>=1.2", "1.3rc1", True),
        ("x>=1.2", "1.3.dev0", True),
        ("x>=1.2", "1.2+cpu", True),
        ("x>=1.2", "newest", False),
        ("x!=1.2", "newest", False),
        ("x>=1.2", "", False),
        ("x", "newest", True),
        ("x", "", True),
    ],
)
def test_pre_releases_count_and_what_is_no_version_fits_no_specifier(text: str, version: str, matches: bool) -> None:
    assert parse(text).matches(version) is matches


def test_two_spellings_of_a_name_are_one() -> None:
    assert requirements.normalized("State__Dict") == requirements.normalized("state-dict") == "state-dict"
    assert resolve([C("state-dict"), C("x", requires=("State.Dict",))]).order == ("state-dict", "x")
    assert resolve([C("State_Dict"), C("x", requires=("state-dict",))]).order == ("State_Dict", "x")
    assert resolve([C("x", requires=("old-s3",))], {"Old_S3": "is blocked"}).refused["x"].reason.endswith("is blocked")


def test_of_two_plugins_whose_names_differ_in_spelling_the_exact_one_is_meant() -> None:
    result = resolve([C("a-b", "1"), C("a_b", "2"), C("x", requires=("a_b>=2",)), C("y", requires=("A-B>=2",))])
    assert [*result.refused] == ["y"]


def test_without_any_wish_plugins_are_loaded_by_name() -> None:
    assert resolve([C("b"), C("a"), C("c", builtin=True)]).order == ("a", "b", "c")


def test_nothing_gives_nothing() -> None:
    assert resolve([]) == Resolution((), {}, {}, {})


def test_a_plugin_is_loaded_after_all_that_it_requires() -> None:
    candidates = [C("a", requires=("storage:x", "c")), C("b", provides=("storage:x",), requires=("c",)), C("c")]
    assert resolve(candidates).order == ("c", "b", "a")


def test_the_same_name_twice_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match=r"same name.*\(a, b\)"):
        resolve([C("a"), C("b"), C("a"), C("b"), C("c")])


def test_a_missing_plugin_is_named() -> None:
    asks = [C("a", requires=("s3>=1.2",))]
    assert refusal(resolve(asks), "a") == (
        Outcome.MISSING,
        "needs s3>=1.2, which is not installed: install the distribution that has it",
    )


def test_a_capability_that_nothing_provides_is_missing() -> None:
    assert refusal(resolve([C("a", requires=("storage:x",))]), "a") == (
        Outcome.MISSING,
        "needs storage:x, which nothing here provides: install the distribution that has it",
    )


def test_a_wrong_version_is_shown_with_the_command_that_mends_it() -> None:
    candidates = [C("a", requires=("s3>=1.2",)), C("s3", "1.1", distribution="mce-s3")]
    assert refusal(resolve(candidates), "a") == (
        Outcome.WRONG_VERSION,
        "needs s3>=1.2, found 1.1: pip install -U 'mce-s3>=1.2'",
    )


def test_a_version_that_is_none_is_said_to_be_none() -> None:
    candidates = [C("a", requires=("s3>=1.2",)), C("s3", "newest", distribution="mce-s3")]
    assert resolve(candidates).refused["a"].reason == (
        "needs s3>=1.2, found 'newest', which is no version (PEP 440): pip install -U 'mce-s3>=1.2'"
    )


def test_a_command_cannot_be_smuggled_in_by_the_name_of_a_distribution() -> None:
    candidates = [C("a", requires=("s3==2",)), C("s3", "1", distribution="x; rm -rf /")]
    assert resolve(candidates).refused["a"].reason.endswith("pip install -U 'x; rm -rf /==2'")


def test_everything_that_is_missing_is_told_at_once_and_counts_as_the_worst_of_it() -> None:
    result = resolve([C("a", requires=("s3>=2", "off", "zstd", "no no")), C("s3", "1")], {"off": "is disabled"})
    outcome, reason = refusal(result, "a")
    assert outcome is Outcome.MISSING
    assert reason == (
        "needs s3>=2, found 1: give it a version that fits; needs off, which is disabled;"
        " needs zstd, which is not installed: install the distribution that has it;"
        " needs what cannot be read: 'no no' is no requirement: write name, name>=1.2,<2 or kind:name"
    )


def test_what_a_policy_refused_is_no_more_there_and_the_policy_is_quoted() -> None:
    barred = {"s3": "is disabled: mce plugins enable s3"}
    result = resolve(
        [C("a", requires=("S3>=9",)), C("b", requires=("cloud:s3",)), C("s3", provides=("cloud:s3",))], barred
    )
    assert result.order == ()
    assert refusal(result, "a") == (
        Outcome.REQUIREMENT_REFUSED,
        "needs S3>=9, which is disabled: mce plugins enable s3",
    )
    assert refusal(result, "b") == (
        Outcome.REQUIREMENT_REFUSED,
        "needs cloud:s3, which s3 provides, and that is disabled: mce plugins enable s3",
    )
    assert "s3" not in result.refused


def test_a_refusal_spreads_to_those_that_need_the_plugin_and_names_its_root() -> None:
    chain = [C("a", requires=("b",)), C("b", requires=("c",)), C("c", requires=("d",))]
    result = resolve(chain)
    assert refusal(result, "b") == (
        Outcome.REQUIREMENT_REFUSED,
        "needs c, which needs d, which is not installed: install the distribution that has it",
    )
    assert refusal(result, "a") == (
        Outcome.REQUIREMENT_REFUSED,
        "needs b, which cannot do without c, which needs d, which is not installed:"
        " install the distribution that has it",
    )


def test_a_long_chain_makes_no_long_message() -> None:
    names = [f"p{number:03}" for number in range(300)]
    result = resolve([C(name, requires=(after,)) for name, after in zip(names, [*names[1:], "gone"], strict=True)])
    assert len(result.refused) == 300
    assert max(len(verdict.reason) for verdict in result.refused.values()) < 200


def test_a_ring_is_drawn_and_those_who_need_it_are_told() -> None:
    ring = [C("b", requires=("c",)), C("c", requires=("a",)), C("a", requires=("b",)), C("x", requires=("b",))]
    result = resolve(ring)
    drawn = "is on a ring of requirements, a -> b -> c -> a: one of them has to do without the next, tell its author"
    assert {name: refusal(result, name) for name in "abc"} == dict.fromkeys("abc", (Outcome.CYCLE, drawn))
    assert refusal(result, "x") == (Outcome.REQUIREMENT_REFUSED, f"needs b, which {drawn}")


def test_a_ring_of_many_is_drawn_short() -> None:
    names = [f"p{number:03}" for number in range(100)]
    result = resolve([C(name, requires=(after,)) for name, after in zip(names, [*names[1:], names[0]], strict=True)])
    assert "p000 -> p001 -> " in result.refused["p050"].reason
    assert " -> (90 more) -> p000" in result.refused["p050"].reason


def test_a_plugin_that_requires_itself_is_a_ring_of_one() -> None:
    outcome, reason = refusal(resolve([C("a", requires=("a>=5",))]), "a")
    assert outcome is Outcome.CYCLE
    assert reason.startswith("requires itself, a -> a: ")


def test_a_plugin_that_requires_what_it_provides_itself_is_satisfied() -> None:
    assert resolve([C("a", requires=("storage:x",), provides=("storage:x",))]).order == ("a",)


def test_a_ring_over_a_capability_is_one_unless_another_provider_is_there() -> None:
    ring = [C("a", requires=("storage:x",)), C("b", provides=("storage:x",), requires=("a",))]
    assert resolve(ring).refused["a"].outcome is Outcome.CYCLE

    other = resolve([*ring, C("c", provides=("storage:x",))])
    assert other.order == ("c", "a")
    assert refusal(other, "b")[0] is Outcome.CONFLICT


def test_of_two_that_provide_the_same_the_built_in_stays_then_the_first_by_name() -> None:
    x = ("storage:x",)
    assert resolve([C("a", provides=x), C("b", provides=x)]).order == ("a",)
    result = resolve([C("a", provides=x), C("b", provides=x, builtin=True)])
    assert result.order == ("b",)
    assert refusal(result, "a") == (
        Outcome.CONFLICT,
        "conflicts with b, for both provide storage:x: keep a by mce plugins disable b, or b by mce plugins disable a",
    )


def test_a_conflict_says_with_whom_and_who_declares_it_and_what_to_do() -> None:
    candidates = [C("s3", "2", conflicts=("old-s3<2",)), C("old-s3", "1"), C("q", conflicts=("s3",))]
    result = resolve(candidates)
    assert result.order == ("old-s3", "q")
    assert refusal(result, "s3") == (
        Outcome.CONFLICT,
        "conflicts with old-s3, as it says itself ('old-s3<2'):"
        " keep s3 by mce plugins disable old-s3, or old-s3 by mce plugins disable s3;"
        " conflicts with q, as q says ('s3'): keep s3 by mce plugins disable q, or q by mce plugins disable s3",
    )


def test_versions_outside_a_conflict_and_plugins_that_are_not_there_conflict_with_nobody() -> None:
    result = resolve([C("a", conflicts=("b<2", "c", "a", "no no")), C("b", "2.1"), C("d", "x", conflicts=("b>=1.x",))])
    assert result.order == ("a", "b", "d")


def test_a_conflict_with_a_capability_means_every_other_provider_of_it() -> None:
    mine = C("mine", provides=("cadence:a",), conflicts=("storage:x", "cadence:a"), builtin=True)
    result = resolve([mine, C("x1", provides=("storage:x",)), C("x2", provides=("storage:x",))])
    assert result.order == ("mine",)


def test_nobody_loses_to_a_plugin_that_could_not_run_anyway() -> None:
    candidates = [
        C("a-lacks", requires=("gone",), conflicts=("z",)),
        C("b-torn", requires=("z", "y"), conflicts=("x",)),
        C("x"),
        C("y", conflicts=("z",)),
        C("z"),
    ]
    result = resolve(candidates)
    assert result.order == ("x", "y")
    assert {name: verdict.outcome for name, verdict in result.refused.items()} == {
        "a-lacks": Outcome.MISSING,
        "b-torn": Outcome.CONFLICT,
        "z": Outcome.CONFLICT,
    }


def test_who_needs_a_loser_is_told_of_the_conflict() -> None:
    result = resolve([C("a", conflicts=("b",)), C("b", provides=("storage:x",)), C("c", requires=("storage:x",))])
    assert refusal(result, "c")[0] is Outcome.REQUIREMENT_REFUSED
    assert refusal(result, "c")[1].startswith("needs storage:x from b, which conflicts with a, as a says ('b'): ")


def test_the_provider_is_chosen_with_which_the_next_plugins_can_be_loaded_too() -> None:
    x = ("storage:x",)
    candidates = [C("a", requires=x), C("b", conflicts=("p1",)), C("p1", provides=x), C("p2", provides=x)]
    result = resolve(candidates)
    assert result.order == ("b", "p2", "a")
    assert result.refused["p1"].outcome is Outcome.CONFLICT


def test_what_is_optional_comes_first_where_it_is_there_and_is_noted_where_it_is_not() -> None:
    candidates = [
        C("a", optional=("z", "gone>=1", "old>=2", "loser", "storage:no", "no no", "off")),
        C("old", "1", distribution="mce-old"),
        C("loser", requires=("gone",)),
        C("z"),
    ]
    result = resolve(candidates, {"off": "is disabled"})
    assert result.order == ("old", "z", "a")
    assert result.notes == {
        "a": (
            "goes without gone>=1, which is not installed: install the distribution that has it",
            "goes without old>=2, found 1: pip install -U 'mce-old>=2'",
            "goes without loser, which needs gone, which is not installed: install the distribution that has it",
            "goes without storage:no, which nothing here provides: install the distribution that has it",
            "'no no' is no requirement: write name, name>=1.2,<2 or kind:name",
            "goes without off, which is disabled",
        )
    }


def test_after_is_order_only_and_silent_about_those_that_are_not_there() -> None:
    result = resolve([C("a", after=("z", "gone", "storage:x")), C("y", provides=("storage:x",)), C("z")])
    assert result.order == ("y", "z", "a")
    assert result.notes == {}


def test_a_soft_edge_that_would_close_a_loop_is_dropped_with_a_note() -> None:
    result = resolve([C("a", after=("c",)), C("b", requires=("a",)), C("c", optional=("b",))])
    assert result.order == ("c", "a", "b")
    assert result.notes == {"c": ("is not loaded after b, for that would be a loop: c -> b -> a -> c",)}


def test_hard_edges_never_yield_to_soft_ones() -> None:
    result = resolve([C("a", builtin=True, after=("b",)), C("b", requires=("a",)), C("c", after=("c",))])
    assert result.order == ("a", "b", "c")
    assert result.notes["a"] == ("is not loaded after b, for that would be a loop: a -> b -> a",)
    assert result.notes["c"] == ("is not loaded after c, for that would be a loop: c -> c",)


def test_of_two_soft_edges_that_contradict_each_other_that_of_the_first_plugin_stays() -> None:
    result = resolve(
        [
            C("a", after=("b",), optional=("c",)),
            C("b"),
            C("c", after=("b",)),
            C("d", after=("e",)),
            C("e", optional=("d",)),
        ]
    )
    assert result.order == ("b", "c", "a", "e", "d")
    assert [*result.notes] == ["e"]


def test_nobody_is_loaded_before_a_wrong_version_of_what_is_optional_for_that_reason() -> None:
    assert resolve([C("a", optional=("b>=2",)), C("b", "1")]).order == ("a", "b")


def test_sixty_plugins_are_resolved_in_a_moment() -> None:
    names = [f"p{number:02}" for number in range(60)]
    candidates = [
        C(
            name,
            "1.5",
            provides=(f"storage:{name}",),
            requires=tuple(f"{other}>=1.2,<2" for other in names[:number][-3:]),
        )
        for number, name in enumerate(names)
    ]
    resolve(candidates)
    started = time.perf_counter()
    assert resolve(candidates).order == tuple(names)
    assert time.perf_counter() - started < 0.1, "ten times the budget that tests/benchmarks/bench_plugins.py measures"
