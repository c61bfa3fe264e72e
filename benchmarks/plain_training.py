"""The method written straight from its equations, without a thought for speed (arXiv 2310.07585).

As the public code does it: the teacher runs in every step, with a fourth stage that nobody reads;
SSIM blurs with depthwise convolutions of the 11 x 11 window, once for the maps and again for the
loss; 1x1 convolutions come after the upsampling or the concatenation before them. What differs from
the public code (RGB, ImageNet normalisation) differs in the project, too: ``training.py`` compares
the two.
"""

import math
from collections.abc import Sequence

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from daf_pipelines.models import DAF

CHANNELS, WIDTH = (64, 128, 256), 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def window() -> Tensor:
    """Gaussian of SSIM, 11 x 11 taps, sigma 1.5."""
    line = torch.tensor([math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)])
    square = line[:, None] * line
    return square / square.sum()


def smooth(x: Tensor) -> Tensor:
    """Every channel of ``(B, C, H, W)`` blurred."""
    channels = x.shape[1]
    kernels = window().to(x).expand(channels, 1, 11, 11).contiguous()
    return F.conv2d(F.pad(x, (5, 5, 5, 5), mode="reflect"), kernels, groups=channels)


def ssim(student: Tensor, teacher: Tensor) -> Tensor:
    """Structural similarity by channel and position."""
    x = student / (student.amax(dim=(2, 3), keepdim=True) + 1e-10)
    y = teacher / (teacher.amax(dim=(2, 3), keepdim=True) + 1e-10)
    c1, c2 = 0.01**2, 0.03**2
    mu_x, mu_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mu_x**2, smooth(y * y) - mu_y**2
    covariance = smooth(x * y) - mu_x * mu_y
    numerator = (2 * mu_x * mu_y + c1) * (2 * covariance + c2)
    return numerator / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))


def discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """D^l of a level, element by element."""
    return (1 - ssim(student, teacher)) + (1 - F.cosine_similarity(student, teacher))[:, None]


