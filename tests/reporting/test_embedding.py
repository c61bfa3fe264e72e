import io

import numpy as np
from html_page import decoded
from PIL import Image

from daf_pipelines.reporting import embedding as module
from daf_pipelines.reporting.dataset_overview import MAX_TYPES, Sample
from daf_pipelines.reporting.figures import OUTLINE


def bright_pixels(image):
    return (np.array(image.convert("RGBA")) == [*bytes.fromhex(OUTLINE[1:]), 255]).all(axis=-1)


class TestSizeOfThePage:
    def noise(self, side):
        rng = np.random.default_rng(0)
        picture = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        return Sample("a.png", "test", "dent", picture, picture[..., 0] // 128)

    def test_the_largest_number_of_the_worst_pictures(self):
        smallest = module._embedded(self.noise(300), module.SIDES[-1])
        bytes_each = len(smallest["picture"]) + len(smallest["outline"])
        assert MAX_TYPES * 8 * bytes_each < 4_500_000

    def test_pictures_shrink_until_they_fit(self, monkeypatch):
        samples = [self.noise(300)] * 4
        assert self.side(samples) == 256
        picture = module._embedded(samples[0], 128)
        needed = 4 * (len(picture["picture"]) + len(picture["outline"]))
        for limit, side in ((needed, 128), (needed - 1, 96), (0, 96)):
            monkeypatch.setattr(module, "PICTURE_BYTES", limit)
            assert self.side(samples) == side

    def side(self, samples):
        (sheet,) = module.embed({"dent": samples}).values()
        assert len(sheet) == 4
        return decoded(sheet[0]["picture"]).width


class TestOutline:
    def drawn(self, mask):
        image = Image.open(io.BytesIO(module._outline(mask, width=1)))
        return bright_pixels(image), np.array(image.convert("RGBA"))[..., 3]

    def test_around_the_defect(self):
        mask = np.zeros((9, 11), dtype=np.uint8)
        mask[4, 5] = 1
        bright, opacity = self.drawn(mask)
        assert np.argwhere(bright).tolist() == [[3, 5], [4, 4], [4, 6], [5, 5]]
        assert opacity[4, 5] == 0
        assert opacity[2, 5] == opacity[4, 3] == 140
        assert opacity[0].max() == 0

    def test_inside_along_the_border(self):
        bright, _ = self.drawn(np.ones((5, 6), dtype=np.uint8))
        frame = np.ones((5, 6), dtype=bool)
        frame[1:-1, 1:-1] = False
        np.testing.assert_array_equal(bright, frame)

    def test_wider_on_larger_pictures(self):
        mask = np.zeros((256, 256), dtype=np.uint8)
        mask[100:150, 100:150] = 1
        sample = Sample("a.png", "test", "dent", np.zeros((256, 256, 3), np.uint8), mask)
        for thin, edges in ((False, [98, 99, 150, 151]), (True, [99, 150])):
            ((picture,),) = module.embed({"dent": [sample]}, thin=thin).values()
            assert np.flatnonzero(bright_pixels(decoded(picture["outline"]))[120]).tolist() == edges
