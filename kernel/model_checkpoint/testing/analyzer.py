"""The conformance kit for analyzers: what ``model_checkpoint.contracts.analysis`` asks for, as tests.

::

    from model_checkpoint.testing import AnalyzerTests
    from my_plugin import MyAnalyzer

    class TestMyAnalyzer(AnalyzerTests):
        @pytest.fixture
        def create(self):
            return MyAnalyzer                # called without arguments, as the descriptor's `create` is

The rules:

1.  What is observed shows in the report: each observation changes it.
2.  The report is strict JSON with strings as keys, at every moment, before the first observation too.
3.  No number is too odd: NaN, infinities, -0.0, subnormals and ints beyond every float are folded in, or refused with
    ``MetricError``, and the report stays JSON.
4.  A report does not change once it was given out, and asking for it changes nothing.
5.  Two analyzers that `create` made have nothing in common.
6.  Memory does not grow with the number of observations of one name.
7.  Several threads may observe and report at once, and no observation is lost.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
import tracemalloc
from collections.abc import Callable
from typing import ClassVar

import pytest

from model_checkpoint.contracts import Analyzer
from model_checkpoint.errors import MetricError
from model_checkpoint.testing.record_samples import NUMBERS, in_threads, rule


class AnalyzerTests:
    """Subclass it and give `create`: see the module's docstring."""

    growth_nbytes: ClassVar[int] = 64 * 1024
    """By how many bytes memory may grow while ten thousand observations of one name are folded in."""

    @pytest.fixture
    def create(self) -> Callable[[], Analyzer]:
        """The function that makes a fresh analyzer."""
        raise NotImplementedError("override the fixture `create`")

    @rule(1)
    def test_each_observation_shows_in_the_report(self, create: Callable[[], Analyzer]) -> None:
        analyzer = create()
        seen = [_text(analyzer)]
        for step, (name, value) in enumerate((("a", 0.5), ("a", 0.25), ("b", 0.5))):
            analyzer.observe(name, value, step)
            seen.append(_text(analyzer))
        assert len(set(seen)) == len(seen)

    @rule(1)
    def test_a_step_may_be_left_out(self, create: Callable[[], Analyzer]) -> None:
        analyzer = create()
        before = _text(analyzer)
        analyzer.observe("a", 0.5)
        assert _text(analyzer) != before

    @rule(2)
    def test_the_report_is_strict_json_at_every_moment(self, create: Callable[[], Analyzer]) -> None:
        analyzer = create()
        _check_json(analyzer)
        for step, value in enumerate((1.0, 0.25, 2)):
            analyzer.observe("a", value, step)
            _check_json(analyzer)

    @rule(3)
    @pytest.mark.parametrize("word", [*NUMBERS])
    def test_an_odd_number_does_no_harm(self, create: Callable[[], Analyzer], word: str) -> None:
        analyzer = create()
        for value in (NUMBERS[word], 1.0, NUMBERS[word], -NUMBERS[word]):
            with contextlib.suppress(MetricError):
                analyzer.observe("a", value, 1)
            json.dumps(analyzer.report(), allow_nan=False)

    @rule(4)
    def test_a_report_stays_as_it_was_given(self, create: Callable[[], Analyzer]) -> None:
        analyzer = create()
        analyzer.observe("a", 0.5, 1)
        report = analyzer.report()
        before = copy.deepcopy(report)
        assert analyzer.report() == before, "asking twice gives two answers"
        analyzer.observe("a", 0.25, 2)
        analyzer.observe("b", 0.25, 2)
        assert report == before, "the report that was given out changed afterwards"

    @rule(5)
    def test_two_of_them_have_nothing_in_common(self, create: Callable[[], Analyzer]) -> None:
        first, second = create(), create()
        before = _text(second)
        first.observe("a", 0.5, 1)
        assert _text(second) == before == _text(create())

    @rule(6)
    def test_memory_does_not_grow_with_the_observations(self, create: Callable[[], Analyzer]) -> None:
        analyzer = create()

        def observe(count: int) -> None:
            for step in range(count):
                analyzer.observe("a", 1.0 + step % 100, step)

        observe(1000)  # whatever is made once is there now
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            observe(10_000)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < self.growth_nbytes

    @rule(7)
    def test_no_observation_of_several_threads_is_lost(self, create: Callable[[], Analyzer]) -> None:
        shared, alone = create(), create()
        start = threading.Barrier(4)

        def work(number: int) -> None:
            start.wait(60)
            for _ in range(200):
                shared.observe("a", 1.0, 1)
                if number == 0:
                    shared.report()

        in_threads(4, work)
        for _ in range(800):
            alone.observe("a", 1.0, 1)
        assert shared.report() == alone.report()


def _text(analyzer: Analyzer) -> str:
    """Return the report as text that tells two of them apart; what is no JSON is rule 2's affair."""
    return json.dumps(analyzer.report(), sort_keys=True, default=repr)


def _check_json(analyzer: Analyzer) -> None:
    report = analyzer.report()
    assert all(isinstance(key, str) for key in report)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
