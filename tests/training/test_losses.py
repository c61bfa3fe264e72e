import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import plain_daf
from daf_pipelines.models.discrepancy import Discrepancy
from daf_pipelines.parameters import DiscrepancyParams
from daf_pipelines.training.losses import (
    auxiliary_loss,
    cross_entropy,
    distillation_loss,
    hard_pixel_loss,
    masked_mean,
    segmentation_loss,
)

CHANNELS = (4, 6, 8)


def levels(seed, size=96, batch=2):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.rand(batch, c, size // s, size // s, generator=generator, dtype=torch.float64)
        for c, s in zip(CHANNELS, (4, 8, 16), strict=True)
    ]


def random_masks(seed=0, size=96, batch=2, share=0.1):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, 1, size, size, generator=generator) < share).double()


def box_masks(size=96, batch=2):
    masks = torch.zeros(batch, 1, size, size, dtype=torch.float64)
    masks[0, :, 16:48, 32:80] = 1
    masks[1, :, 5:30, 3:21] = 1
    return masks


class TestMaskedMean:
    def test_by_loops(self):
        generator = torch.Generator().manual_seed(0)
        values = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
        weights = random_masks(size=5, share=0.5)[..., :4, :]
        chosen = [
            values[b, c, i, j].item()
            for b in range(2)
            for c in range(3)
            for i in range(4)
            for j in range(5)
            if weights[b, 0, i, j] == 1
        ]
        assert 0 < len(chosen) < values.numel()
        assert masked_mean(values, weights).item() == pytest.approx(sum(chosen) / len(chosen))

    def test_nothing_chosen_is_0(self):
        assert masked_mean(torch.rand(1, 2, 3, 3), torch.zeros(1, 1, 3, 3)) == 0


class TestDistillationLoss:
    @pytest.mark.parametrize("masks", [random_masks(), box_masks(), torch.zeros_like(box_masks())])
    def test_equals_the_equation(self, masks):
        student, teacher = levels(0), levels(1)
        discrepancy = Discrepancy(DiscrepancyParams(structure="ssim"), CHANNELS)
        terms = discrepancy(student, discrepancy.prepare(teacher))
        expected = plain_daf.distillation_loss(student, teacher, masks)
        torch.testing.assert_close(distillation_loss(terms, masks), expected, atol=1e-10, rtol=0)

    def test_by_hand(self):
        # One level of 2x2 pixels; the mask's pixel (0, 0), (0, 4), (4, 0), (4, 4) decide.
        masks = torch.zeros(1, 1, 8, 8)
        masks[0, 0, 4, 0] = 1
        masks[0, 0, 1:4, 1:4] = 1  # seen by no pixel of the level
        structure = torch.tensor([[[[1.0, 2], [50, 3]], [[5.0, 6], [50, 7]]]])
        cosine = torch.tensor([[[[0.1, 0.2], [50, 0.3]]]])
        found = distillation_loss([(structure, cosine)], masks)
        assert found.item() == pytest.approx((1 + 2 + 3 + 5 + 6 + 7) / 6 + (0.1 + 0.2 + 0.3) / 3)

    def test_one_term_by_hand(self):
        masks = torch.tensor([[[[0.0, 1], [0, 0]]]])
        term = torch.tensor([[[[1.0, 50], [2, 6]]]])
        assert distillation_loss([(term,), (term,)], masks).item() == pytest.approx(2 * 9 / 3)

    def test_features_inside_the_mask_do_not_matter(self):
        masks, teacher, student = box_masks(), levels(1), levels(0)
        discrepancy = Discrepancy(DiscrepancyParams(structure="squared"), CHANNELS)
        changed = []
        for f in student:
            inside = plain_daf.resize_mask(masks, f.shape[-1])
            changed.append(f + inside * torch.rand_like(f))
        taught = discrepancy.prepare(teacher)
        before = distillation_loss(discrepancy(student, taught), masks)
        after = distillation_loss(discrepancy(changed, taught), masks)
        assert before == after
        assert distillation_loss(discrepancy(changed, taught), 0 * masks) != after

    def test_no_gradient_from_inside_the_mask(self):
        masks, teacher = box_masks(), levels(1)
        student = [f.requires_grad_() for f in levels(0)]
        discrepancy = Discrepancy(DiscrepancyParams(structure="squared"), CHANNELS)
        distillation_loss(discrepancy(student, discrepancy.prepare(teacher)), masks).backward()
        for f in student:
            inside = plain_daf.resize_mask(masks, f.shape[-1]).bool().expand_as(f)
            assert not f.grad[inside].any()
            assert f.grad[~inside].all()

    def test_all_defective_is_0(self):
        discrepancy = Discrepancy(DiscrepancyParams(structure="squared"), CHANNELS)
        terms = discrepancy(levels(0), discrepancy.prepare(levels(1)))
        assert distillation_loss(terms, torch.ones(2, 1, 96, 96, dtype=torch.float64)) == 0


