import numpy as np
import torch

from daf_pipelines.synthesis.blending import hard_paste, opacity_blending


def test_opacity_is_one_minus_beta_between_a_fifth_and_one():
    draws = [np.random.default_rng([5, i]) for i in range(400)]
    images, contents = torch.zeros(400, 3, 2, 2), torch.ones(400, 3, 2, 2)
    masks = torch.ones(400, 1, 2, 2, dtype=torch.bool)
    opacity = opacity_blending(images, contents, masks, draws)
    assert (opacity == opacity[:, :1, :1, :1]).all()
    values = opacity[:, 0, 0, 0].numpy()
    assert values.min() > 0.2
    assert values.max() <= 1
    # Uniform: its quantiles are those of 1 - U(0, 0.8).
    np.testing.assert_allclose(np.quantile(values, [0.01, 0.5, 0.99]), [0.21, 0.6, 0.99], atol=0.05)


def test_opacity_mixes_image_and_content():
    image, content = torch.full((1, 1, 2, 2), 0.3), torch.full((1, 1, 2, 2), 0.7)
    beta = np.random.default_rng(1).uniform(0, 0.8)
    mixed = opacity_blending(image, content, image > 0, [np.random.default_rng(1)])
    expected = torch.full((1, 1, 2, 2), beta * 0.3 + (1 - beta) * 0.7)
    torch.testing.assert_close(mixed, expected)


def test_hard_paste_is_the_content():
    image, content = torch.zeros(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    assert torch.equal(hard_paste(image, content, image > 0, []), content)
