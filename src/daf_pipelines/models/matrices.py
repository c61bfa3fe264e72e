"""Linear maps along an axis as matrices: fewer operations than convolutions, and fast ones."""

from collections.abc import Callable
from functools import lru_cache, wraps

import torch
from torch import Tensor

Rows = list[list[float]]
Matrix = Callable[[int, torch.device, torch.dtype], Tensor]


def kept(make: Callable[[int], Rows]) -> Matrix:
    """A matrix by size, device and dtype, made once.

    In a graph that torch.compile or torch.export traces it is made anew, and a constant, because it
    comes from plain numbers: their tensors must not serve others.
    """

    @wraps(make)
    def matrix(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        if torch.compiler.is_compiling():
            return torch.tensor(make(size), device=device, dtype=dtype)
        return _kept(make, size, device, dtype)

    return matrix


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # scoring may ask first, and training goes on with it
def _kept(
    make: Callable[[int], Rows], size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    return torch.tensor(make(size), device=device, dtype=dtype)