class TestHardPixelLoss:
    def test_three_normals_for_a_defect_pixel(self):
        losses = torch.tensor([[0.5, 0.9, 0.1, 0.8], [0.2, 0.3, 0.7, 0.6]]).view(1, 1, 2, 4)
        masks = torch.zeros(1, 1, 2, 4)
        masks[0, 0, 0, 0] = 1
        found = hard_pixel_loss(losses, masks)
        assert found.item() == pytest.approx((0.5 + 0.9 + 0.8 + 0.7) / 4)

    def test_fewer_normals_than_three_for_each(self):
        losses = torch.tensor([1.0, 2, 3, 4, 5]).view(1, 1, 1, 5)
        masks = torch.tensor([1.0, 1, 0, 0, 0]).view(1, 1, 1, 5)
        assert hard_pixel_loss(losses, masks) == 3
        assert hard_pixel_loss(losses, torch.ones_like(masks)) == 3

    def test_no_defect_pixel(self):
        losses = torch.rand(2, 1, 4, 4, requires_grad=True)
        found = hard_pixel_loss(losses, torch.zeros(2, 1, 4, 4))
        found.backward()
        assert found == 0
        assert not losses.grad.any()

    def test_gradient_reaches_the_chosen_pixels_only(self):
        losses = torch.arange(12.0).view(1, 1, 3, 4).requires_grad_()
        masks = torch.zeros(1, 1, 3, 4)
        masks[0, 0, 0, 1] = 1
        hard_pixel_loss(losses, masks).backward()
        expected = torch.zeros(12)
        expected[[1, 9, 10, 11]] = 0.25
        assert torch.equal(losses.grad.flatten(), expected)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.01, 0.95))
    def test_by_sorting(self, seed, batch, share):
        generator = torch.Generator().manual_seed(seed)
        losses = torch.rand(batch, 1, 6, 7, generator=generator, dtype=torch.float64)
        masks = (torch.rand(batch, 1, 6, 7, generator=generator) < share).double()
        pairs = list(zip(losses.flatten().tolist(), masks.flatten().tolist(), strict=True))
        defect = [loss for loss, m in pairs if m == 1]
        normal = sorted((loss for loss, m in pairs if m == 0), reverse=True)
        chosen = defect + normal[: 3 * len(defect)]
        expected = sum(chosen) / len(chosen) if chosen else 0
        assert hard_pixel_loss(losses, masks).item() == pytest.approx(expected, abs=1e-12)


class TestSegmentationLoss:
    def test_equals_the_equation(self):
        logits = 3 * torch.randn(
            2, 1, 96, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        for masks in (random_masks(), box_masks()):
            pixels = plain_daf.cross_entropy(torch.sigmoid(logits), masks)
            expected = plain_daf.hard_pixel_mean(pixels, masks)
            torch.testing.assert_close(segmentation_loss(logits, masks), expected)

    def test_by_hand(self):
        logits = torch.tensor([0.0, math.log(3)]).view(1, 1, 1, 2)
        masks = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
        expected = (math.log(2) + math.log(4)) / 2
        assert segmentation_loss(logits, masks).item() == pytest.approx(expected)

    def test_certain_mistakes_are_finite(self):
        logits = torch.tensor([-1e4, 1e4]).view(1, 1, 1, 2)
        found = segmentation_loss(logits, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2))
        assert found == 1e4

    def test_half_precision_logits(self):
        logits = torch.randn(2, 1, 8, 8).bfloat16()
        masks = random_masks(size=8).float()
        assert segmentation_loss(logits, masks) == segmentation_loss(logits.float(), masks)


class TestAuxiliaryLoss:
    def heads(self):
        generator = torch.Generator().manual_seed(0)
        shapes = [(2, 1, s, s) for s in (24, 12, 6)]
        return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]

    def test_sum_over_the_heads(self):
        masks = box_masks()
        expected = 0
        for logits in self.heads():
            probability = F.interpolate(torch.sigmoid(logits), size=(96, 96), mode="bilinear")
            pixels = plain_daf.cross_entropy(probability, masks)
            expected = expected + plain_daf.hard_pixel_mean(pixels, masks)
        torch.testing.assert_close(auxiliary_loss(self.heads(), masks), expected)

    def test_without_heads_it_is_0(self):
        assert auxiliary_loss([], box_masks()) == 0

    def test_autocast_does_not_round_it(self):
        masks = box_masks().float()
        heads = [h.bfloat16() for h in self.heads()]
        expected = auxiliary_loss(heads, masks)
        with torch.autocast("cpu", torch.bfloat16):
            found = auxiliary_loss(heads, masks)
        assert found.dtype == torch.float32
        assert found == expected


class TestCrossEntropy:
    def test_equals_the_formula(self):
        probability = torch.rand(2, 1, 8, 8, dtype=torch.float64)
        masks = random_masks(size=8, share=0.5)
        expected = plain_daf.cross_entropy(probability, masks)
        torch.testing.assert_close(cross_entropy(probability, masks), expected)

    def test_certain_mistakes_are_finite_with_their_gradient(self):
        logits = torch.tensor([-1e4, 1e4, 2.0]).view(1, 1, 1, 3).requires_grad_()
        masks = torch.tensor([1.0, 0, 0]).view(1, 1, 1, 3)
        found = cross_entropy(torch.sigmoid(logits), masks)
        found.sum().backward()
        assert found.isfinite().all()
        assert found[..., :2].min() > 80
        assert logits.grad.isfinite().all()
        assert logits.grad[..., 2].item() == pytest.approx(1 / (1 + math.exp(-2)))

    def test_nan_is_passed_on(self):
        found = cross_entropy(torch.tensor([float("nan"), 0.5]), torch.tensor([1.0, 1.0]))
        assert found.isnan().tolist() == [True, False]
