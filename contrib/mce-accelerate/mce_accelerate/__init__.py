"""What an ``Accelerator`` prepared, saved by the engine: through its own ``save_state``, or as objects of a run.

>>> from mce_accelerate import prepared, with_mce
>>> accelerator = with_mce(Accelerator())                       # doctest: +SKIP
>>> accelerator.save_state("folder", step=10)                   # doctest: +SKIP
>>> run.resume(**prepared(accelerator))                         # doctest: +SKIP
"""

from mce_accelerate.accelerator import MceAcceleratorMixin, with_mce
from mce_accelerate.objects import prepared

__all__ = ["MceAcceleratorMixin", "prepared", "with_mce"]
