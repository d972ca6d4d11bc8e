"""Measures a training that saves after every step: with this package, with the Trainer's folders, and without saves.

    python contrib/mce-transformers/benchmark.py [--width 256] [--steps 10] [--repeats 3]

Taken in turn, the median of the repeats. Bytes are what lies on the disk in the end, every checkpoint kept. The
trainer's own files are not synced to the disk and not verified; ours are. On a busy machine only the ratios mean
something.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

sys.path.insert(0, str(Path(__file__).parent))
from mce_transformers import with_mce

KINDS = ("no checkpoints", "the Trainer's folders", "mce-transformers", "mce-transformers, wait=True")
WITHOUT_BASE = "mce-transformers, save_base=False"


def train(folder: Path, kind: str, width: int, steps: int, lora: bool) -> tuple[float, int]:
    """Return the seconds of one training, and the bytes that it left."""
    set_seed(0)
    model: Any = GPT2LMHeadModel(GPT2Config(vocab_size=8000, n_positions=32, n_embd=width, n_layer=4, n_head=4))
    if lora:
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["c_attn"], task_type="CAUSAL_LM"))
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(8000, (steps * 8, 32))]
    arguments = TrainingArguments(
        str(folder), max_steps=steps, save_steps=1, save_strategy="no" if kind == KINDS[0] else "steps",
        per_device_train_batch_size=8, report_to="none", disable_tqdm=True, use_cpu=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=rows)
    if kind.startswith("mce"):
        trainer = with_mce(trainer, wait="wait" in kind, save_base=kind != WITHOUT_BASE)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    if kind.startswith("mce"):
        trainer.store.close()
    return seconds, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    print("| training | saved by | seconds | ratio | MB | ratio |\n|---|---|---:|---:|---:|---:|")
    for lora in (False, True):
        kinds = (*KINDS, WITHOUT_BASE) if lora else KINDS
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        nbytes: dict[str, int] = {}
        for _ in range(options.repeats):
            for kind in kinds:
                with tempfile.TemporaryDirectory() as folder:
                    took, nbytes[kind] = train(Path(folder), kind, options.width, options.steps, lora)
                    seconds[kind].append(took)
        peer_s, peer_nbytes = statistics.median(seconds[KINDS[1]]), nbytes[KINDS[1]]
        for kind in kinds:
            took, ratio = statistics.median(seconds[kind]), nbytes[kind] / peer_nbytes
            row = f"{took:.2f} | {took / peer_s:.2f} | {nbytes[kind] / 1e6:.1f} | {ratio:.2f}"
            print(f"| {'LoRA' if lora else 'all weights'} | {kind} | {row} |", flush=True)


if __name__ == "__main__":
    main()
