"""The operations that NumPy and PyTorch spell differently, for code that is written for both.

Poisson blending consists of many small steps. On a CPU they are NumPy's, which start three times
faster; anywhere else they are PyTorch's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Any
"""A NumPy array or a tensor."""


def array_of(tensor: Tensor) -> Array:
    """The tensor, or the same memory as a NumPy array if it is the CPU's."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def namespace(values: Array) -> Any:
    """The module of functions for them."""
    return torch if isinstance(values, Tensor) else np


def double(values: Array) -> Array:
    """In float64."""
    return values.double() if isinstance(values, Tensor) else values.astype(np.float64)


def empty(shape: Sequence[int], like: Array) -> Array:
    """Uninitialised, of the same type and device."""
    return like.new_empty(shape) if isinstance(like, Tensor) else np.empty(shape, like.dtype)


def largest(values: Array) -> Array:
    """The largest absolute value, a scalar."""
    if isinstance(values, Tensor):
        return values.abs().max()
    return max(values.max(), -values.min())


def backwards(values: Array) -> Array:
    """The first axis the other way round."""
    return values.flip(0) if isinstance(values, Tensor) else values[::-1]


def permuted(values: Array, axes: Sequence[int]) -> Array:
    """The axes in another order."""
    return values.permute(*axes) if isinstance(values, Tensor) else values.transpose(axes)


def contiguous(values: Array) -> Array:
    """Contiguous in memory; a copy unless it is that already."""
    return values.contiguous() if isinstance(values, Tensor) else np.ascontiguousarray(values)


def products(matrices: Tensor, values: Array) -> Array:
    """Matrix products ``(P, m, m)`` by ``(P, m, n)``; PyTorch's, with as many threads as it has."""
    if isinstance(values, Tensor):
        return torch.bmm(matrices, values)
    return torch.bmm(matrices, torch.from_numpy(values)).numpy()
