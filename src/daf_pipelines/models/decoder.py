"""The segmentation decoder and the auxiliary heads (DAF, arXiv 2310.07585, section III).

Where a 1x1 convolution follows an upsampling it is computed first, on fewer pixels: both are
linear and act on different axes, so they commute exactly.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def upsample(x: Tensor, factor: float, mode: str = "bilinear") -> Tensor:
    """Resize ``(B, C, H, W)`` by ``factor``."""
    return F.interpolate(x, scale_factor=factor, mode=mode)


class Fusion(nn.Module):
    """Fuse the three discrepancy maps into ``width`` channels at stride 4.

    The maps are brought to stride 4 (nearest) and to the deepest level's channel count, summed,
    and go through 1x1 convolution, batch norm and ReLU. Where the channel counts divide, each
    map's channels are tiled in order (the paper's ResNet-18: 64 x 4, 128 x 2, 256 x 1), which
    equals a convolution whose weights are summed over the tiles. Otherwise each level has a 1x1
    projection of its own, of which the common convolution is then a part.

    Shape:
        - Input: maps ``(B, C_l, H / s, W / s)``, s in (4, 8, 16).
        - Output: ``(B, width, H / 4, W / 4)``.
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
        """Fused map ``(B, width, H / 4, W / 4)``."""
        projected = [F.conv2d(m, w) for m, w in zip(maps, self._level_weights(), strict=True)]
        fused = projected[0]
        for level, projection in enumerate(projected[1:], start=1):
            fused = fused + upsample(projection, 2**level, mode="nearest")
        return F.relu(self.norm(fused))

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
        discrepancy_channels: channels of the discrepancy maps (the teacher's).
        student_channels: channels of the student's features.
        width: channels of the fused map; the paper's is 256.

    Shape:
        - Input: maps ``(B, C_l, H / s, W / s)`` and student features, s in (4, 8, 16).
        - Output: logits ``(B, 1, H, W)``; their sigmoid is the segmentation probability.
    """

    def __init__(
        self, discrepancy_channels: Sequence[int], student_channels: Sequence[int], width: int
    ) -> None:
        super().__init__()
        c1, c2, c3 = student_channels
        self.fusion = Fusion(discrepancy_channels, width)
        self.conv3 = nn.Conv2d(width + c3, width, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv2 = nn.ConvTranspose2d(width + c2, width // 2, 2, stride=2, bias=False)
        self.norm2 = nn.BatchNorm2d(width // 2)
        self.conv1 = nn.Conv2d(width // 2 + c1, width // 4, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width // 4)
        self.head = nn.Conv2d(width // 4, 1, 1)

    def forward(self, maps: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
        """Segmentation logits ``(B, 1, H, W)``."""
        f1, f2, f3 = student
        x = upsample(self.fusion(maps), 1 / 4)
        x = upsample(torch.cat([x, f3], dim=1), 2)
        x = F.relu(self.norm3(self.conv3(x)))
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
