"""Writes a checkpoint of the store as the folder that ``Trainer.train(resume_from_checkpoint=...)`` reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FILES = {"optimizer": "optimizer.pt", "scheduler": "scheduler.pt", "scaler": "scaler.pt", "rng": "rng_state.pth"}
"""The engine's name -> the trainer's file."""
STATE, STATE_FILE = "trainer_state", "trainer_state.json"


def write_folder(trainer: Any, states: Mapping[str, Any], target: Path) -> Path:
    """Write the folder, whole or not at all, in place of an earlier one; return it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        temp.mkdir()
        trainer._save(str(temp), state_dict=states["model"])
        for name, file in FILES.items():
            if name in states:
                torch.save(states[name], temp / file)
        text = json.dumps(states[STATE], indent=2, sort_keys=True) + "\n"
        (temp / STATE_FILE).write_text(text, "utf-8")
        shutil.rmtree(target, ignore_errors=True)
        os.rename(temp, target)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return target
