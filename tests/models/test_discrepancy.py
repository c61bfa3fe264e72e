import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import plain_daf
from daf_pipelines.errors import ParameterError
from daf_pipelines.models.discrepancy import (
    Discrepancy,
    check_ssim_size,
    gaussian_blur,
    gaussian_matrix,
    ssim,
)
from daf_pipelines.parameters import DiscrepancyParams

CPU = torch.device("cpu")
CHANNELS = (8, 16, 32)


def features(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).relu()


class TestGaussianMatrix:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(6, 70), st.integers(6, 70), st.integers(0, 99))
    def test_two_products_equal_a_padded_convolution(self, height, width, seed):
        x = features(2, 3, height, width, seed=seed)
        torch.testing.assert_close(gaussian_blur(x), plain_daf.smooth(x), atol=1e-14, rtol=0)

    def test_rows_are_means(self):
        rows = gaussian_matrix(16, CPU, torch.float64).sum(dim=1)
        torch.testing.assert_close(rows, torch.ones_like(rows))

    @pytest.mark.parametrize("size", [1, 5])
    def test_too_small_maps(self, size):
        with pytest.raises(ParameterError, match=rf"at least 6 .* got {size}\..*image_size to 96"):
            gaussian_matrix(size, CPU, torch.float32)

    def test_first_asked_for_while_scoring_it_still_serves_training(self):
        gaussian_matrix.cache_clear()
        x = features(1, 2, 9, 9)
        with torch.inference_mode():
            ssim(x, x)
        x.requires_grad_()
        ssim(x, features(1, 2, 9, 9, seed=1)).sum().backward()
        assert x.grad is not None


class TestCheckSSIMSize:
    def test_smallest(self):
        check_ssim_size(6)
        with pytest.raises(ParameterError, match="structure: squared"):
            check_ssim_size(5)


class TestSSIM:
    @pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 5, 24, 17), (3, 1, 32, 32)])
    def test_equals_the_equation(self, shape):
        s, t = features(*shape), features(*shape, seed=1)
        torch.testing.assert_close(ssim(s, t), plain_daf.ssim(s, t), atol=1e-10, rtol=0)

    def test_single_precision(self):
        s, t = features(2, 8, 24, 24), features(2, 8, 24, 24, seed=1)
        found = ssim(s.float(), t.float())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), plain_daf.ssim(s, t), atol=2e-4, rtol=0)

    def test_equal_features_are_1_and_all_lie_within_1(self):
        s, t = features(2, 4, 12, 12), features(2, 4, 12, 12, seed=1)
        torch.testing.assert_close(ssim(s, s), torch.ones_like(s))
        assert ssim(s, t).abs().max() <= 1
        assert ssim(s, t).std() > 0.01

    def test_scale_of_a_channel_of_an_image_does_not_matter(self):
        s, t = features(2, 4, 12, 12), features(2, 4, 12, 12, seed=1)
        scale = 0.1 + 5 * torch.rand(2, 4, 1, 1, dtype=torch.float64)
        torch.testing.assert_close(ssim(s * scale, t), ssim(s, t), atol=1e-8, rtol=0)

    def test_empty_and_negative_channels_are_finite(self):
        s, t = features(1, 2, 8, 8) - 2, features(1, 2, 8, 8, seed=1)
        s[:, 1] = 0
        found = ssim(s, t)
        assert found.isfinite().all()
        assert found.abs().max() <= 1 + 1e-12

    def test_gradient(self):
        s = features(1, 2, 6, 6).requires_grad_()
        t = features(1, 2, 6, 6, seed=1)
        assert torch.autograd.gradcheck(lambda x: ssim(x, t), (s,))


