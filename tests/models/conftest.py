"""Features as networks make them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Pyramid = Callable[..., list[Tensor]]


@pytest.fixture
def pyramid() -> Pyramid:
    """Makes random positive features at strides 4, 8 and 16 of an image of `size` pixels."""

    def make(
        channels=(8, 16, 32), size=96, batch=2, seed=0, dtype=torch.float64, requires_grad=False
    ) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        shapes = [
            (batch, c, size // s, size // s) for c, s in zip(channels, (4, 8, 16), strict=True)
        ]
        maps = [torch.randn(shape, generator=generator, dtype=dtype).relu() for shape in shapes]
        # Nowhere all zero: such a position has no cosine.
        return [(m + 0.01).requires_grad_(requires_grad) for m in maps]

    return make