def bilinear(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear")


class Fusion(nn.Module):
    """Maps at stride 4 with the deepest level's channels, tiled; summed; 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(CHANNELS[-1], WIDTH, 1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Fused map at stride 4."""
        size = maps[0].shape[-2:]
        total = sum(
            F.interpolate(m, size=size).repeat(1, CHANNELS[-1] // m.shape[1], 1, 1) for m in maps
        )
        return F.relu(self.norm(self.convolution(total)))


class Decoder(nn.Module):
    """Concatenate, upsample, convolve."""

    def __init__(self) -> None:
        super().__init__()
        c1, c2, c3 = CHANNELS
        self.fusion = Fusion()
        self.conv3 = nn.Conv2d(WIDTH + c3, WIDTH, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.ConvTranspose2d(WIDTH + c2, WIDTH // 2, 2, stride=2, bias=False)
        self.norm2 = nn.BatchNorm2d(WIDTH // 2)
        self.conv1 = nn.Conv2d(WIDTH // 2 + c1, WIDTH // 4, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(WIDTH // 4)
        self.head = nn.Conv2d(WIDTH // 4, 1, 1)

    def forward(self, maps: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
        """Probability ``(B, 1, H, W)``."""
        f1, f2, f3 = features
        x = bilinear(self.fusion(maps), 0.25)
        x = bilinear(torch.cat([x, f3], dim=1), 2)
        x = F.relu(self.norm3(self.conv3(x)))
        x = F.relu(self.norm2(self.conv2(torch.cat([x, f2], dim=1))))
        x = bilinear(torch.cat([x, f1], dim=1), 2)
        x = bilinear(F.relu(self.norm1(self.conv1(x))), 2)
        return torch.sigmoid(self.head(x))


class Head(nn.Module):
    """An auxiliary head, with its map at the mask's resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels // 4),
            nn.ReLU(),
            nn.Conv2d(channels // 4, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor, size: int) -> Tensor:
        """Probability ``(B, 1, size, size)``."""
        return F.interpolate(self.layers(features), size=(size, size), mode="bilinear")


class Plain(nn.Module):
    """Teacher, student, decoder and auxiliary heads, with the weights of one of the project's.

    Args:
        model: as conf/paper has it: ResNet-18 twice, SSIM, a decoder of width 256.
    """

    def __init__(self, model: DAF) -> None:
        super().__init__()
        options = {"features_only": True, "pretrained": False}
        self.teacher = timm.create_model("resnet18", out_indices=(1, 2, 3, 4), **options)
        self.teacher.requires_grad_(False)
        self.student = timm.create_model("resnet18", out_indices=(1, 2, 3), **options)
        self.decoder = Decoder()
        self.heads = nn.ModuleList(Head(c) for c in CHANNELS)
        self.copy(model)

    def copy(self, model: DAF) -> None:
        """Take over all weights."""
        self.teacher.load_state_dict(model.teacher.network.state_dict(), strict=False)
        self.student.load_state_dict(model.student.network.state_dict())
        weights = model.decoder.state_dict().items()
        self.decoder.load_state_dict(
            {k.replace("convolutions.0", "convolution"): w for k, w in weights}
        )
        self.heads.load_state_dict(model.heads.state_dict())

    def train(self, mode: bool = True) -> "Plain":
        """Set training mode, but for the teacher."""
        super().train(mode)
        self.teacher.eval()
        return self

    def trainable(self) -> list[nn.Parameter]:
        """All parameters but the teacher's."""
        return [p for p in self.parameters() if p.requires_grad]

    def features(self, network: nn.Module, images: Tensor) -> list[Tensor]:
        """Features at strides 4, 8 and 16."""
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        return network((images - mean) / std)[:3]

    def forward(
        self, normals: Tensor, outliers: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        """Features of teacher and student, discrepancy maps, and the decoder's probability."""
        with torch.no_grad():
            teacher = self.features(self.teacher, normals)
        student = self.features(self.student, outliers)
        maps = [discrepancy(s, t) for s, t in zip(student, teacher, strict=True)]
        return teacher, student, maps, self.decoder(maps, student)

    def losses(self, normals: Tensor, outliers: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """The terms of L."""
        teacher, student, _, probability = self(normals, outliers)
        heads = zip(self.heads, student, strict=True)
        return {
            "seg": hardest_pixels(probability, masks),
            "kd": distillation(student, teacher, masks),
            "dis": sum(hardest_pixels(head(f, masks.shape[-1]), masks) for head, f in heads),
        }

    @torch.no_grad()
    def score(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores ``(B,)`` and maps ``(B, H, W)`` of images ``(B, H, W, 3)``."""
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
        *_, maps, probability = self(tensor, tensor)
        size = images.shape[1:3]
        means = [F.interpolate(m.mean(dim=1, keepdim=True), size=size) for m in maps]
        combined = (sum(means) + 3 * probability)[:, 0].numpy()
        blurred = np.stack([gaussian_filter(m, 4, mode="mirror", truncate=4) for m in combined])
        largest = np.sort(blurred.reshape(len(blurred), -1))[:, -50:]
        return largest.mean(axis=1), blurred


def distillation(student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Tensor) -> Tensor:
    """L_kd, with SSIM computed anew."""
    total = masks.new_zeros(())
    for s, t in zip(student, teacher, strict=True):
        normal = F.interpolate(masks, size=s.shape[-2:])[:, 0] == 0
        cosine = 1 - F.cosine_similarity(s, t)
        structure = 1 - ssim(s, t)
        total = total + cosine[normal].mean() + structure.movedim(1, -1)[normal].mean()
    return total


def hardest_pixels(probability: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of the defect pixels and of 3 normal ones for each of them."""
    losses = F.binary_cross_entropy(probability, masks, reduction="none").flatten()
    defect = masks.flatten() == 1
    normal = losses[~defect].sort(descending=True).values[: 3 * int(defect.sum())]
    return torch.cat([losses[defect], normal]).mean()
