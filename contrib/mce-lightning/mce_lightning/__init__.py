"""Lightning's checkpoints through the engine: a `CheckpointIO`, and a callback that replaces ``ModelCheckpoint``.

>>> from lightning.pytorch import Trainer
>>> from mce_lightning import MceCheckpoint
>>> trainer = Trainer(callbacks=[MceCheckpoint(monitor="val_loss", save_last=True)])    # doctest: +SKIP
>>> trainer.fit(model, ckpt_path="last")                                                # doctest: +SKIP
"""

from mce_lightning.callback import MceCheckpoint
from mce_lightning.checkpoint_io import MceCheckpointIO
from mce_lightning.loader import LightningLoader

__all__ = ["LightningLoader", "MceCheckpoint", "MceCheckpointIO"]
