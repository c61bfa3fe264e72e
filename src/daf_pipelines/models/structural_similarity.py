"""Structural similarity of a student's features and a frozen teacher's.

Wang et al., "Image quality assessment: from error visibility to structural similarity" (IEEE TIP
2004), on features divided by their spatial maximum, as the discrepancy map of DAF
(arXiv 2310.07585) has it.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from daf_pipelines.errors import ParameterError
from daf_pipelines.models.matrices import Rows, kept

WINDOW = 11
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def check_ssim_size(size: int) -> None:
    """Refuse feature maps that cannot be reflect-padded by half a window.

    Raises:
        ParameterError: fewer than 6 pixels a side.
    """
    smallest = WINDOW // 2 + 1
    if size < smallest:
        raise ParameterError(
            f"SSIM needs feature maps of at least {smallest} pixels a side; got {size}. "
            f"Set dataset.image_size to {smallest * 16} or more, or "
            "model.discrepancy.structure: squared."
        )


@kept
def gaussian_matrix(size: int) -> Rows:
    """Banded matrix ``(size, size)`` of the 11-tap Gaussian (sigma 1.5) with reflect padding.

    Multiplying a column by it equals padding the column by 5 and convolving it. As matrix
    products the separable blur costs a fraction of depthwise convolutions, backward above all.

    Raises:
        ParameterError: fewer than 6 pixels, which cannot be reflect-padded by 5.
    """
    check_ssim_size(size)
    taps = range(-(WINDOW // 2), WINDOW // 2 + 1)
    weights = [math.exp(-(tap**2) / (2 * SIGMA**2)) for tap in taps]
    rows = [[0.0] * size for _ in range(size)]
    for place, row in enumerate(rows):
        for tap, weight in zip(taps, weights, strict=True):
            read = abs(place + tap)
            mirrored = min(read, 2 * (size - 1) - read)
            row[mirrored] += weight / sum(weights)
    return rows


def gaussian_blur(x: Tensor) -> Tensor:
    """Blur ``(..., H, W)`` with the SSIM window."""
    rows, columns = _windows(x)
    return rows @ x @ columns.T


def _blur_backward(gradient: Tensor) -> Tensor:
    rows, columns = _windows(gradient)
    return rows.T @ gradient @ columns


def _windows(x: Tensor) -> tuple[Tensor, Tensor]:
    rows = gaussian_matrix(x.shape[-2], x.device, x.dtype)
    columns = gaussian_matrix(x.shape[-1], x.device, x.dtype)
    return rows, columns


class Moments(NamedTuple):
    """What SSIM needs of the teacher's features ``(B, C, H, W)`` alone.

    Attributes:
        scale: one over the spatial maximum ``(B, C, 1, 1)``.
        mean: blurred scaled features ``(B, C, H, W)``.
        variance: theirs within the window ``(B, C, H, W)``.
    """

    scale: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        """Moments of the teacher's features."""
        scale = _scale(features.abs().amax(dim=(-2, -1), keepdim=True))
        scaled = features * scale
        mean, square = gaussian_blur(torch.stack([scaled, scaled * scaled]))
        return cls(scale, mean, square - mean * mean)


def ssim(student: Tensor, teacher: Tensor, moments: Moments | None = None) -> Tensor:
    """Structural similarity of features ``(B, C, H, W)``, per channel and position, in [-1, 1].

    11-tap Gaussian window with sigma 1.5, K = (0.01, 0.03), range 1, on features divided by their
    spatial maximum (of absolute values: equal to the paper's on rectified features, and finite on
    others) plus 1e-10. Differentiable once, and in the student alone.

    Args:
        student: the student's features.
        teacher: the teacher's.
        moments: those of the teacher's features, where they are known already.
    """
    teacher = teacher.detach()
    moments = moments or Moments.of(teacher)
    if torch.is_grad_enabled() and student.requires_grad:
        similarity: Tensor = _SSIM.apply(student, teacher, *moments)
        return similarity
    return _compare(student, teacher, moments)[0]


def _scale(peak: Tensor) -> Tensor:
    return 1 / (peak + 1e-10)


class _Parts(NamedTuple):
    """What the gradient needs of a comparison."""

    scale: Tensor
    peak_at: Tensor
    mean: Tensor
    luminance: Tensor
    contrast: Tensor
    luminance_denominator: Tensor
    contrast_denominator: Tensor


def _compare(student: Tensor, teacher: Tensor, moments: Moments) -> tuple[Tensor, _Parts]:
    """SSIM, the product of luminance and contrast."""
    peak, peak_at = student.flatten(2).abs().max(dim=-1, keepdim=True)
    scale = _scale(peak)[..., None]
    s, t = student * scale, teacher * moments.scale
    mu_s, ss, st = gaussian_blur(torch.stack([s, s * s, s * t]))
    mu_t = moments.mean
    mu_st, mu_ss = mu_s * mu_t, mu_s * mu_s
    d = mu_ss + mu_t * mu_t + C1
    e = ss - mu_ss + moments.variance + C2
    luminance = (2 * mu_st + C1) / d
    contrast = (2 * (st - mu_st) + C2) / e
    return luminance * contrast, _Parts(scale, peak_at, mu_s, luminance, contrast, d, e)


class _SSIM(torch.autograd.Function):
    """SSIM with its gradient by hand: three blurs there and three back, the teacher's half given.

    With l = a / d the luminance and c = b / e the contrast, where a = 2 mu_s mu_t + C1,
    d = mu_s^2 + mu_t^2 + C1, b = 2 (G st - mu_s mu_t) + C2, e = G ss - mu_s^2 + var_t + C2 and G
    the blur, the derivatives of l c by mu_s, G ss and G st are blurred back by the transpose of G.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, *moments: Tensor) -> Tensor:
        """Similarity ``(B, C, H, W)``."""
        similarity, parts = _compare(student, teacher, Moments(*moments))
        ctx.save_for_backward(student, teacher, *moments[:2], *parts)
        return similarity

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient of the student's features, in their precision."""
        student, teacher, scale, mean, *parts = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            found = _gradient(gradient, student, teacher * scale, mean, _Parts(*parts))
        return found, None, None, None, None


def _gradient(gradient: Tensor, student: Tensor, t: Tensor, mu_t: Tensor, parts: _Parts) -> Tensor:
    scale, peak_at, mu_s, luminance, contrast, d, e = parts
    by_a = gradient * contrast / d
    by_b = gradient * luminance / e
    by_mean = 2 * (mu_t * (by_a - by_b) + mu_s * (by_b * contrast - by_a * luminance))
    by_square = -by_b * contrast
    by_mean, by_square, by_product = _blur_backward(torch.stack([by_mean, by_square, 2 * by_b]))
    s = student * scale
    by_s: Tensor = by_mean + 2 * by_square * s + by_product * t
    by_student = by_s * scale
    # The peak divides the whole channel.
    by_peak = -(by_s * s).sum(dim=(-2, -1))[..., None] * scale[..., 0]
    at_peak = student.flatten(2).gather(2, peak_at).sign()
    by_student.flatten(2).scatter_add_(2, peak_at, by_peak * at_peak)
    return by_student
