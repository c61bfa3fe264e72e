"""Blending by opacity, and pasting.

A blending operator takes images and contents ``(B, C, H, W)`` in [0, 1], the bool masks
``(B, 1, H, W)`` and one random generator per image, and returns ``(B, C, H, W)``. What it returns
outside the masks is discarded by ``synthesise``. It may write to the contents, which nobody needs
after it: allocating a batch takes longer than computing it.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from daf_pipelines.synthesis.operators import Draws, ShareRange


def opacity_blending(
    images: Tensor,
    contents: Tensor,
    masks: Tensor,  # noqa: ARG001 - one signature for all blendings
    draws: Draws,
    *,
    image_share: ShareRange = (0.0, 0.8),
) -> Tensor:
    """Blend with a random opacity (DRAEM, ICCV 2021).

    Inside the mask: beta I + (1 - beta) A with beta ~ U(0, 0.8), one per image. As in the public
    code of DRAEM and DAF (``beta = torch.rand(1) * 0.8``), beta is the share of the *image*; the
    texture's opacity is 1 - beta, from 0.2 to 1.

    Args:
        images: Images I ``(B, C, H, W)``.
        contents: Contents A of the same shape; overwritten.
        masks: Not used.
        draws: One generator per image.
        image_share: Bounds of beta.

    Returns:
        Blended batch ``(B, C, H, W)``.
    """
    betas = [rng.uniform(*image_share) for rng in draws]
    return _mix(images, contents, betas)


def normal_opacity_blending(
    images: Tensor,
    contents: Tensor,
    masks: Tensor,  # noqa: ARG001 - one signature for all blendings
    draws: Draws,
    *,
    mean: Annotated[float, Field(ge=0, le=1)] = 0.5,
    deviation: Annotated[float, Field(ge=0)] = 0.1,
    image_share: ShareRange = (0.2, 0.8),
) -> Tensor:
    """Blend with an opacity around a mean (GLASS, ECCV 2024, public code ``datasets/mvtec.py``).

    Inside the mask: beta I + (1 - beta) A with beta ~ N(0.5, 0.1) clipped to [0.2, 0.8].

    Args:
        images: Images I ``(B, C, H, W)``.
        contents: Contents A of the same shape; overwritten.
        masks: Not used.
        draws: One generator per image.
        mean: Of beta.
        deviation: Standard deviation of beta.
        image_share: Bounds that beta is clipped to.

    Returns:
        Blended batch ``(B, C, H, W)``.
    """
    betas = [float(np.clip(rng.normal(mean, deviation), *image_share)) for rng in draws]
    return _mix(images, contents, betas)


def hard_paste(
    images: Tensor,  # noqa: ARG001 - one signature for all blendings
    contents: Tensor,
    masks: Tensor,  # noqa: ARG001
    draws: Draws,  # noqa: ARG001
) -> Tensor:
    """Replace the image by the content (CutPaste, CVPR 2021).

    Args:
        images: Not used.
        contents: Contents ``(B, C, H, W)``.
        masks: Not used.
        draws: Not used.

    Returns:
        The contents.
    """
    return contents


def _mix(images: Tensor, contents: Tensor, betas: list[float]) -> Tensor:
    beta = torch.tensor(betas, dtype=images.dtype, device=images.device)[:, None, None, None]
    return contents.mul_(1 - beta).add_(beta * images)
