"""The kernel: opens, wires and closes everything, and is what scripts and plugin authors hold in their hands.

>>> from model_checkpoint.kernel import Kernel, hookimpl
"""

from model_checkpoint.hooks import hookimpl
from model_checkpoint.kernel.kernel import Kernel
from model_checkpoint.kernel.opening import KERNEL_API

__all__ = ["KERNEL_API", "Kernel", "hookimpl"]
