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
    """With the batch's statistics in training, which it remembers, with those otherwise."""
    if norm.training:
        mean = x.mean(dim=(0, 2, 3))
        variance = (x - mean[:, None, None]).square().mean(dim=(0, 2, 3))
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            norm.running_mean += 0.1 * (mean - norm.running_mean)
            norm.running_var += 0.1 * (variance * count / (count - 1) - norm.running_var)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight / (variance + norm.eps).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def resnet18(backbone, images):
    """The three first stages of ResNet-18 (He et al., CVPR 2016), strides 4, 8 and 16.

    Of RGB images in [0, 1], normalised with ImageNet's statistics as timm has them, in single
    precision.
    """
    net = backbone.network
    mean, std = (
        torch.tensor(values).to(images.dtype).view(3, 1, 1)
        for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    x = F.conv2d((images - mean) / std, net.conv1.weight, stride=2, padding=3)
    x = F.max_pool2d(F.relu(batch_norm(x, net.bn1)), 3, stride=2, padding=1)
    features = []
    for stage in (net.layer1, net.layer2, net.layer3):
        for block in stage:
            x = residual_block(block, x)
        features.append(x)
    return features


def residual_block(block, x):
    """Two 3x3 convolutions beside a shortcut, which has a 1x1 convolution where it halves."""
    halves = block.downsample is not None
    y = F.conv2d(x, block.conv1.weight, stride=2 if halves else 1, padding=1)
    y = F.conv2d(F.relu(batch_norm(y, block.bn1)), block.conv2.weight, padding=1)
    if halves:
        convolution, norm = block.downsample
        x = batch_norm(F.conv2d(x, convolution.weight, stride=2), norm)
    return F.relu(batch_norm(y, block.bn2) + x)


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


def own_features(backbone, images):
    """Features as the library's backbone computes them."""
    return backbone(images)


def training_losses(
    model, normals, outliers, mask, teacher_sees="normal", features_of=own_features
):
    """The three terms of L = L_kd + L_seg + L_dis, the teacher on x and the student on x~.

    The decoder's cue may instead have the teacher on x~, as at test time.
    """
    with torch.no_grad():
        teacher = features_of(model.teacher, normals)
        cue = teacher if teacher_sees == "normal" else features_of(model.teacher, outliers)
    features = features_of(model.student, outliers)
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


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, algorithm 2)."""

    def __init__(self, parameters, decay, betas=(0.9, 0.999), epsilon=1e-8):
        self.parameters = parameters
        self.decay, self.betas, self.epsilon = decay, betas, epsilon
        self.steps = 0
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, gradients, rate):
        self.steps += 1
        b1, b2 = self.betas
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m.copy_(b1 * m + (1 - b1) * g)
            v.copy_(b2 * v + (1 - b2) * g**2)
            corrected = m / (1 - b1**self.steps), v / (1 - b2**self.steps)
            update = corrected[0] / (corrected[1].sqrt() + self.epsilon)
            p.copy_(p - rate * update - rate * self.decay * p)


def outputs(decoder, teacher, student):
    """Discrepancy maps of the three levels and segmentation probability, from features."""
    maps = [discrepancy(s, t) for s, t in zip(student, teacher, strict=True)]
    return maps, torch.sigmoid(decode(decoder, maps, student))


def anomaly_map(maps, probability):
    """Channel means of the levels summed, plus 3 times the probability, blurred: sigma 4."""
    total = 3 * probability
    for level, small in enumerate(maps):
        mean = small.mean(dim=1, keepdim=True)
        total = total + F.interpolate(mean, scale_factor=4 * 2**level, mode="nearest")
    window = gaussian_window(taps=33, sigma=4.0)[None, None].to(total.dtype)
    return F.conv2d(F.pad(total, (16, 16, 16, 16), mode="reflect"), window)


def image_score(pixels):
    """Mean of the 50 largest pixels of each image."""
    return torch.stack([p.flatten().sort(descending=True).values[:50].mean() for p in pixels])
