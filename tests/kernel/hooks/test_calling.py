"""Order, vetoes, changes, isolation, wrappers, decisions."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_checkpoint.errors import ContextFieldError, OperationVetoed, Veto
from model_checkpoint.hooks import HookEvent, HookManager, HookPriority, hookimpl, retry_on_failure

SAVE, SAVED = HookEvent.BEFORE_CHECKPOINT_SAVE, HookEvent.AFTER_CHECKPOINT_SAVE


@pytest.fixture
def hooks() -> HookManager:
    return HookManager()


def errors_told(hooks: HookManager) -> list[object]:
    told: list[object] = []
    hooks.register_hook("told", told.append, [HookEvent.ON_PLUGIN_ERROR])
    return told


BANDS = [HookPriority.CRITICAL, HookPriority.HIGH, HookPriority.NORMAL, HookPriority.LOW]


@given(st.lists(st.sampled_from(BANDS), max_size=12), st.sets(st.integers(0, 11)))
def test_lower_numbers_come_first_and_equals_in_the_order_of_registration(
    priorities: list[HookPriority], removed: set[int]
) -> None:
    hooks, seen = HookManager(), []
    for number, priority in enumerate(priorities):
        hooks.register_hook(f"h{number}", lambda context, n=number: seen.append(n), [SAVED], priority=priority)
    for number in removed:
        hooks.unregister_hook(f"h{number}")
    hooks.fire(SAVED)

    left = [n for n in range(len(priorities)) if n not in removed]
    assert seen == sorted(left, key=lambda n: (priorities[n], n))


def test_tryfirst_and_trylast_are_the_edges_of_high_and_low(hooks: HookManager) -> None:
    seen: list[str] = []

    def plugin(name: str, **options: object) -> object:
        class Plugin:
            @hookimpl(**options)  # type: ignore[call-overload]
            def after_checkpoint_save(self) -> None:
                seen.append(name)

        return Plugin()

    for name, options in {
        "low": {"priority": HookPriority.LOW}, "last": {"trylast": True}, "low 2": {"priority": HookPriority.LOW},
        "high": {"priority": HookPriority.HIGH}, "first": {"tryfirst": True}, "critical": {"priority": 0}, "normal": {},
    }.items():  # fmt: skip
        hooks.register(plugin(name, **options), name)
    hooks.fire(SAVED)

    assert seen == ["critical", "first", "high", "normal", "low", "low 2", "last"]


@pytest.mark.parametrize("say_no", ["raise", "method", "return"])
def test_a_veto_stops_the_operation_names_its_hook_and_spares_the_later_ones(hooks: HookManager, say_no: str) -> None:
    seen: list[str] = []

    def guard(context: object) -> object:
        if say_no == "raise":
            raise Veto("loss is NaN")
        if say_no == "method":
            context.veto("loss is NaN")  # type: ignore[attr-defined]
        return False

    told = errors_told(hooks)
    hooks.register_hook("guard", guard, [SAVE])
    hooks.register_hook("later", lambda context: seen.append("later"), [SAVE])
    with pytest.raises(OperationVetoed) as vetoed:
        hooks.fire(SAVE)
    reason = "it returned False" if say_no == "return" else "loss is NaN"
    assert (vetoed.value.event, vetoed.value.plugin, vetoed.value.reason) == (SAVE, "guard", reason)
    assert (seen, told) == ([], [])


@pytest.mark.parametrize("value", [0, None, "", [], 0.0, True])
def test_only_false_itself_is_a_veto(hooks: HookManager, value: object) -> None:
    hooks.register_hook("x", lambda context: value, [SAVE])

    assert hooks.fire(SAVE).results == (() if value is None else (value,))


def test_what_has_happened_cannot_be_vetoed_and_the_attempt_is_an_error_of_the_hook(hooks: HookManager) -> None:
    told = errors_told(hooks)
    hooks.register_hook("false", lambda context: False, [SAVED])
    hooks.register_hook("veto", lambda context: context.veto("no"), [SAVED])

    assert hooks.fire(SAVED).results == (False,)
    assert [(t.plugin, type(t.error)) for t in told] == [("veto", ContextFieldError)]  # type: ignore[attr-defined]


def test_a_dict_changes_the_starred_fields_for_the_hooks_that_follow(hooks: HookManager) -> None:
    seen: list[object] = []
    hooks.register_hook("first", lambda context: {"tags": {"a": ""}, "backend": "memory"}, [SAVE])
    hooks.register_hook("second", lambda context: seen.append((context.tags, context.backend)), [SAVE])
    report = hooks.fire(SAVE, tags={})

    assert seen == [({"a": ""}, "memory")]
    assert report.context.backend == "memory"


def test_a_dict_with_a_field_that_may_not_change_changes_nothing_and_is_an_error(hooks: HookManager) -> None:
    told = errors_told(hooks)
    hooks.register_hook("bad", lambda context: {"tags": {"a": ""}, "epoch": 5}, [SAVE])

    assert hooks.fire(SAVE, tags={}, epoch=1).context.tags == {}
    assert "'epoch'" in str(told[0].error)  # type: ignore[attr-defined]


def boom(context: object) -> None:
    raise ValueError("boom")


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), RecursionError("deep"), MemoryError("full")])
def test_an_error_is_isolated_told_and_counted_and_the_others_go_on(
    hooks: HookManager, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def raising(context: object) -> None:
        raise error

    told = errors_told(hooks)
    hooks.register_hook("bad", raising, [SAVED])
    hooks.register_hook("good", lambda context: seen.append("good"), [SAVED])
    with caplog.at_level(logging.WARNING, "model_checkpoint"):
        hooks.fire(SAVED)

    assert seen == ["good"]
    assert [(t.plugin, t.hook, t.error, t.consecutive) for t in told] == [("bad", SAVED, error, 1)]  # type: ignore[attr-defined]
    assert [r.message for r in caplog.records if "'bad'" in r.message and str(error) in r.message]
    assert [(s.calls, s.errors) for s in hooks.stats() if s.plugin == "bad"] == [(1, 1)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_an_interruption_passes(hooks: HookManager, error: type[BaseException]) -> None:
    def interrupted(context: object) -> None:
        raise error

    hooks.register_hook("x", interrupted, [SAVED])
    with pytest.raises(error):
        hooks.fire(SAVED)


def test_abort_and_strict_let_the_error_out_with_a_note(hooks: HookManager) -> None:
    hooks.register_hook("bad", boom, [SAVED], on_error="abort")
    with pytest.raises(ValueError, match="boom") as raised:
        hooks.fire(SAVED)
    assert any("'bad'" in note for note in raised.value.__notes__)
    strict = HookManager(strict=True)
    strict.register_hook("bad", boom, [SAVED])
    with pytest.raises(ValueError, match="boom"):
        strict.fire(SAVED)


def test_a_condition_that_raises_is_an_error_of_its_hook(hooks: HookManager) -> None:
    told = errors_told(hooks)
    hooks.register_hook("tenth", boom, [SAVED], condition=lambda context: context.get("epoch") % 10 == 0)
    hooks.fire(SAVED)

    assert isinstance(told[0].error, TypeError)  # type: ignore[attr-defined]


def test_an_operation_vetoed_inside_a_hook_is_an_error_of_that_hook_alone(hooks: HookManager) -> None:
    told = errors_told(hooks)
    hooks.register_hook("no", lambda context: False, [SAVE])
    hooks.register_hook("nested", lambda context: hooks.fire(SAVE), [HookEvent.ON_RUN_START])
    hooks.fire(HookEvent.ON_RUN_START)

    assert [type(t.error) for t in told] == [OperationVetoed]  # type: ignore[attr-defined]


def test_an_error_while_telling_an_error_is_logged_and_not_told_again(
    hooks: HookManager, caplog: pytest.LogCaptureFixture
) -> None:
    hooks.register_hook("teller", boom, [HookEvent.ON_PLUGIN_ERROR])
    hooks.register_hook("bad", boom, [SAVED])
    hooks.fire(SAVED)

    assert [r.args[1] for r in caplog.records if r.name == "model_checkpoint" and r.args] == ["bad", "teller"]  # type: ignore[index]


def test_five_failures_in_a_row_switch_a_hook_off_and_enable_switches_it_on(hooks: HookManager) -> None:
    told = errors_told(hooks)
    hooks.register_hook("bad", boom, [SAVED])
    for _ in range(7):
        hooks.fire(SAVED)
    (line,) = [s for s in hooks.stats() if s.plugin == "bad"]
    assert (line.calls, line.quarantined) == (5, True)
    assert [t.quarantined for t in told] == [False] * 4 + [True]  # type: ignore[attr-defined]
    assert not hooks.live(SAVED)
    assert hooks.enable("bad") == 1
    hooks.fire(SAVED)
    assert [(s.calls, s.quarantined) for s in hooks.stats() if s.plugin == "bad"] == [(6, False)]


def test_a_success_in_between_starts_the_count_again(hooks: HookManager) -> None:
    outcomes = iter([1, 1, 1, 1, 0, 1, 1, 1, 1])

    def sometimes(context: object) -> None:
        if next(outcomes):
            raise ValueError

    hooks.register_hook("sometimes", sometimes, [SAVED])
    for _ in range(9):
        hooks.fire(SAVED)

    assert not hooks.stats()[0].quarantined


def test_a_hook_that_is_switched_off_by_hand_can_be_taken_out(hooks: HookManager) -> None:
    hooks.register_hook("x", boom, [SAVED])
    assert hooks.disable("x") == 1
    hooks.fire(SAVED)
    assert hooks.unregister_hook("x")
    assert hooks.stats() == []


def test_the_first_answer_decides_and_an_error_in_a_decision_is_not_swallowed(hooks: HookManager) -> None:
    def plugin(answer: object, priority: int) -> object:
        class Plugin:
            @hookimpl(priority=priority)
            def choose_storage_backend(self, context: object) -> object:
                if isinstance(answer, Exception):
                    raise answer
                return answer

        return Plugin()

    hooks.register(plugin(None, 0), "none")
    hooks.register(plugin("memory", 25), "memory")
    hooks.register(plugin("other", 50), "other")
    assert hooks.hook.choose_storage_backend(context=None) == "memory"
    hooks.register(plugin(ValueError("no idea"), 10), "failing")
    with pytest.raises(ValueError, match="no idea"):
        hooks.hook.choose_storage_backend(context=None)
    assert [s.errors for s in hooks.stats() if s.plugin == "failing"] == [1]


def test_one_plugin_is_asked_alone(hooks: HookManager) -> None:
    class Plugin:
        def __init__(self, name: str) -> None:
            self.own = name

        @hookimpl
        def register_analyzers(self, kernel: object) -> list[object]:
            return [self.own, kernel]

    hooks.register(Plugin("a"), "a")
    hooks.register(Plugin("b"), "b")

    assert hooks.call_one("a", "register_analyzers", kernel="k") == ["a", "k"]
    assert hooks.call_one("a", "register_record_stores", kernel="k") is None
    assert hooks.call_one("nobody", "register_analyzers", kernel="k") is None


def test_execution_is_watched_for_other_plugins_and_never_for_the_watcher(hooks: HookManager) -> None:
    seen: list[tuple[str, str, object]] = []

    class Watcher:
        @hookimpl
        def before_plugin_execute(self, context: object) -> object:
            seen.append(("before", context.plugin, context.hook))  # type: ignore[attr-defined]
            return context.plugin != "stopped"  # type: ignore[attr-defined]

        @hookimpl
        def after_plugin_execute(self, context: object) -> None:
            seen.append(("after", context.plugin, context.outcome))  # type: ignore[attr-defined]

        @hookimpl
        def after_checkpoint_save(self) -> None: ...

    hooks.register_hook("bad", boom, [SAVED])
    hooks.register_hook("stopped", boom, [SAVED])
    hooks.register(Watcher(), "watcher")
    hooks.fire(SAVED)

    assert [each for each in seen if each[1] == "watcher"] == []
    assert [each for each in seen if each[1] != "watcher"] == [
        ("before", "bad", SAVED),
        ("after", "bad", "error"),
        ("before", "stopped", SAVED),
        ("after", "stopped", "skipped"),
    ]


def test_a_retried_hook_is_called_until_it_succeeds(hooks: HookManager) -> None:
    calls: list[int] = []

    @retry_on_failure(attempts=3, delay=0.0)
    def flaky(context: object) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("not yet")
        return "done"

    @retry_on_failure(attempts=3, delay=0.0)
    def refusing(context: object) -> None:
        calls.append(1)
        raise Veto("no")

    hooks.register_hook("flaky", flaky, [SAVED])
    assert hooks.fire(SAVED).results == ("done",)
    calls.clear()
    hooks.register_hook("refusing", refusing, [SAVE])
    with pytest.raises(OperationVetoed):
        hooks.fire(SAVE)
    assert len(calls) == 1


def test_a_field_that_an_event_lacks_is_refused_where_it_is_fired(hooks: HookManager) -> None:
    with pytest.raises(ContextFieldError, match="on_run_end has no field epohc; it has event"):
        hooks.fire(HookEvent.ON_RUN_END, epohc=3)


def test_percentiles_are_within_their_promise() -> None:
    from model_checkpoint.hooks.stats import Tally

    tally = Tally()
    tally.durations_ns.extend(range(0, 1_000_000, 10))
    line = tally.line("p", "h", "f", 50, quarantined=False)

    assert line.calls == 100_000
    assert line.max_s == pytest.approx(999_990e-9)
    for percentile, expected in ((line.p50_s, 0.5e-3), (line.p95_s, 0.95e-3), (line.p99_s, 0.99e-3)):
        assert percentile == pytest.approx(expected, rel=0.04)
    assert sys.getsizeof(tally._buckets) < 20_000