class TestDiscrepancy:
    def test_ssim_form_equals_the_equation(self, pyramid):
        student, teacher = pyramid(seed=0), pyramid(seed=1)
        found = Discrepancy(DiscrepancyParams(structure="ssim"), CHANNELS)(student, teacher)
        assert len(found) == 3
        for (structure, cosine), s, t in zip(found, student, teacher, strict=True):
            assert structure.shape == s.shape
            assert cosine.shape == (2, 1, *s.shape[2:])
            expected = plain_daf.discrepancy(s, t)
            torch.testing.assert_close(structure + cosine, expected, atol=1e-10, rtol=0)

    def test_cosine_of_every_position(self, pyramid):
        student, teacher = pyramid(seed=0), pyramid(seed=1)
        (_, found), *_ = Discrepancy(DiscrepancyParams(), CHANNELS)(student, teacher)
        for b, i, j in [(0, 0, 0), (1, 5, 7), (1, 23, 23)]:
            s, t = student[0][b, :, i, j].tolist(), teacher[0][b, :, i, j].tolist()
            dot = sum(x * y for x, y in zip(s, t, strict=True))
            length = (sum(x * x for x in s) * sum(y * y for y in t)) ** 0.5
            assert found[b, 0, i, j].item() == pytest.approx(1 - dot / length, abs=1e-12)

    def test_squared_form_needs_no_window(self, pyramid):
        student, teacher = pyramid(size=32, seed=0), pyramid(size=32, seed=1)
        found = Discrepancy(DiscrepancyParams(structure="squared"), CHANNELS)(student, teacher)
        for (structure, cosine), s, t in zip(found, student, teacher, strict=True):
            torch.testing.assert_close(structure, (s - t) ** 2)
            torch.testing.assert_close(cosine, 1 - plain_daf.cosine(s, t))

    @pytest.mark.parametrize("structure", ["ssim", "squared"])
    def test_equal_features_have_none(self, pyramid, structure):
        student = pyramid(size=96)
        found = Discrepancy(DiscrepancyParams(structure=structure), CHANNELS)(student, student)
        for terms in found:
            for term in terms:
                torch.testing.assert_close(term, torch.zeros_like(term))

    def test_channel_normalisation(self, pyramid):
        discrepancy = Discrepancy(DiscrepancyParams(normalise="channel"), CHANNELS).double()
        teacher = pyramid(seed=1)
        means = [torch.linspace(-1, 1, c, dtype=torch.float64) for c in CHANNELS]
        stds = [torch.linspace(0.5, 2, c, dtype=torch.float64) for c in CHANNELS]
        untouched = discrepancy.normalise(teacher)
        discrepancy.fit_normalisation(means, stds)
        found = discrepancy.normalise(teacher)
        for before, after, f, mean, std in zip(untouched, found, teacher, means, stds, strict=True):
            torch.testing.assert_close(before, f)
            for channel in range(f.shape[1]):
                expected = (f[:, channel] - mean[channel]) / std[channel]
                torch.testing.assert_close(after[:, channel], expected)

    def test_without_normalisation_statistics_are_not_applied(self, pyramid):
        discrepancy = Discrepancy(DiscrepancyParams(normalise="none"), CHANNELS)
        discrepancy.fit_normalisation(
            [torch.ones(c) for c in CHANNELS], [torch.ones(c) for c in CHANNELS]
        )
        for found, given_ in zip(discrepancy.normalise(pyramid()), pyramid(), strict=True):
            assert torch.equal(found, given_)

    def test_statistics_travel_with_the_state(self):
        saved = Discrepancy(DiscrepancyParams(normalise="channel"), CHANNELS)
        saved.fit_normalisation(
            [torch.full((c,), 2.0) for c in CHANNELS], [torch.full((c,), 4.0) for c in CHANNELS]
        )
        loaded = Discrepancy(DiscrepancyParams(normalise="channel"), CHANNELS)
        loaded.load_state_dict(saved.state_dict())
        assert loaded.normalise([torch.full((1, c, 2, 2), 6.0) for c in CHANNELS])[2].unique() == 1

    def test_autocast_does_not_round_it(self, pyramid):
        # 1 - SSIM subtracts nearly equal numbers: in bfloat16 it would even leave its range.
        student = [F.avg_pool2d(f, 3, 1, 1) for f in pyramid(dtype=torch.float32)]
        teacher = [f + 0.05 * torch.rand_like(f) for f in student]
        discrepancy = Discrepancy(DiscrepancyParams(), CHANNELS)
        expected = discrepancy(student, teacher)
        with torch.autocast("cpu", torch.bfloat16):
            found = discrepancy(student, teacher)
            rounded = discrepancy([f.bfloat16() for f in student], teacher)
        for terms, others, exact in zip(found, rounded, expected, strict=True):
            for term, other, wanted in zip(terms, others, exact, strict=True):
                assert torch.equal(term, wanted)
                assert other.dtype == torch.float32
                torch.testing.assert_close(other, wanted, atol=0.02, rtol=0)
