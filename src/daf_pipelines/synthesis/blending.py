"""Blending operators: how contents and images are combined inside the masks.

A blending operator takes images and contents ``(B, C, H, W)`` in [0, 1], the bool masks
``(B, 1, H, W)`` and one random generator per image, and returns ``(B, C, H, W)``. What it returns
outside the masks is discarded by ``synthesise``. It may write to the contents, which nobody needs
after it: allocating a batch takes longer than computing it.
"""

import torch
from torch import Tensor

from daf_pipelines.synthesis.masks import Draws

LARGEST_BETA = 0.8


def opacity_blending(
    images: Tensor,
    contents: Tensor,
    masks: Tensor,  # noqa: ARG001 - one signature for all blendings
    draws: Draws,
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

    Returns:
        Blended batch ``(B, C, H, W)``.
    """
    betas = [rng.uniform(0, LARGEST_BETA) for rng in draws]
    beta = torch.tensor(betas, dtype=images.dtype, device=images.device)[:, None, None, None]
    return contents.mul_(1 - beta).add_(beta * images)


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
