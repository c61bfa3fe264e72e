"""Masks of an exact area."""

from collections.abc import Sequence

import torch
from torch import Tensor


def smallest(values: Tensor, counts: Sequence[int]) -> Tensor:
    """The smallest values of each row, exactly as many as asked for.

    Args:
        values: ``(N, P)`` float, no NaN.
        counts: How many of each row, 1 to P.

    Returns:
        Bool ``(N, P)``; of equal values the first ones.
    """
    last = [row.kthvalue(count).values for row, count in zip(values, counts, strict=True)]
    border = torch.stack(last)[:, None]
    below, equal = values < border, values == border
    missing = torch.tensor(counts, device=values.device) - below.sum(dim=1)
    return below | (equal & (equal.cumsum(dim=1) <= missing[:, None]))
