"""The layout was checked against the original files, which the tests of real data read."""

import random
from collections import Counter
from pathlib import Path

import layouts
import numpy as np
import pytest
from PIL import Image

from daf_pipelines.sources.base import Row
from daf_pipelines.sources.images import read_mask
from daf_pipelines.sources.magnetic_tile import MagneticTile, group_tiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.magnetic_tile(tmp_path / "magnetic_tile")
    return tmp_path / "magnetic_tile"


def test_rows(root: Path) -> None:
    def row(stem: str, label: int, kind: str, group: str) -> Row:
        return Row(f"{stem}.jpg", None, label, kind, "tile", f"{stem}.png", group)

    free = [(exposure, 100 * tile + 7 * exposure) for tile in (1, 2) for exposure in range(1, 7)]
    listing = MagneticTile().list_images(root, "tile")
    assert listing.findings == []
    assert set(listing.rows) == {
        *(
            row(f"MT_Free/Imgs/exp{exposure}_num_{number}", 0, "good", f"tile_{number // 100}07")
            for exposure, number in free[:-2]
        ),
        row("MT_Blowhole/Imgs/exp5_num_235", 1, "blowhole", "tile_207"),
        row("MT_Blowhole/Imgs/exp6_num_242", 1, "blowhole", "tile_207"),
    }


def test_findings(root: Path) -> None:
    (root / "MT_Free" / "Imgs" / "exp1_num_107.png").unlink()
    (root / "MT_Blowhole" / "Imgs" / "exp6_num_242.jpg").unlink()
    layouts.write_image(root / "MT_Free" / "Imgs" / "mine.jpg", 0)
    findings = MagneticTile().list_images(root, "tile").findings
    assert [(finding.check, finding.file) for finding in findings] == [
        ("mask_without_image", "MT_Blowhole/Imgs/exp6_num_242.png"),
        ("image_without_mask", "MT_Free/Imgs/exp1_num_107.jpg"),
        ("strange_name", "MT_Free/Imgs/mine.jpg"),
    ]


class TestGroupTiles:
    def groups(self, names: list[str]) -> list[set[str]]:
        """The groups' members, whatever the groups are called."""
        found = group_tiles(random.Random(0).sample(names, len(names)))
        return [{n for n in names if found[n] == group} for group in dict.fromkeys(found.values())]

    def test_a_tile_begins_after_the_sixth_exposure(self) -> None:
        first = [f"exp{exposure}_num_{90 + exposure}" for exposure in range(1, 7)]
        second = [f"exp{exposure}_num_{100 + exposure}" for exposure in range(7)]
        assert group_tiles([*second, *first])["exp2_num_102"] == "tile_100"
        assert sorted(map(sorted, self.groups(first + second))) == [sorted(second), sorted(first)]

    def test_numbers_are_compared_as_numbers(self) -> None:
        tile = [f"exp{exposure}_num_{96 + exposure}" for exposure in range(1, 7)]
        assert set(group_tiles(tile).values()) == {"tile_97"}

    def test_interleaved_tiles_stay_together(self) -> None:
        """As exp1_num_304290 to exp6_num_304361, of two tiles, in the real data."""
        exposures = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
        names = [f"exp{exposure}_num_{index}" for index, exposure in enumerate(exposures)]
        assert self.groups(names) == [set(names)]

    def test_tile_without_its_first_exposures_joins_the_one_before(self) -> None:
        names = ["exp5_num_1", "exp6_num_2", "exp3_num_3", "exp6_num_4", "exp1_num_5"]
        assert sorted(map(len, self.groups(names))) == [1, 4]


class TestRealData:
    def test_counts(self, test_datasets: Path) -> None:
        listing = MagneticTile().list_images(test_datasets / "magnetic_tile", "tile")
        assert listing.findings == []
        assert Counter(row.defect_type for row in listing.rows) == {
            "good": 952,
            "blowhole": 115,
            "break": 85,
            "crack": 57,
            "fray": 32,
            "uneven": 103,
        }
        sizes = Counter(Counter(row.group for row in listing.rows).values())
        assert (sum(sizes.values()), sizes[6], max(sizes)) == (210, 193, 16)

    def test_groups_hold_the_images_that_look_alike(self, test_datasets: Path) -> None:
        root = test_datasets / "magnetic_tile"
        rows = MagneticTile().list_images(root, "tile").rows
        looks = np.stack([_thumbnail(root / row.path) for row in rows])
        similarity = looks @ looks.T
        np.fill_diagonal(similarity, -1)
        groups = np.array([row.group for row in rows])
        assert (groups == groups[similarity.argmax(axis=1)]).mean() > 0.9

    def test_four_masks_of_uneven_tiles_are_empty(self, test_datasets: Path) -> None:
        root = test_datasets / "magnetic_tile"
        rows = [r for r in MagneticTile().list_images(root, "tile").rows if "Uneven" in r.path]
        empty = {Path(r.path).stem for r in rows if not read_mask(root / str(r.mask_path)).any()}
        assert {stem.split("_num_")[1] for stem in empty} == {"45042", "45057", "124690", "352527"}


def _thumbnail(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.draft("L", (48, 48))
        pixels = np.asarray(image.convert("L").resize((48, 48)), dtype=float).ravel()
    return (pixels - pixels.mean()) / np.linalg.norm(pixels - pixels.mean())
