"""The method written plainly from its equations: what the library's fast forms are compared with.

Cai et al., "A Discrepancy Aware Framework for Robust Anomaly Detection" (arXiv 2310.07585), with
the weights of the library's modules, in whatever precision the arguments have.
"""

import math

import torch
from torch.nn import functional as F


def gaussian_window(taps=11, sigma=1.5):
    """Window of SSIM, taps x taps."""
    line = [math.exp(-((i - taps // 2) ** 2) / (2 * sigma**2)) for i in range(taps)]
    window = torch.tensor([[a * b for b in line] for a in line], dtype=torch.float64)
    return window / window.sum()


def smooth(x):
    """Every channel padded by reflection and convolved with the window."""
    window = gaussian_window().to(x.dtype).expand(x.shape[1], 1, 11, 11)
    return F.conv2d(F.pad(x, (5, 5, 5, 5), mode="reflect"), window, groups=x.shape[1])


def ssim(student, teacher):
    """Structural similarity of rectified features, per channel."""
    x = student / (student.amax(dim=(2, 3), keepdim=True) + 1e-10)
    y = teacher / (teacher.amax(dim=(2, 3), keepdim=True) + 1e-10)
    c1, c2 = (0.01 * 1) ** 2, (0.03 * 1) ** 2
    mu_x, mu_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mu_x**2, smooth(y * y) - mu_y**2
    covariance = smooth(x * y) - mu_x * mu_y
    numerator = (2 * mu_x * mu_y + c1) * (2 * covariance + c2)
    return numerator / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))


def cosine(student, teacher):
    """Cosine over the channels, (B, 1, H, W)."""
    norms = student.square().sum(1).sqrt() * teacher.square().sum(1).sqrt()
    return ((student * teacher).sum(1) / norms)[:, None]


def discrepancy(student, teacher):
    """D^l of one level."""
    return (1 - ssim(student, teacher)) + (1 - cosine(student, teacher))


def batch_norm(x, norm):
    """With the batch's statistics in training, with the running ones otherwise."""
    if norm.training:
        mean = x.mean(dim=(0, 2, 3))
        variance = (x - mean[:, None, None]).square().mean(dim=(0, 2, 3))
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight / (variance + norm.eps).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def bilinear(x, factor):
    """Resized bilinearly."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def fuse(fusion, maps):
    """Maps to stride 4 and to the deepest level's channels, tiled in order; sum, 1x1 conv."""
    deepest = maps[-1].shape[1]
    total = torch.zeros_like(maps[0][:, :1])
    for level, small in enumerate(maps):
        x = F.interpolate(small, scale_factor=2**level, mode="nearest")
        total = total + torch.cat([x] * (deepest // x.shape[1]), dim=1)
    (convolution,) = fusion.convolutions
    return F.relu(batch_norm(F.conv2d(total, convolution.weight), fusion.norm))


def decode(decoder, maps, features):
    """Segmentation logits: every 1x1 convolution after its upsampling."""
    f1, f2, f3 = features
    x = bilinear(fuse(decoder.fusion, maps), 0.25)
    x = bilinear(torch.cat([x, f3], dim=1), 2)
    x = F.relu(batch_norm(F.conv2d(x, decoder.conv3.weight, padding=1), decoder.norm3))
    x = F.conv_transpose2d(torch.cat([x, f2], dim=1), decoder.conv2.weight, stride=2)
    x = F.relu(batch_norm(x, decoder.norm2))
    x = bilinear(torch.cat([x, f1], dim=1), 2)
    x = F.relu(batch_norm(F.conv2d(x, decoder.conv1.weight), decoder.norm1))
    x = bilinear(x, 2)
    return F.conv2d(x, decoder.head.weight, decoder.head.bias)


def auxiliary(head, features, size):
    """Probability of one auxiliary head, upsampled to the mask."""
    first, norm, _, last = head.layers
    x = F.relu(batch_norm(F.conv2d(features, first.weight, padding=1), norm))
    x = torch.sigmoid(F.conv2d(x, last.weight, last.bias))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def resize_mask(mask, size):
    """Nearest: pixel (i, j) of the small mask is the one at (i, j) times the factor."""
    factor = mask.shape[-1] // size
    return mask[..., ::factor, ::factor]


def distillation_loss(student, teacher, mask):
    """L_kd: over the levels, the mean of 1 - cos plus the mean of 1 - SSIM on normal pixels."""
    total = 0
    for s, t in zip(student, teacher, strict=True):
        normal = resize_mask(mask, s.shape[-1])[:, 0] == 0
        structure = (1 - ssim(s, t)).movedim(1, -1)[normal]
        total = total + structure.mean() + (1 - cosine(s, t))[:, 0][normal].mean()
    return total


def cross_entropy(probability, mask):
    """Binary cross-entropy of every pixel."""
    return -(mask * probability.log() + (1 - mask) * (1 - probability).log())


def hard_pixel_mean(losses, mask):
    """Mean over the defect pixels and the hardest normal ones, 3 for each defect pixel."""
    losses, defect = losses.flatten(), mask.flatten() == 1
    hardest = losses[~defect].sort(descending=True).values[: 3 * int(defect.sum())]
    return torch.cat([losses[defect], hardest]).mean()


def training_losses(model, normals, outliers, mask, teacher_sees="normal"):
    """The three terms of L = L_kd + L_seg + L_dis, the teacher on x and the student on x~.

    The decoder's cue may instead have the teacher on x~, as at test time.
    """
    with torch.no_grad():
        teacher = model.teacher(normals)
        cue = teacher if teacher_sees == "normal" else model.teacher(outliers)
    features = model.student(outliers)
    maps = [discrepancy(s, t) for s, t in zip(features, cue, strict=True)]
    probability = torch.sigmoid(decode(model.decoder, maps, features))
    heads = [
        hard_pixel_mean(cross_entropy(auxiliary(h, f, mask.shape[-2:]), mask), mask)
        for h, f in zip(model.heads, features, strict=True)
    ]
    return {
        "seg": hard_pixel_mean(cross_entropy(probability, mask), mask),
        "kd": distillation_loss(features, teacher, mask),
        "dis": sum(heads),
    }
