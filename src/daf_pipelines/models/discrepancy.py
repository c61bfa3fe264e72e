"""The discrepancy between teacher and student features: cosine and structure, per level.

Cai et al., "A Discrepancy Aware Framework for Robust Anomaly Detection" (arXiv 2310.07585).
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daf_pipelines.errors import ParameterError
from daf_pipelines.parameters import DiscrepancyParams

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2


def check_ssim_size(size: int) -> None:
    """Refuse feature maps that cannot be reflect-padded by half a window.

    Raises:
        ParameterError: fewer than 6 pixels a side.
    """
    smallest = SSIM_WINDOW // 2 + 1
    if size < smallest:
        raise ParameterError(
            f"SSIM needs feature maps of at least {smallest} pixels a side; got {size}. "
            f"Set dataset.image_size to {smallest * 16} or more, or "
            "model.discrepancy.structure: squared."
        )


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # scoring may ask first, and training goes on with the same tensor
def gaussian_matrix(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Banded matrix ``(size, size)`` of the 11-tap Gaussian (sigma 1.5) with reflect padding.

    Multiplying a column by it equals padding the column by 5 and convolving it. As matrix
    products the separable blur costs a fraction of depthwise convolutions, backward above all.

    Raises:
        ParameterError: fewer than 6 pixels, which cannot be reflect-padded by 5.
    """
    check_ssim_size(size)
    radius = SSIM_WINDOW // 2
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-(taps**2) / (2 * SSIM_SIGMA**2))
    kernel = kernel / kernel.sum()
    rows = torch.arange(size).repeat_interleave(SSIM_WINDOW)
    columns = (torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)).flatten().abs()
    columns = torch.where(columns >= size, 2 * (size - 1) - columns, columns)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.index_put_((rows, columns), kernel.repeat(size), accumulate=True)
    return matrix.to(device=device, dtype=dtype)


def gaussian_blur(x: Tensor) -> Tensor:
    """Blur ``(..., H, W)`` with the SSIM window."""
    rows = gaussian_matrix(x.shape[-2], x.device, x.dtype)
    columns = gaussian_matrix(x.shape[-1], x.device, x.dtype)
    blurred: Tensor = torch.matmul(torch.matmul(rows, x), columns.T)
    return blurred


def peak_normalise(features: Tensor) -> Tensor:
    """Divide every channel of every image by its spatial maximum (of absolute values).

    Equal to the paper's division on rectified features, and finite on others.
    """
    return features / (features.abs().amax(dim=(-2, -1), keepdim=True) + 1e-10)


def ssim(student: Tensor, teacher: Tensor) -> Tensor:
    """Structural similarity of features ``(B, C, H, W)``, per channel and position, in [-1, 1].

    11-tap Gaussian window with sigma 1.5, K = (0.01, 0.03), range 1 (Wang et al., 2004), on
    features divided by their spatial maximum (DAF, discrepancy map).
    """
    s, t = peak_normalise(student), peak_normalise(teacher)
    mu_s, mu_t, ss, tt, st = gaussian_blur(torch.stack([s, t, s * s, t * t, s * t]))
    mu_ss, mu_tt, mu_st = mu_s * mu_s, mu_t * mu_t, mu_s * mu_t
    luminance = (2 * mu_st + SSIM_C1) / (mu_ss + mu_tt + SSIM_C1)
    contrast = (2 * (st - mu_st) + SSIM_C2) / ((ss - mu_ss) + (tt - mu_tt) + SSIM_C2)
    similarity: Tensor = luminance * contrast
    return similarity


class Discrepancy(nn.Module):
    """Per level, element by element: D^l = structure(f_s, f_t) + (1 - cos(f_s, f_t)).

    Structure is ``1 - SSIM`` as in the paper, or the squared difference. The cosine runs over the
    channels and is broadcast.

    Args:
        params: the form of the discrepancy.
        channels: channels of the teacher's three levels.

    Shape:
        - Input: two lists of three maps ``(B, C_l, H_l, W_l)``.
        - Output: as ``forward`` says.
    """

    def __init__(self, params: DiscrepancyParams, channels: Sequence[int]) -> None:
        super().__init__()
        self.params = params
        for level, count in enumerate(channels):
            self.register_buffer(f"mean_{level}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"std_{level}", torch.ones(1, count, 1, 1))

    def fit_normalisation(self, means: Sequence[Tensor], stds: Sequence[Tensor]) -> None:
        """Set the channel statistics of the teacher's features, ``(C_l,)`` a level."""
        for level, (mean, std) in enumerate(zip(means, stds, strict=True)):
            self.get_buffer(f"mean_{level}").copy_(mean.view(1, -1, 1, 1))
            self.get_buffer(f"std_{level}").copy_(std.view(1, -1, 1, 1))

    def normalise(self, teacher: Sequence[Tensor]) -> list[Tensor]:
        """Teacher features as the student is to match them."""
        if self.params.normalise == "none":
            return list(teacher)
        return [
            (f - self.get_buffer(f"mean_{level}")) / self.get_buffer(f"std_{level}")
            for level, f in enumerate(teacher)
        ]

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """The two terms of each level: structure ``(B, C, H, W)`` and cosine ``(B, 1, H, W)``.

        The loss wants them apart, the map their sum: both are computed once, here, and never in
        less than single precision. Under autocast, differences of nearly equal numbers, as the
        variances of SSIM, would be rounding errors.
        """
        with torch.autocast(student[0].device.type, enabled=False):
            return [
                self._terms(_at_least_single(s), _at_least_single(t))
                for s, t in zip(student, teacher, strict=True)
            ]

    def _terms(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        cosine = F.cosine_similarity(student, teacher, dim=1).unsqueeze(1)
        return self._structure(student, teacher), 1 - cosine

    def _structure(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.params.structure == "ssim":
            return 1 - ssim(student, teacher)
        return (student - teacher).square()


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
