"""Checkpoints of the Hugging Face ``Trainer`` in the engine, in place of the folders that it writes.

>>> from mce_transformers import with_mce
>>> trainer = with_mce(Trainer(model, arguments, train_dataset=dataset))        # doctest: +SKIP
>>> trainer.train(resume_from_checkpoint=trainer.resume_path())                 # doctest: +SKIP
"""

from mce_transformers.trainer import MceTrainerMixin, with_mce

__all__ = ["MceTrainerMixin", "with_mce"]
