import torch
from kornia.color import hsv_to_rgb, rgb_to_hsv

from daf_pipelines.synthesis.colour import shift_hsv


class TestShiftHsv:
    def test_shift_by_a_full_turn_and_nothing_is_the_identity(self):
        images = torch.rand(1, 3, 20, 20)
        for turns in (0.0, 1.0, -1.0):
            shifted = shift_hsv(images, torch.tensor(turns), torch.tensor(0.0))
            torch.testing.assert_close(shifted, images, atol=1e-5, rtol=0)

    def test_equals_kornia_through_hsv(self):
        images = torch.rand(2, 3, 20, 21)
        hue, saturation = torch.tensor([0.15, -0.3]), torch.tensor([-0.1, 0.2])
        hsv = rgb_to_hsv(images)
        hsv[:, 0] = (hsv[:, 0] + 2 * torch.pi * hue[:, None, None]) % (2 * torch.pi)
        hsv[:, 1] = (hsv[:, 1] + saturation[:, None, None]).clamp(0, 1)
        shifted = shift_hsv(images, *(v[:, None, None, None] for v in (hue, saturation)))
        torch.testing.assert_close(shifted, hsv_to_rgb(hsv), atol=1e-5, rtol=0)
