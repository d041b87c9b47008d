"""Arrays of other libraries as NumPy arrays or torch tensors in the memory of the host.

What lies on the host already is read where it is. No library is imported before there is an
array of it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError

# Devices of DLPack whose memory the host reads: kDLCPU, kDLCUDAHost, kDLROCMHost, kDLCUDAManaged.
_HOST = (1, 3, 11, 13)
# What producers and consumers of DLPack raise where they do not understand each other.
_DLPACK_ERRORS = (BufferError, TypeError, ValueError, RuntimeError, NotImplementedError)


def host_array(array: Any, name: str) -> Any:
    """``array`` as a NumPy array, or as a torch tensor on the CPU without its gradient.

    Takes NumPy arrays, torch tensors on any device, Arrow arrays of lists of one length
    (FixedSizeListArray, ListArray, ChunkedArray, FixedShapeTensorArray), and objects with
    ``__dlpack__``, ``__array_interface__`` or ``__array__``. Copied are only what lies on a device,
    Arrow arrays of several chunks, and what ``__array__`` makes. The result may be read-only.

    Raises:
        InvalidArgumentError: another type such as a list, masked values or nulls (with the row),
            lists of unlike lengths (with the row).
    """
    # Whoever has a masked array has imported its module, which NumPy loads when it is asked for.
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(array, masked.MaskedArray):
        return _unmasked(array, name)
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        return _of_tensor(array, name)
    if type(array).__module__.partition(".")[0] == "pyarrow":
        from helip.store.arrow_lists import rows_of_arrow

        return rows_of_arrow(array, name)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _of_dlpack(array, name)
    if hasattr(array, "__array_interface__") or hasattr(array, "__array__"):
        return _of_array(array, name)
    raise InvalidArgumentError(
        f"{name} is a {type(array).__name__}; pass a NumPy array or a torch tensor of shape "
        "[rows, dim], an Arrow array of lists, or an object with __dlpack__ or __array__"
    )


def _unmasked(array: Any, name: str) -> np.ndarray:
    mask = np.ma.getmaskarray(array)
    if mask.any():
        raise InvalidArgumentError(
            f"{name} has masked values, the first in row {int(np.argwhere(mask)[0][0])}; fill "
            "them, or leave such rows out"
        )
    return np.asarray(array.data)


def _of_tensor(tensor: Any, name: str) -> Any:
    tensor = tensor.detach()
    if (layout := str(tensor.layout)) != "torch.strided":
        raise InvalidArgumentError(f"{name} has the layout {layout}; pass tensor.to_dense()")
    if tensor.device.type == "meta":
        raise InvalidArgumentError(f"{name} lies on the device meta, which holds no values")
    return tensor if tensor.device.type == "cpu" else tensor.cpu().contiguous()


def _of_dlpack(array: Any, name: str) -> Any:
    """NumPy reads it, else torch, which knows bfloat16 and the memory of its own devices."""
    device = int(array.__dlpack_device__()[0])
    try:
        return np.from_dlpack(array) if device in _HOST else np.from_dlpack(array, device="cpu")
    except _DLPACK_ERRORS:  # a NumPy before 2.1 knows no device
        import torch
    try:
        return _of_tensor(torch.from_dlpack(array), name)
    except _DLPACK_ERRORS as error:
        if device in _HOST and hasattr(array, "__array__"):
            return _of_array(array, name)
        raise InvalidArgumentError(
            f"{name} is a {type(array).__name__} that neither NumPy nor torch can read by DLPack "
            f"({error}); copy it to the host first, as cupy.asnumpy and jax.device_get do"
        ) from error


def _of_array(array: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(array)
    except Exception as error:  # whatever the other library raises
        raise InvalidArgumentError(
            f"{name} is a {type(array).__name__} that NumPy cannot read ({error}); copy it to a "
            "NumPy array first"
        ) from error
