"""Losses of the Discrepancy Aware Framework (arXiv 2310.07585): L = L_kd + L_seg + L_dis."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

NORMAL_PER_DEFECT = 3


def masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of ``values`` ``(B, C, H, W)`` where ``weights`` ``(B, 1, H, W)`` is 1; 0 where none."""
    total = (values * weights).sum()
    return total / (weights.sum() * values.shape[1]).clamp(min=1)


def distillation_loss(terms: Sequence[tuple[Tensor, ...]], masks: Tensor) -> Tensor:
    """L_kd: over the levels, the mean structure term plus the mean cosine term on normal pixels.

    Args:
        terms: per level structure ``(B, C, H_l, W_l)`` and cosine ``(B, 1, H_l, W_l)`` terms, or
            one of them, as from :class:`~daf_pipelines.models.discrepancy.Discrepancy`.
        masks: outlier masks ``(B, 1, H, W)`` in {0, 1}, nearest-resized to each level.
    """
    losses = []
    for level in terms:
        normal = 1 - F.interpolate(masks, size=level[0].shape[-2:], mode="nearest")
        losses.append(torch.stack([masked_mean(term, normal) for term in level]).sum())
    return torch.stack(losses).sum()


def hard_pixel_loss(losses: Tensor, masks: Tensor) -> Tensor:
    """Mean over all defect pixels and the hardest normal pixels, at most 3 per defect pixel.

    Args:
        losses: a loss for each pixel ``(B, 1, H, W)``.
        masks: outlier masks ``(B, 1, H, W)`` in {0, 1}.
    """
    defects = int(masks.sum())
    hardest = min(NORMAL_PER_DEFECT * defects, masks.numel() - defects)
    normals = losses.detach().masked_fill(masks.bool(), -torch.inf).flatten()
    chosen = normals.topk(hardest, sorted=False).indices
    of_defects = torch.where(masks.bool(), losses, 0).sum()
    return (of_defects + losses.flatten().gather(0, chosen).sum()) / max(defects + hardest, 1)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """L_seg: binary cross-entropy over defect pixels and the hardest normal pixels."""
    pixels = F.binary_cross_entropy_with_logits(logits.to(masks.dtype), masks, reduction="none")
    return hard_pixel_loss(pixels, masks)


def auxiliary_loss(logits: Sequence[Tensor], masks: Tensor) -> Tensor:
    """L_dis: the segmentation loss on each auxiliary head, summed; 0 without heads.

    The heads' probabilities are upsampled (bilinear) to the mask.
    """
    total = masks.new_zeros(())
    for level in logits:
        probability = torch.sigmoid(level.to(masks.dtype))
        probability = F.interpolate(probability, size=masks.shape[-2:], mode="bilinear")
        total = total + hard_pixel_loss(cross_entropy(probability, masks), masks)
    return total


def cross_entropy(probability: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy of each pixel, NaN where the probability is.

    PyTorch's own raises on NaN, which is for the loop to report, and on CUDA under autocast.
    """
    of_label = torch.where(masks.bool(), probability, 1 - probability)
    return -of_label.clamp(min=torch.finfo(of_label.dtype).tiny).log()
