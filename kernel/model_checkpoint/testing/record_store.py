"""The conformance kit for record stores: the numbered rules of ``model_checkpoint.contracts.records``, as tests.

::

    from model_checkpoint.testing import RecordStoreTests
    from my_plugin import open_my_store

    class TestMyStore(RecordStoreTests):
        @pytest.fixture
        def url(self, tmp_path):             # of a store that does not exist yet
            return f"mystore:///{tmp_path}/records"

        @pytest.fixture
        def open_store(self):                # an importable function: other processes call it too
            return open_my_store

        def make_newer(self, url):           # the store at `url`, as a newer version of you would have left it
            ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import pytest

from model_checkpoint.contracts import JSON, BestFlag, EventRecord, MetricPoint, RecordStore, RunStatus
from model_checkpoint.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    InvalidNameError,
    QuerySyntaxError,
    SchemaVersionError,
    StaleGenerationError,
)
from model_checkpoint.testing.record_samples import (
    NUMBERS,
    TEXTS,
    Opener,
    a_record,
    commit,
    commit_many,
    commit_with_patience,
    create_runs,
    described,
    ensure_experiment,
    generation,
    ids,
    in_processes,
    in_threads,
    new_run,
    rule,
)
from model_checkpoint.testing.record_store_marks import MarkTests


class RecordStoreTests(MarkTests):
    """Subclass it and give `url`, `open_store` and `make_newer`: see the module's docstring."""

    shared: ClassVar[bool] = True
    """False for a store that lives and dies in one object, such as one in memory: what needs two is skipped."""
    start_method: ClassVar[str] = "spawn"
    """How the processes of the tests begin (``multiprocessing``); ``spawn`` needs an importable `open_store`."""

    @pytest.fixture
    def url(self) -> str:
        """The URL of a store that does not exist yet."""
        raise NotImplementedError("override the fixture `url`")

    @pytest.fixture
    def open_store(self) -> Opener:
        """The function that opens a store."""
        raise NotImplementedError("override the fixture `open_store`")

    def make_newer(self, url: str) -> None:
        """Change the store at `url`, which is not open, into one that a newer version has written."""
        raise NotImplementedError("override make_newer()")

    @pytest.fixture
    def store(self, url: str, open_store: Opener) -> Iterator[RecordStore]:
        """A new, empty, open store."""
        opened = open_store(url)
        yield opened
        opened.close()

    @rule(1)
    def test_numbers_come_back_equal(self, store: RecordStore) -> None:
        run = new_run(store)
        commit(store, run, "c1", metrics=NUMBERS)
        store.append_metrics([MetricPoint(run.id, name, value, 1, 0.5) for name, value in NUMBERS.items()])
        found = store.get_checkpoint("c1")
        assert found is not None
        for metrics in (found.metrics, {point.name: point.value for point in store.read_metrics(run.id)}):
            assert {k: described(v) for k, v in metrics.items()} == {k: described(v) for k, v in NUMBERS.items()}

    @rule(1)
    @pytest.mark.parametrize("text", TEXTS)
    def test_any_text_can_be_a_name_or_tag(self, store: RecordStore, text: str) -> None:
        experiment = store.ensure_experiment(f"e{text}", tags={text: text})
        run = store.create_run(experiment.id, name=f"r{text}", tags={text: text}, config={text: text})
        commit(store, run, f"c{text}", metrics={text: 1.0}, tags={text: text}, best=True)
        store.append_metrics([MetricPoint(run.id, text, 1.0, 1, 0.0, tags={text: text})])
        store.append_event(EventRecord(run.id, text, 0.0, f"c{text}", {text: text}))
        assert store.get_experiment(f"e{text}") == experiment
        found = store.get_run(f"r{text}")
        assert found is not None
        assert (found.name, found.tags, found.config) == (f"r{text}", {text: text}, {text: text})
        checkpoint = store.get_checkpoint(f"c{text}")
        assert checkpoint is not None
        assert (checkpoint.run_name, checkpoint.tags, checkpoint.best_for) == (f"r{text}", {text: text}, (text,))
        assert [(point.name, point.tags) for point in store.read_metrics(run.id)] == [(text, {text: text})]
        assert [event.details for event in store.read_events(run_id=run.id)] == [{text: text}]

    @rule(1)
    def test_nested_config_metadata_and_details_come_back_equal(self, store: RecordStore) -> None:
        nested: dict[str, JSON] = {
            "a": {"b": [1, 2.5, None, True, {"c": "d"}]},
            "big": 2**70,
            "inf": math.inf,
            "$": {"$": "x"},
        }
        experiment = store.ensure_experiment("digits")
        run = store.create_run(experiment.id, config=nested, environment=nested)
        commit(store, run, "c1", metadata=nested)
        store.append_event(EventRecord(None, "on_alarm", 1.0, None, nested))
        found, checkpoint = store.get_run(run.id), store.get_checkpoint("c1")
        assert found is not None
        assert checkpoint is not None
        assert found.config == found.environment == checkpoint.metadata == nested
        assert store.read_events() == [EventRecord(None, "on_alarm", 1.0, None, nested)]

    @rule(1)
    def test_records_outlive_the_process_that_wrote_them(self, url: str, open_store: Opener) -> None:
        self._needs_sharing()
        first = open_store(url)
        run = new_run(first, config={"lr": 0.1}, tags={"stage": "dev"})
        written = commit(first, run, "c1", metrics={"val_loss": 0.5}, tags={"kept": ""}, best=True)
        first.update_run(run.id, status=RunStatus.FAILED, reason="out of memory", last_step=7, ended_at_s=9.5)
        before = first.get_run(run.id)
        first.close()
        second = open_store(url)
        assert second.get_run(run.name) == before
        assert second.get_checkpoint("c1") == written
        second.update_run(run.id, status=RunStatus.RUNNING, tags={"stage": "prod", "more": "1"})
        after = second.get_run(run.id)
        second.close()
        assert before is not None
        ended = (before.status, before.reason, before.last_step, before.ended_at_s)
        assert ended == ("failed", "out of memory", 7, 9.5)
        assert after is not None
        assert (after.status, after.reason, after.ended_at_s, after.last_step) == ("running", "", None, 7)
        assert after.tags == {"stage": "prod", "more": "1"}

    @rule(2)
    def test_runs_without_a_name_count_from_1_in_each_experiment(self, store: RecordStore) -> None:
        digits, words = store.ensure_experiment("digits"), store.ensure_experiment("words")
        owners = (digits, words, digits, words, digits)
        names = [store.create_run(owner.id).name for owner in owners]
        assert names == ["digits-1", "words-1", "digits-2", "words-2", "digits-3"]

    @rule(2)
    def test_a_counted_name_steps_over_a_chosen_one(self, store: RecordStore) -> None:
        digits = store.ensure_experiment("digits")
        store.create_run(digits.id, name="digits-1")
        assert store.create_run(digits.id).name == "digits-2"

    @rule(2)
    def test_a_taken_name_is_refused(self, store: RecordStore) -> None:
        digits = store.ensure_experiment("digits")
        store.create_run(digits.id, name="mine")
        with pytest.raises(InvalidNameError, match="mine"):
            store.create_run(store.ensure_experiment("words").id, name="mine")
        assert len(store.list_runs()) == 1

    @rule(2)
    def test_threads_never_get_the_same_name(self, store: RecordStore) -> None:
        digits = store.ensure_experiment("digits")
        names: list[str] = []
        in_threads(4, lambda number: names.extend(store.create_run(digits.id).name for _ in range(5)))
        assert sorted(names) == sorted(f"digits-{n}" for n in range(1, 21))

    @rule(2)
    def test_processes_never_get_the_same_name(self, url: str, open_store: Opener) -> None:
        self._needs_sharing()
        in_processes(self.start_method, 2, create_runs, open_store, url, 10)
        store = open_store(url)
        names = {run.name for run in store.list_runs()}
        store.close()
        assert names == {f"digits-{n}" for n in range(1, 21)}

    @rule(3)
    def test_a_commit_writes_row_metrics_tags_and_flags(self, store: RecordStore) -> None:
        run = new_run(store)
        first = commit(store, run, "c1", metrics={"loss": 3.0, "val_loss": 2.0}, tags={"a": "b"}, best=True)
        second = commit(store, run, "c2", metrics={"loss": 2.0}, best=True)
        assert (first.sequence, second.sequence) == (1, 2)
        assert store.best_flags(run.id) == {
            "loss": BestFlag(run.id, "loss", "min", "c2", 2.0),
            "val_loss": BestFlag(run.id, "val_loss", "min", "c1", 2.0),
        }
        before, after = store.get_checkpoint("c1"), store.get_checkpoint("c2")
        assert before is not None
        assert (before.metrics, before.tags, before.best_for) == (first.metrics, {"a": "b"}, ("val_loss",))
        assert after == second
        assert generation(store, run) == 2

    @rule(3)
    @pytest.mark.parametrize("part", ["metric", "tag", "flag"])
    def test_a_commit_that_fails_half_way_leaves_nothing(self, store: RecordStore, part: str) -> None:
        run = new_run(store)
        bad: object = object()
        record = a_record(run, "c1", metrics={"good": 1.0})
        flag = BestFlag(run.id, "good", "min", "c1", bad if part == "flag" else 1.0)  # type: ignore[arg-type]
        if part != "flag":
            record = a_record(run, "c1", **{f"{part}s": {"good": 1.0 if part == "metric" else "x", "bad": bad}})
        with pytest.raises(Exception):  # noqa: B017, PT011 - the kind is the store's affair, leaving nothing is the rule
            store.commit_checkpoint(record, best=[flag], expected_generation=0)
        assert store.get_checkpoint("c1") is None
        assert store.best_flags(run.id) == {}
        assert store.best_checkpoint(metric="good", mode="min") is None
        assert commit(store, run, "c1").sequence == 1

    @rule(4)
    @pytest.mark.parametrize("expected", [0, 2])
    def test_a_stale_generation_is_refused_and_writes_nothing(self, store: RecordStore, expected: int) -> None:
        run = new_run(store)
        commit(store, run, "c1", metrics={"loss": 2.0}, best=True)
        record = a_record(run, "late", metrics={"loss": 1.0})
        flag = BestFlag(run.id, "loss", "min", "late", 1.0)
        with pytest.raises(StaleGenerationError):
            store.commit_checkpoint(record, best=[flag], expected_generation=expected)
        assert store.get_checkpoint("late") is None
        assert store.best_flags(run.id)["loss"].checkpoint_id == "c1"
        assert generation(store, run) == 1

    @rule(5)
    def test_an_id_is_never_written_twice(self, store: RecordStore) -> None:
        run, other = new_run(store), new_run(store)
        first = commit(store, run, "c1", metrics={"loss": 2.0}, best=True)
        for owner in (run, other):
            with pytest.raises(CheckpointExistsError, match="c1"):
                commit(store, owner, "c1", metrics={"loss": 1.0}, best=True)
        assert store.get_checkpoint("c1") == first
        assert (generation(store, run), generation(store, other)) == (1, 0)
        assert store.best_flags(other.id) == {}

    @rule(6)
    def test_checkpoints_are_listed_newest_first_whatever_the_clock_says(self, store: RecordStore) -> None:
        run, other = new_run(store), new_run(store)
        for number, created_at_s in enumerate((50.0, 40.0, 60.0)):
            commit(store, run, f"c{number}", created_at_s=created_at_s, tags={"odd": ""} if number % 2 else {})
        commit(store, other, "d0", created_at_s=70.0, damage="two bytes differ")
        assert ids(store.list_checkpoints(run_id=run.id)) == ["c2", "c1", "c0"]
        assert ids(store.list_checkpoints(run_id=run.id, limit=2)) == ["c2", "c1"]
        assert ids(store.list_checkpoints())[0] == "d0"
        assert ids(store.list_checkpoints(experiment_id=run.experiment_id, tag="odd")) == ["c1"]
        assert ids(store.list_checkpoints(include_damaged=False))[0] == "c2"

    @rule(6)
    def test_runs_are_listed_newest_first(self, store: RecordStore) -> None:
        first, second, third = new_run(store), new_run(store), new_run(store)
        store.update_run(second.id, status=RunStatus.FINISHED)
        assert [run.id for run in store.list_runs()] == [third.id, second.id, first.id]
        running = store.list_runs(experiment_id=first.experiment_id, status=[RunStatus.RUNNING], limit=1)
        assert [run.id for run in running] == [third.id]

    @rule(7)
    def test_the_best_is_finite_and_undamaged_and_of_equals_the_earlier(self, store: RecordStore) -> None:
        run, other = new_run(store), new_run(store)
        values = {"c0": math.nan, "c1": -math.inf, "c2": 1.0, "c3": 3.0, "c4": 1.0, "c5": 3.0, "c6": math.inf}
        for name, value in values.items():
            commit(store, run, name, metrics={"loss": value})
        commit(store, run, "damaged", metrics={"loss": 0.0}, damage="two bytes differ")
        commit(store, other, "elsewhere", metrics={"loss": -5.0, "none": math.nan})
        found = [
            store.best_checkpoint(metric="loss", mode="min", run_id=run.id),
            store.best_checkpoint(metric="loss", mode="max", run_id=run.id),
            store.best_checkpoint(metric="loss", mode="min", experiment_id=run.experiment_id),
            store.best_checkpoint(metric="loss", mode="max"),
        ]
        assert [checkpoint and checkpoint.id for checkpoint in found] == ["c2", "c3", "elsewhere", "c3"]
        assert store.best_checkpoint(metric="none", mode="min") is None
        assert store.best_checkpoint(metric="unknown", mode="min") is None

    @rule(7)
    def test_a_verification_can_take_the_best_away_and_give_it_back(self, store: RecordStore) -> None:
        run = new_run(store)
        commit(store, run, "good", metrics={"loss": 1.0}, best=True)
        commit(store, run, "fair", metrics={"loss": 2.0})
        seen = []
        for damage in ("two bytes differ", ""):
            store.mark_damaged("good", damage)
            marked, best = store.get_checkpoint("good"), store.best_checkpoint(metric="loss", mode="min")
            holder = store.best_flags(run.id)["loss"].checkpoint_id
            seen.append((marked and (marked.damage, marked.best_for), best and best.id, holder))
        assert seen == [(("two bytes differ", ()), "fair", "fair"), (("", ("loss",)), "good", "good")]
        with pytest.raises(CheckpointNotFoundError):
            store.mark_damaged("nobody", "x")

    @rule(8)
    def test_points_come_by_step_and_the_last_of_a_step_wins(self, store: RecordStore) -> None:
        run = new_run(store)
        written = [("loss", 3.0, 2), ("loss", 2.0, 1), ("acc", 0.5, 1), ("loss", 1.0, 1), ("acc", 0.7, 3)]
        for name, value, step in written:
            store.append_metrics([MetricPoint(run.id, name, value, step, 0.0, epoch=step)])
        store.append_metrics([])
        points = [(point.name, point.value, point.step) for point in store.read_metrics(run.id)]
        assert points == [("acc", 0.5, 1), ("loss", 1.0, 1), ("loss", 3.0, 2), ("acc", 0.7, 3)]
        chosen = store.read_metrics(run.id, name="loss", max_step=1)
        assert chosen == [MetricPoint(run.id, "loss", 1.0, 1, 0.0, epoch=1)]

    @rule(9)
    def test_a_deleted_checkpoint_leaves_nothing_but_its_best_flags_to_the_next(self, store: RecordStore) -> None:
        run = new_run(store)
        commit(store, run, "c1", metrics={"loss": 1.0, "mae": 1.0}, tags={"kept": ""}, best=True)
        commit(store, run, "c2", metrics={"loss": 2.0})
        store.delete_checkpoint("c1")
        assert store.get_checkpoint("c1") is None
        assert store.best_flags(run.id) == {"loss": BestFlag(run.id, "loss", "min", "c2", 2.0)}
        assert store.list_checkpoints(tag="kept") == []
        best = store.best_checkpoint(metric="loss", mode="min")
        assert best is not None
        assert best.id == "c2"
        with pytest.raises(CheckpointNotFoundError):
            store.delete_checkpoint("c1")
        assert commit(store, run, "c1").metrics == {}

    @rule(10)
    def test_a_query_filters_and_orders(self, store: RecordStore) -> None:
        run, other = new_run(store, tags={"stage": "dev"}), new_run(store, tags={"stage": "prod"})
        for step, value in enumerate((0.1, 0.3, 0.15)):
            commit(store, run, f"c{step}", step=step, metrics={"val_loss": value})
        commit(store, other, "d0", step=9, metrics={"val_loss": 0.1})
        query = "metrics.val_loss < 0.2 and tags.stage = 'dev' order by step desc"
        assert ids(store.query_checkpoints(query)) == ["c2", "c0"]
        assert ids(store.query_checkpoints(query, limit=1)) == ["c2"]

    @rule(10)
    @pytest.mark.parametrize("value", ["x' or '1' = '1", "'; drop table checkpoints; --", ":a %s ? {} \\"])
    def test_a_value_is_never_a_part_of_the_statement(self, store: RecordStore, value: str) -> None:
        run = new_run(store)
        commit(store, run, "c1", tags={"note": value})
        commit(store, run, "c2", tags={"note": "x"})
        quoted = value.replace("'", "''")
        assert ids(store.query_checkpoints(f"tags.note = '{quoted}'")) == ["c1"]

    @rule(10)
    @pytest.mark.parametrize(("query", "position"), [("step = ", 7), ("step = 1 and = 2", 13), ("step = 'x", 7)])
    def test_a_query_that_cannot_be_read_says_where(self, store: RecordStore, query: str, position: int) -> None:
        with pytest.raises(QuerySyntaxError) as caught:
            store.query_checkpoints(query)
        assert caught.value.position == position

    @rule(11)
    def test_a_store_of_a_newer_version_is_not_opened(self, url: str, open_store: Opener) -> None:
        self._needs_sharing()
        open_store(url).close()
        self.make_newer(url)
        with pytest.raises(SchemaVersionError):
            open_store(url).close()

    @rule(11)
    def test_several_processes_open_a_new_store_at_once(self, url: str, open_store: Opener) -> None:
        self._needs_sharing()
        in_processes(self.start_method, 4, ensure_experiment, open_store, url)
        store = open_store(url)
        assert store.get_experiment("digits") is not None
        store.close()

    @rule(12)
    def test_threads_commit_read_and_log_at_once(self, store: RecordStore) -> None:
        run = new_run(store)

        def work(number: int) -> None:
            for count in range(5):
                commit_with_patience(store, run, f"c{number}-{count}")
                store.append_metrics([MetricPoint(run.id, f"loss{number}", 1.0, count, 0.0)])
                assert store.list_checkpoints(run_id=run.id)

        in_threads(4, work)
        assert sorted(record.sequence for record in store.list_checkpoints(run_id=run.id)) == list(range(1, 21))
        assert len(store.read_metrics(run.id)) == 20

    @rule(12)
    def test_processes_commit_at_once_and_share_no_sequence_number(self, url: str, open_store: Opener) -> None:
        self._needs_sharing()
        store = open_store(url)
        run = new_run(store)
        in_processes(self.start_method, 2, commit_many, open_store, url, run, 10)
        found = store.list_checkpoints(run_id=run.id)
        store.close()
        assert [record.sequence for record in found] == list(range(20, 0, -1))

    def _needs_sharing(self) -> None:
        if not self.shared:
            pytest.skip("this store lives in one object")
