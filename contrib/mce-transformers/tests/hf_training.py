"""A tiny language model and its training; as a script it may kill itself in the middle.

python hf_training.py FOLDER KILL_AT_STEP LORA
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from mce_transformers import with_mce
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments, set_seed


def model(width: int = 16) -> GPT2LMHeadModel:
    set_seed(3)
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=width, n_layer=2, n_head=2))


def with_lora(base: GPT2LMHeadModel) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(base, LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM", lora_dropout=0.1))


def dataset(rows: int = 40) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(5)
    return [{"input_ids": row, "labels": row} for row in torch.randint(64, (rows, 12), generator=generator)]


def arguments(folder: Path, **given: Any) -> TrainingArguments:
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 3,
        "save_strategy": "steps",
        "save_steps": 4,
        "logging_steps": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "learning_rate": 1e-2,
        "seed": 11,
    }
    return TrainingArguments(str(folder), **{**defaults, **given})


class Killed(TrainerCallback):
    """Kills the process, as nothing can be caught, once so many steps were taken."""

    def __init__(self, at: int) -> None:
        self.at, self.trainer = at, None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.at:
            self.trainer.store.settle()  # type: ignore[attr-defined]  # the test knows where the training goes on
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, kill_at: str, lora: str) -> None:
    net = with_lora(model()) if lora == "lora" else model()
    killer = Killed(int(kill_at)) if int(kill_at) else None
    trainer = with_mce(
        Trainer(net, arguments(Path(folder)), train_dataset=dataset(), callbacks=[killer] if killer else None)
    )
    if killer is not None:
        killer.trainer = trainer
    trainer.train(resume_from_checkpoint=trainer.resume_path())
    history = [
        {k: v for k, v in entry.items() if k in ("step", "loss", "grad_norm")} for entry in trainer.state.log_history
    ]
    end = {"weights": net.state_dict(), "optimizer": trainer.optimizer.state_dict()["state"], "history": history}
    torch.save(end, Path(folder) / "end.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
