"""What hooks may read and write."""

from __future__ import annotations

import pytest

from model_checkpoint.errors import ContextFieldError, Veto
from model_checkpoint.hooks import Context, HookEvent
from model_checkpoint.hooks.contexts import context_class, detached, merge, snapshot


def a_save(**fields: object) -> Context:
    return context_class("before_checkpoint_save")(event=HookEvent.BEFORE_CHECKPOINT_SAVE, **fields)


def test_fields_are_read_as_attributes_items_and_with_a_default() -> None:
    context = a_save(epoch=3)

    assert context.epoch == context["epoch"] == context.get("epoch") == 3
    assert context.get("nothing", 7) == 7
    assert "epoch" in context
    assert "nothing" not in context


def test_starred_fields_can_be_changed_in_every_way() -> None:
    context = a_save(tags={}, metrics={})
    context.tags = {"a": "1"}
    context["metrics"] = {"b": 2.0}
    context.set("backend", "memory")
    context.update({"options": {"x": 1}}, metadata={"y": 2})

    assert (context.tags, context.metrics, context.backend) == ({"a": "1"}, {"b": 2.0}, "memory")
    assert (context.options, context.metadata) == ({"x": 1}, {"y": 2})


@pytest.mark.parametrize("name", ["epoch", "model", "event", "checkpoint_id"])
def test_another_field_cannot_be_changed_and_the_error_names_those_that_can(name: str) -> None:
    context = a_save()

    with pytest.raises(ContextFieldError, match=f"'{name}'.*cannot be changed.*state, metrics, tags"):
        setattr(context, name, 1)
    assert getattr(context, name) in (None, HookEvent.BEFORE_CHECKPOINT_SAVE)


def test_a_field_that_does_not_exist_offers_the_nearest() -> None:
    context = a_save()

    with pytest.raises(ContextFieldError, match="did you mean 'epoch'"):
        _ = context.epohc
    with pytest.raises(ContextFieldError, match="did you mean 'metrics'"):
        context.metrisc = {}


def test_an_update_changes_all_or_nothing() -> None:
    context = a_save(tags={})

    with pytest.raises(ContextFieldError):
        context.update({"tags": {"a": ""}, "epoch": 9})
    assert context.tags == {}


def test_veto_stops_with_its_reason() -> None:
    with pytest.raises(Veto, match="too late"):
        a_save().veto("too late")


def test_a_detached_copy_is_merged_field_by_field() -> None:
    context = a_save(tags={"a": ""}, metrics={"x": 1.0}, epoch=3)
    copy = detached(context)
    copy.tags["b"] = ""
    copy.backend = "memory"

    assert context.tags == {"a": ""}
    merge(context, copy)
    assert (context.tags, context.backend, context.epoch) == ({"a": "", "b": ""}, "memory", 3)


def test_a_snapshot_lacks_the_live_objects_and_says_so() -> None:
    taken = snapshot(a_save(model=object(), epoch=3, tags={}))

    assert taken.epoch == 3
    assert taken.get("model") is None
    with pytest.raises(ContextFieldError, match="BACKGROUND"):
        _ = taken.model


def test_the_text_of_a_context_shows_what_is_set_and_no_model() -> None:
    shown = repr(a_save(model=[0] * 1000, epoch=3))

    assert "epoch=3" in shown
    assert "model=" not in shown
    assert len(shown) < 300


def test_contexts_take_only_known_fields() -> None:
    with pytest.raises(TypeError):
        a_save(nothing=1)
