"""The segmentation decoder and the auxiliary heads (DAF, arXiv 2310.07585, section III).

Where a convolution follows an upsampling it is computed first, on fewer pixels: of 1 x 1 both act
on different axes, so that they commute, and of 3 x 3 see :func:`convolve_upsampled`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daf_pipelines.models.matrices import Rows, kept


def upsample(x: Tensor, factor: float, mode: str = "bilinear") -> Tensor:
    """Resize ``(B, C, H, W)`` by ``factor``."""
    return F.interpolate(x, scale_factor=factor, mode=mode)


def inner(x: Tensor) -> Tensor:
    """The inner 2 x 2 of each 4 x 4 pixels: ``(B, C, H, W)`` to ``(B, C, H / 2, W / 2)``.

    Their mean is what bilinear interpolation to a quarter of the size gives; it reads no other.
    """
    batch, channels, height, width = x.shape
    blocks = x.permute(0, 2, 3, 1).reshape(batch, height // 4, 4, width // 4, 4, channels)
    chosen = blocks[:, :, 1:3, :, 1:3].reshape(batch, height // 2, width // 2, channels)
    return chosen.permute(0, 3, 1, 2)


@kept
def shifted_upsampling(size: int) -> Rows:
    """Bilinear x2 upsampling of ``size`` pixels as the three taps of a convolution read it.

    Returns:
        Matrix ``(2 size, 3 size)``: column block t yields what stands one pixel before (t = 0), at
        (1) or after (2) each of the 2 ``size`` pixels; 0 outside, as padding has it.
    """
    rows = [[0.0] * (3 * size) for _ in range(2 * size)]
    for place, row in enumerate(rows):
        for tap, read in enumerate((place - 1, place, place + 1)):
            if 0 <= read < 2 * size:
                source = min(max((read + 0.5) / 2 - 0.5, 0), size - 1)
                low = int(source)
                row[tap * size + low] += 1 - (source - low)
                row[tap * size + min(low + 1, size - 1)] += source - low
    return rows


def convolve_upsampled(x: Tensor, weight: Tensor) -> Tensor:
    """The 3 x 3 convolution with padding 1 of ``x`` after bilinear x2 upsampling.

    Both are linear: each of the nine taps is a 1 x 1 convolution, computed before the upsampling on
    a quarter of the pixels, and upsampling, shifting and summing the taps is one matrix product an
    axis.

    Args:
        x: ``(B, C, H, W)``.
        weight: ``(D, C, 3, 3)``.

    Returns:
        ``(B, D, 2 H, 2 W)``, channels last in memory.
    """
    batch, channels, height, width = x.shape
    count = weight.shape[0]
    taps = weight.permute(2, 3, 0, 1).reshape(9 * count, channels)
    pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
    y = F.linear(pixels, taps).view(batch, height, width, 3, 3, count)
    y = y.permute(0, 1, 3, 4, 2, 5).reshape(batch, height, 3, 3 * width, count)
    y = shifted_upsampling(width, y.device, y.dtype) @ y
    y = y.transpose(1, 2).reshape(batch, 3 * height, 2 * width * count)
    y = shifted_upsampling(height, y.device, y.dtype) @ y
    return y.view(batch, 2 * height, 2 * width, count).permute(0, 3, 1, 2)


class Fusion(nn.Module):
    """Fuse the three discrepancy maps into ``width`` channels.

    The maps are brought to stride 4 (nearest) and to the deepest level's channel count, summed,
    and go through 1x1 convolution, batch norm and ReLU, then bilinearly to stride 16. Where the
    channel counts divide, each map's channels are tiled in order (the paper's ResNet-18: 64 x 4,
    128 x 2, 256 x 1), which equals a convolution whose weights are summed over the tiles.
    Otherwise each level has a 1x1 projection of its own, of which the common convolution is then a
    part.

    Shape:
        - Input: maps ``(B, C_l, H / s, W / s)``, s in (4, 8, 16).
        - Output: ``(B, width, H / 16, W / 16)``.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        deepest = channels[-1]
        self.tiles = [deepest // c for c in channels] if _all_divide(channels) else None
        inputs = [deepest] if self.tiles else channels
        # A bias would be undone by the batch norm.
        self.convolutions = nn.ModuleList(nn.Conv2d(c, width, 1, bias=False) for c in inputs)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Fused map ``(B, width, H / 16, W / 16)``."""
        first, *others = (m.contiguous(memory_format=torch.channels_last) for m in maps)
        w1, w2, w3 = self._level_weights()
        middle, deep = (F.conv2d(m, w) for m, w in zip(others, (w2, w3), strict=True))
        deeper = middle + upsample(deep, 2, mode="nearest")
        if self.training:  # the statistics of the batch norm are those of all pixels
            fused = inner(self.norm(F.conv2d(first, w1) + upsample(deeper, 2, mode="nearest")))
        else:
            fused = self.norm(F.conv2d(inner(first), w1) + deeper)
        return F.avg_pool2d(F.relu(fused), 2)

    def _level_weights(self) -> list[Tensor]:
        weights = [c.weight for c in self.convolutions if isinstance(c, nn.Conv2d)]
        if self.tiles is None:
            return weights
        return [torch.stack(weights[0].chunk(tiles, dim=1)).sum(dim=0) for tiles in self.tiles]


def _all_divide(channels: Sequence[int]) -> bool:
    return all(channels[-1] % c == 0 for c in channels)


class Decoder(nn.Module):
    """Segment outliers, led by the discrepancy maps.

    Args:
        discrepancy_channels: channels of the discrepancy maps; ``None`` for a decoder that sees
            the student's features only.
        student_channels: channels of the student's features.
        width: channels of the fused map; the paper's is 256.

    Shape:
        - Input: maps ``(B, C_l, H / s, W / s)`` and student features, s in (4, 8, 16).
        - Output: logits ``(B, 1, H, W)``; their sigmoid is the segmentation probability.
    """

    def __init__(
        self,
        discrepancy_channels: Sequence[int] | None,
        student_channels: Sequence[int],
        width: int,
    ) -> None:
        super().__init__()
        c1, c2, c3 = student_channels
        self.fusion = Fusion(discrepancy_channels, width) if discrepancy_channels else None
        fused = width if self.fusion else 0
        self.conv3 = nn.Conv2d(fused + c3, width, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv2 = nn.ConvTranspose2d(width + c2, width // 2, 2, stride=2, bias=False)
        self.norm2 = nn.BatchNorm2d(width // 2)
        self.conv1 = nn.Conv2d(width // 2 + c1, width // 4, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width // 4)
        self.head = nn.Conv2d(width // 4, 1, 1)

    def forward(self, maps: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
        """Segmentation logits ``(B, 1, H, W)``; the maps are not read without a fusion."""
        f1, f2, f3 = student
        x = f3 if self.fusion is None else torch.cat([self.fusion(maps), f3], dim=1)
        x = convolve_upsampled(x, self.conv3.weight)
        x = F.relu(self.norm3(x))
        x = F.relu(self.norm2(self.conv2(torch.cat([x, f2], dim=1))))
        x = upsample(self.conv1(torch.cat([x, f1], dim=1)), 2)
        x = F.relu(self.norm1(x))
        return upsample(self.head(x), 2)


class AuxiliaryHead(nn.Module):
    """Segment outliers from one level of student features: what L_dis trains (DAF).

    Shape:
        - Input: ``(B, C, H_l, W_l)``.
        - Output: logits ``(B, 1, H_l, W_l)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 1)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits at the level's resolution."""
        logits: Tensor = self.layers(features)
        return logits
