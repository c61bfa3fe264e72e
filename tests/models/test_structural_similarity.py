import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import plain_daf
from daf_pipelines.errors import ParameterError
from daf_pipelines.models.structural_similarity import (
    Moments,
    check_ssim_size,
    gaussian_blur,
    gaussian_matrix,
    ssim,
)

CPU = torch.device("cpu")


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

    @settings(max_examples=20, deadline=None)
    @given(st.integers(6, 20), st.integers(6, 20), st.integers(0, 99), st.booleans())
    def test_gradient_is_that_of_the_equation(self, height, width, seed, rectified):
        s, t = (
            features(2, 3, height, width, seed=seed),
            features(2, 3, height, width, seed=seed + 1),
        )
        if not rectified:
            s, t = s + 0.1, t + 0.1
        s.requires_grad_()
        weights = torch.randn(s.shape, generator=torch.Generator().manual_seed(seed)).double()
        (found,) = torch.autograd.grad((weights * ssim(s, t)).sum(), s)
        (expected,) = torch.autograd.grad((weights * plain_daf.ssim(s, t)).sum(), s)
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)

    def test_gradient_of_negative_features(self):
        s = features(1, 2, 7, 7) - features(1, 2, 7, 7, seed=2) - 1
        t = features(1, 2, 7, 7, seed=1) - 0.5
        assert torch.autograd.gradcheck(lambda x: ssim(x, t), (s.requires_grad_(),))

    def test_known_moments_change_nothing(self):
        s, t = features(2, 4, 12, 12), features(2, 4, 12, 12, seed=1)
        assert torch.equal(ssim(s, t, Moments.of(t)), ssim(s, t))

    def test_with_and_without_gradient_it_is_the_same(self):
        s, t = features(2, 4, 12, 12), features(2, 4, 12, 12, seed=1)
        assert torch.equal(ssim(s.clone().requires_grad_(), t).detach(), ssim(s, t))

    def test_the_teacher_gets_no_gradient(self):
        s, t = features(1, 2, 8, 8), features(1, 2, 8, 8, seed=1).requires_grad_()
        assert not ssim(s, t).requires_grad
        ssim(s.requires_grad_(), t).sum().backward()
        assert t.grad is None

    def test_gradient_under_autocast_is_not_rounded(self):
        s = features(1, 2, 16, 16, dtype=torch.float32).requires_grad_()
        t = features(1, 2, 16, 16, seed=1, dtype=torch.float32)
        (expected,) = torch.autograd.grad(ssim(s, t).sum(), s)
        similarity = ssim(s, t).sum()
        with torch.autocast("cpu", torch.bfloat16):
            (found,) = torch.autograd.grad(similarity, s)
        assert torch.equal(found, expected)

    def test_compilers_trace_it(self):
        s, t = (features(1, 2, 9, 9, seed=k, dtype=torch.float32) for k in (0, 1))
        compiled = torch.compile(ssim, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(s, t), ssim(s, t))
        s.requires_grad_()
        (found,) = torch.autograd.grad(compiled(s, t).sum(), s)
        (expected,) = torch.autograd.grad(ssim(s, t).sum(), s)
        torch.testing.assert_close(found, expected)


class TestMoments:
    def test_by_the_window(self):
        t = features(2, 3, 9, 11)
        scaled = t / t.amax(dim=(2, 3), keepdim=True)
        moments = Moments.of(t)
        torch.testing.assert_close(moments.scale * t, scaled, atol=1e-9, rtol=0)
        torch.testing.assert_close(moments.mean, plain_daf.smooth(scaled), atol=1e-9, rtol=0)
        variance = plain_daf.smooth(scaled**2) - plain_daf.smooth(scaled) ** 2
        torch.testing.assert_close(moments.variance, variance, atol=1e-9, rtol=0)
