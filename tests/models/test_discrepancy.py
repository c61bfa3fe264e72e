import pytest
import torch
from torch.nn import functional as F

import plain_daf
from daf_pipelines.models.discrepancy import Discrepancy, TeacherFeatures, level_maps
from daf_pipelines.parameters import DiscrepancyParams

CHANNELS = (8, 16, 32)


def compare(discrepancy, student, teacher):
    return discrepancy(student, discrepancy.prepare(teacher))


class TestDiscrepancy:
    def test_ssim_form_equals_the_equation(self, pyramid):
        student, teacher = pyramid(seed=0), pyramid(seed=1)
        found = compare(
            Discrepancy(DiscrepancyParams(structure="ssim"), CHANNELS), student, teacher
        )
        assert len(found) == 3
        for (structure, cosine), s, t in zip(found, student, teacher, strict=True):
            assert structure.shape == s.shape
            assert cosine.shape == (2, 1, *s.shape[2:])
            expected = plain_daf.discrepancy(s, t)
            torch.testing.assert_close(structure + cosine, expected, atol=1e-10, rtol=0)

    def test_cosine_of_every_position(self, pyramid):
        student, teacher = pyramid(seed=0), pyramid(seed=1)
        (_, found), *_ = compare(Discrepancy(DiscrepancyParams(), CHANNELS), student, teacher)
        for b, i, j in [(0, 0, 0), (1, 5, 7), (1, 23, 23)]:
            s, t = student[0][b, :, i, j].tolist(), teacher[0][b, :, i, j].tolist()
            dot = sum(x * y for x, y in zip(s, t, strict=True))
            length = (sum(x * x for x in s) * sum(y * y for y in t)) ** 0.5
            assert found[b, 0, i, j].item() == pytest.approx(1 - dot / length, abs=1e-12)

    def test_squared_form_needs_no_window(self, pyramid):
        student, teacher = pyramid(size=32, seed=0), pyramid(size=32, seed=1)
        discrepancy = Discrepancy(DiscrepancyParams(structure="squared"), CHANNELS)
        found = compare(discrepancy, student, teacher)
        for (structure, cosine), s, t in zip(found, student, teacher, strict=True):
            torch.testing.assert_close(structure, (s - t) ** 2)
            torch.testing.assert_close(cosine, 1 - plain_daf.cosine(s, t))

    def two_channels(self, **params):
        """Terms and map of one level by hand: s = (3, 4) and t = (4, 3) at a single position."""
        discrepancy = Discrepancy(DiscrepancyParams(**params), (2,))
        student, teacher = (
            torch.tensor(values, requires_grad=values[0] == 3).view(1, 2, 1, 1)
            for values in ([3.0, 4.0], [4.0, 3.0])
        )
        (terms,) = compare(discrepancy, [student], [teacher])
        (found,) = level_maps([terms])
        assert found.requires_grad
        return discrepancy.channels, len(terms), found.flatten().tolist()

    def test_cosine_alone_by_hand(self):
        channels, terms, found = self.two_channels(structure="none")
        assert (channels, terms) == ([1], 1)
        assert found == pytest.approx([1 - 24 / 25])

    def test_structure_alone_by_hand(self):
        channels, terms, found = self.two_channels(structure="squared", cosine=False)
        assert (channels, terms) == ([2], 1)
        assert found == pytest.approx([1, 1])

    def test_both_by_hand(self):
        channels, terms, found = self.two_channels(structure="squared")
        assert (channels, terms) == ([2], 2)
        assert found == pytest.approx([1.04, 1.04])

    def test_ssim_alone_equals_the_equation(self, pyramid):
        student, teacher = pyramid(seed=0), pyramid(seed=1)
        found = compare(Discrepancy(DiscrepancyParams(cosine=False), CHANNELS), student, teacher)
        for (structure,), s, t in zip(found, student, teacher, strict=True):
            torch.testing.assert_close(structure, 1 - plain_daf.ssim(s, t), atol=1e-10, rtol=0)

    @pytest.mark.parametrize("structure", ["ssim", "squared"])
    def test_equal_features_have_none(self, pyramid, structure):
        student = pyramid(size=96)
        discrepancy = Discrepancy(DiscrepancyParams(structure=structure), CHANNELS)
        found = compare(discrepancy, student, student)
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
        expected = compare(discrepancy, student, teacher)
        with torch.autocast("cpu", torch.bfloat16):
            found = compare(discrepancy, student, teacher)
            rounded = compare(discrepancy, [f.bfloat16() for f in student], teacher)
        for terms, others, exact in zip(found, rounded, expected, strict=True):
            for term, other, wanted in zip(terms, others, exact, strict=True):
                assert torch.equal(term, wanted)
                assert other.dtype == torch.float32
                torch.testing.assert_close(other, wanted, atol=0.02, rtol=0)

    @pytest.mark.parametrize("structure", ["ssim", "squared"])
    def test_reference_through_its_tensors_is_the_same(self, pyramid, structure):
        discrepancy = Discrepancy(DiscrepancyParams(structure=structure), CHANNELS)
        student, reference = pyramid(), discrepancy.prepare(pyramid(seed=1))
        again = [TeacherFeatures.of_tensors(level.tensors()) for level in reference]
        expected = discrepancy(student, reference)
        for terms, others in zip(discrepancy(student, again), expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(terms, others, strict=True))

    @pytest.mark.parametrize("structure", ["ssim", "squared"])
    def test_nothing_anywhere_is_finite_with_its_gradient(self, structure):
        discrepancy = Discrepancy(DiscrepancyParams(structure=structure), CHANNELS)
        shapes = [(1, c, 96 // s, 96 // s) for c, s in zip(CHANNELS, (4, 8, 16), strict=True)]
        student = [torch.zeros(shape, requires_grad=True) for shape in shapes]
        terms = compare(discrepancy, student, [torch.zeros(shape) for shape in shapes])
        sum(term.sum() for level in terms for term in level).backward()
        assert all(f.grad.isfinite().all() for f in student)
