"""The trainer's own arguments are honoured, its bytes are written once, and damage is passed over aloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_training import arguments, dataset, model, with_lora
from mce_transformers import MceTrainerMixin, with_mce
from transformers import GPT2LMHeadModel, Trainer

from model_checkpoint.checkpoint.resume import ResumeFallbackWarning
from model_checkpoint.errors import ConfigurationError, NothingToResumeError


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    trainers: list[Any] = []
    yield trainers
    for trainer in trainers:
        trainer.store.close()


def make(
    opened: list[Any], folder: Path, net: Any = None, *, options: dict[str, Any] | None = None, **given: Any
) -> Any:
    evaluated = {"eval_dataset": dataset(8)} if "eval_strategy" in given else {}
    trainer = with_mce(
        Trainer(net or model(), arguments(folder, **given), train_dataset=dataset(), **evaluated), **(options or {})
    )
    opened.append(trainer)
    return trainer


def steps(trainer: Any) -> list[int]:
    return sorted(record.step for record in trainer.store.kernel.checkpoints())


def nbytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def flip_a_byte_of(folder: Path, value: bytes) -> None:
    hits = 0
    for pack in (folder / "checkpoints" / "vault" / "packs").iterdir():
        data = pack.read_bytes()
        if value in data:
            at, hits = data.index(value), hits + 1
            pack.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert hits


def test_a_checkpoint_is_written_once_and_no_folder_beside_it(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, model(192), max_steps=2, save_steps=2)
    trainer.train()
    weights = sum(value.nbytes for value in trainer.model.parameters())
    payload = 3 * weights  # with both moments of Adam
    assert not list(tmp_path.glob("checkpoint-*"))
    assert payload <= nbytes_under(tmp_path / "checkpoints") <= 1.05 * payload


def test_resume_path_is_none_at_a_fresh_start(opened: list[Any], tmp_path: Path) -> None:
    assert make(opened, tmp_path).resume_path() is None


def test_true_resumes_without_a_changed_line(opened: list[Any], tmp_path: Path) -> None:
    make(opened, tmp_path, max_steps=8).train()
    opened.pop().store.close()
    trainer = make(opened, tmp_path, max_steps=12)
    trainer.train(resume_from_checkpoint=True)
    assert steps(trainer) == [4, 8, 12]
    assert trainer.state.log_history[0]["step"] == 2


def test_the_folder_is_one_that_from_pretrained_reads(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, max_steps=4)
    trainer.train()
    restored = GPT2LMHeadModel.from_pretrained(trainer.checkpoint_path())
    live = trainer.model.state_dict()
    assert all(torch.equal(value, live[name]) for name, value in restored.state_dict().items())


def test_save_total_limit_keeps_the_newest_and_the_best(opened: list[Any], tmp_path: Path) -> None:
    rate = 1.0  # the first evaluation stays the best: it gets worse from there
    trainer = make(
        opened, tmp_path, max_steps=20, learning_rate=rate, save_total_limit=2, eval_strategy="steps", eval_steps=4,
        load_best_model_at_end=True, metric_for_best_model="loss",
    )  # fmt: skip
    trainer.train()
    best = trainer.state.best_global_step
    assert steps(trainer) == sorted({best, 20} | ({16} if best == 20 else set()))
    record = trainer.store.kernel.best("eval_loss")
    assert record is not None
    assert record.step == best
    saved = trainer.store.kernel.load(record.id)["model"]
    assert all(torch.equal(value, saved[name]) for name, value in trainer.model.state_dict().items())


def test_a_limit_frees_the_space(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, model(64), max_steps=12, save_steps=1, save_total_limit=1)
    trainer.train()
    assert steps(trainer) == [12]
    payload = 3 * sum(value.nbytes for value in trainer.model.parameters())
    assert nbytes_under(tmp_path / "checkpoints") < 4.5 * payload


def test_twenty_checkpoints_of_lora_take_the_bytes_of_one_and_the_adapters(opened: list[Any], tmp_path: Path) -> None:
    def train(folder: Path, count: int) -> tuple[int, int]:
        net = with_lora(model(192))
        trainer = make(opened, folder, net, max_steps=count, save_steps=1, logging_steps=50)
        trainer.train()
        assert len(steps(trainer)) == count
        adapters = sum(value.nbytes for value in net.parameters() if value.requires_grad)
        return nbytes_under(folder / "checkpoints" / "vault" / "packs"), 3 * adapters  # with both moments of Adam

    one, _ = train(tmp_path / "one", 1)
    twenty, adapters = train(tmp_path / "twenty", 20)
    assert twenty <= 1.2 * (one + 19 * adapters)


def test_lora_without_its_base_resumes_too(opened: list[Any], tmp_path: Path) -> None:
    options = {"save_base": False}
    make(opened, tmp_path, with_lora(model()), options=options, max_steps=4).train()
    opened.pop().store.close()
    trainer = make(opened, tmp_path, with_lora(model()), options=options, max_steps=8)
    trainer.train(resume_from_checkpoint=trainer.resume_path())
    assert steps(trainer) == [4, 8]
    assert all("lora" in name for name in trainer.store.kernel.load("latest")["model"])


def test_a_flipped_byte_falls_back_aloud(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, max_steps=8)
    trainer.train()
    flip_a_byte_of(tmp_path, trainer.model.transformer.h[0].attn.c_attn.weight.detach().numpy().tobytes())
    opened.pop().store.close()
    again = make(opened, tmp_path, max_steps=12)
    with pytest.warns(ResumeFallbackWarning, match="passed over"):
        path = again.resume_path()
    again.train(resume_from_checkpoint=path)
    assert again.state.global_step == 12
    assert steps(again) == [4, 8, 8, 12]


def test_nothing_whole_is_an_error_and_no_fresh_start(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, max_steps=4)
    trainer.train()
    flip_a_byte_of(tmp_path, trainer.model.transformer.h[0].attn.c_attn.weight.detach().numpy().tobytes())
    opened.pop().store.close()
    with pytest.raises(NothingToResumeError):
        make(opened, tmp_path).resume_path()


def test_save_only_model_saves_no_optimizer(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, max_steps=4, save_only_model=True)
    trainer.train()
    assert set(trainer.store.kernel.load("latest")) == {"model", "trainer_state"}


def test_metrics_of_the_step_are_recorded(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, max_steps=4, eval_strategy="steps", eval_steps=4)
    trainer.train()
    metrics = trainer.store.kernel.checkpoint("latest").metrics
    assert {"loss", "eval_loss", "grad_norm", "learning_rate"} <= set(metrics)


def test_saves_are_durable_when_train_fails(opened: list[Any], tmp_path: Path) -> None:
    trainer = make(opened, tmp_path, max_steps=8)
    step = trainer.training_step
    calls = iter(range(6))

    def broken(*given: Any, **named: Any) -> Any:
        if next(calls) == 5:
            raise ArithmeticError("on purpose")
        return step(*given, **named)

    trainer.training_step = broken
    with pytest.raises(ArithmeticError, match="on purpose"):
        trainer.train()
    assert trainer.store.kernel.pending_saves == ()
    assert steps(trainer) == [4]


def test_a_class_of_ones_own_needs_no_call(opened: list[Any], tmp_path: Path) -> None:
    class Mine(MceTrainerMixin, Trainer):
        pass

    trainer = Mine(model(), arguments(tmp_path, max_steps=4), train_dataset=dataset())
    opened.append(trainer)
    trainer.train()
    assert steps(trainer) == [4]


def test_what_cannot_be_honoured_is_refused(tmp_path: Path) -> None:
    given = arguments(tmp_path)
    given.push_to_hub = True
    trainer = Trainer(model(), arguments(tmp_path), train_dataset=dataset())
    trainer.args = given
    with pytest.raises(ConfigurationError, match="push_to_hub=True"):
        with_mce(trainer)
