from collections.abc import Callable
from pathlib import Path

import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.sources.base import Finding, Row
from daf_pipelines.sources.folder import Folder
from daf_pipelines.sources.mvtec_ad import MVTecAD
from daf_pipelines.sources.table import Table

Writer = Callable[..., Path]
LABELME = '{"imageWidth": 24, "imageHeight": 20, "shapes": []}'


@pytest.fixture
def parts(tmp_path: Path, write_image: Writer) -> Path:
    """A folder `parts` with three good images."""
    for index in range(3):
        write_image(tmp_path / "parts" / "good" / f"{index}.png", index)
    return tmp_path / "parts"


def good(path: str, group: str | None = None, mask: str | None = None) -> Row:
    return Row(path, None, 0, "good", "parts", mask, group)


def bad(path: str, defect_type: str, mask: str | None = None) -> Row:
    return Row(path, None, 1, defect_type, "parts", mask)


def rows(root: Path, category: str = "parts") -> set[Row]:
    listing = Folder().list_images(root, category)
    assert listing.findings == []
    assert len(set(listing.rows)) == len(listing.rows)
    return set(listing.rows)


def findings(root: Path, category: str = "parts") -> list[Finding]:
    return Folder().list_images(root, category).findings


THREE_GOOD = {good(f"good/{index}.png") for index in range(3)}


class TestGoodParts:
    def test_alone_are_enough(self, parts: Path) -> None:
        assert rows(parts) == THREE_GOOD
        assert Folder().default_category(parts) == "parts"

    @pytest.mark.parametrize("name", ["ok", "OK", "normal", "Good"])
    def test_other_names(self, parts: Path, name: str) -> None:
        (parts / "good").rename(parts / name)
        assert rows(parts) == {good(f"{name}/{index}.png") for index in range(3)}

    def test_directly_in_the_root(self, tmp_path: Path, write_image: Writer) -> None:
        write_image(tmp_path / "parts" / "a.png", 0)
        write_image(tmp_path / "parts" / "b.jpg", 1)
        write_image(tmp_path / "parts" / "scratch" / "c.png", 2)
        expected = {good("a.png"), good("b.jpg"), bad("scratch/c.png", "scratch")}
        assert rows(tmp_path / "parts") == expected

    def test_sub_folders_are_groups(self, parts: Path, write_image: Writer) -> None:
        write_image(parts / "good" / "lot1" / "a.png", 10)
        write_image(parts / "good" / "lot2" / "camera1" / "a.png", 11)
        assert rows(parts) == THREE_GOOD | {
            good("good/lot1/a.png", "lot1"),
            good("good/lot2/camera1/a.png", "lot2/camera1"),
        }

    def test_images_beside_the_folders_are_left_out_with_a_warning(
        self, parts: Path, write_image: Writer
    ) -> None:
        write_image(parts / "a.png", 10)
        listing = Folder().list_images(parts, "parts")
        assert set(listing.rows) == THREE_GOOD
        (finding,) = listing.findings
        assert (finding.severity, finding.check, finding.file) == (
            "warning",
            "stray_image",
            "a.png",
        )

    @pytest.mark.parametrize(("header", "told"), [("Path,label", True), ("name,score", False)])
    def test_a_table_beside_the_folders_is_told(self, parts: Path, header: str, told: bool) -> None:
        (parts / "parts.csv").write_text(f"{header}\ngood/a.png,scratch\n", encoding="utf-8")
        found = [(f.severity, f.check, f.file) for f in findings(parts)]
        assert found == [("warning", "unread_table", "parts.csv")] * told

    def test_what_only_looks_like_a_table(self, parts: Path) -> None:
        (parts / "folder.csv").mkdir()
        (parts / "open.csv").write_text('path,"' + "x" * 200_000, encoding="utf-8")
        (parts / "gone.csv").symlink_to(parts / "nowhere.csv")
        (parts / ".hidden.csv").write_text("path", encoding="utf-8")
        assert findings(parts) == []


class TestDefects:
    def test_types_are_paths(self, parts: Path, write_image: Writer) -> None:
        for name in ("scratch/a.png", "scratch/deep/a.png", "scratch/deep/long/a.png"):
            write_image(parts / name, len(name))
        assert rows(parts) == THREE_GOOD | {
            bad("scratch/a.png", "scratch"),
            bad("scratch/deep/a.png", "scratch/deep"),
            bad("scratch/deep/long/a.png", "scratch/deep/long"),
        }

    def test_good_parts_among_defects_are_ambiguous(self, parts: Path, write_image: Writer) -> None:
        write_image(parts / "scratch" / "OK" / "a.png", 10)
        (finding,) = findings(parts)
        assert (finding.severity, finding.file) == ("error", "scratch/OK/a.png")
        assert "defect type 'scratch/OK', which names good parts" in finding.finding

    def test_hidden_folders_and_other_files_do_not_matter(
        self, parts: Path, write_image: Writer
    ) -> None:
        write_image(parts / ".thumbnails" / "a.png", 10)
        (parts / "scratch").mkdir()
        (parts / "scratch" / "notes.txt").touch()
        assert rows(parts) == THREE_GOOD


class TestMasks:
    @pytest.mark.parametrize(
        "mask",
        [
            "scratch/deep/a_mask.png",
            "scratch/deep/a_mask.tif",
            "masks/scratch/deep/a.png",
            "masks/scratch/deep/a_mask.bmp",
            "ground_truth/scratch/deep/a.png",
            "Masks/scratch/deep/a.png",
        ],
    )
    def test_images(self, parts: Path, write_image: Writer, write_mask: Writer, mask: str) -> None:
        write_image(parts / "scratch" / "deep" / "a.jpg", 10)
        write_mask(parts / mask)
        assert rows(parts) == THREE_GOOD | {bad("scratch/deep/a.jpg", "scratch/deep", mask)}

    @pytest.mark.parametrize("mask", ["scratch/a.json", "masks/scratch/a.json"])
    def test_labelme(self, parts: Path, write_image: Writer, mask: str) -> None:
        write_image(parts / "scratch" / "a.png", 10)
        (parts / mask).parent.mkdir(parents=True, exist_ok=True)
        (parts / mask).write_text(LABELME)
        assert rows(parts) == THREE_GOOD | {bad("scratch/a.png", "scratch", mask)}

    def test_other_json_files_are_no_masks(self, parts: Path, write_image: Writer) -> None:
        write_image(parts / "scratch" / "a.png", 10)
        (parts / "scratch" / "a.json").write_text('{"exposure": 0.02}')
        (parts / "good" / "0.json").write_text("[]")
        (parts / "camera.json").write_text("{}")
        assert rows(parts) == THREE_GOOD | {bad("scratch/a.png", "scratch")}

    def test_of_good_parts(self, parts: Path, write_image: Writer, write_mask: Writer) -> None:
        write_image(parts / "good" / "lot1" / "a.b.png", 10)
        write_mask(parts / "masks" / "good" / "lot1" / "a.b_mask.png")
        expected = good("good/lot1/a.b.png", "lot1", "masks/good/lot1/a.b_mask.png")
        assert rows(parts) == THREE_GOOD | {expected}

    def test_of_parts_directly_in_the_root(
        self, tmp_path: Path, write_image: Writer, write_mask: Writer
    ) -> None:
        for name in ("a.png", "b.png"):
            write_image(tmp_path / "parts" / name, 0)
        write_mask(tmp_path / "parts" / "a_mask.png")
        write_mask(tmp_path / "parts" / "masks" / "b.png")
        expected = {good("a.png", mask="a_mask.png"), good("b.png", mask="masks/b.png")}
        assert rows(tmp_path / "parts") == expected

    def test_without_images(self, parts: Path, write_mask: Writer) -> None:
        names = ["masks/good/9.png", "masks/dent/a_mask.png", "good/7_mask.png"]
        for name in names:
            write_mask(parts / name)
        (parts / "good" / "8.json").write_text(LABELME)
        found = {finding.file: finding for finding in findings(parts)}
        assert set(found) == {*names, "good/8.json"}
        assert {(f.severity, f.check) for f in found.values()} == {("error", "mask_without_image")}
        assert "expected in dent" in found["masks/dent/a_mask.png"].finding
        assert "expected in good" in found["good/7_mask.png"].finding

    def test_several_of_one_image(
        self, parts: Path, write_image: Writer, write_mask: Writer
    ) -> None:
        write_image(parts / "scratch" / "a.png", 10)
        write_mask(parts / "scratch" / "a_mask.png")
        write_mask(parts / "masks" / "scratch" / "a.png")
        (finding,) = findings(parts)
        assert (finding.severity, finding.file) == ("error", "scratch/a.png")
        assert "masks/scratch/a.png, scratch/a_mask.png" in finding.finding


class TestCategories:
    @pytest.fixture
    def several(self, tmp_path: Path, write_image: Writer, write_mask: Writer) -> Path:
        """Categories bolt and nut, the latter with a defect and its mask."""
        root = tmp_path / "several"
        write_image(root / "bolt" / "good" / "a.png", 0)
        write_image(root / "nut" / "OK" / "lot1" / "a.png", 1)
        write_image(root / "nut" / "dent" / "a.png", 2)
        write_mask(root / "nut" / "masks" / "dent" / "a.png")
        (root / "docs").mkdir()
        return root

    def test_paths_are_relative_to_the_root(self, several: Path) -> None:
        assert Folder().categories(several) == ["bolt", "nut"]
        assert rows(several, "nut") == {
            Row("nut/OK/lot1/a.png", None, 0, "good", "nut", None, "lot1"),
            Row("nut/dent/a.png", None, 1, "dent", "nut", "nut/masks/dent/a.png"),
        }

    def test_root_may_be_the_category(self, several: Path) -> None:
        assert Folder().default_category(several / "nut") == "nut"
        paths = {row.path for row in rows(several / "nut", "nut")}
        assert paths == {"OK/lot1/a.png", "dent/a.png"}

    def test_images_beside_them_are_left_out_with_a_warning(
        self, several: Path, write_image: Writer
    ) -> None:
        write_image(several / "overview.png", 10)
        (finding,) = findings(several, "bolt")
        assert (finding.severity, finding.file) == ("warning", "overview.png")

    def test_several_are_listed_and_the_nearest_is_suggested(self, several: Path) -> None:
        with pytest.raises(ParameterError, match=r"2 categories.*bolt, nut"):
            Folder().default_category(several)
        with pytest.raises(ParameterError, match=r"'blot'.*mean 'bolt'"):
            Folder().list_images(several, "blot")

    def test_folder_of_masks_is_none(self, several: Path, write_mask: Writer) -> None:
        write_mask(several / "ground_truth" / "good" / "a.png")
        assert Folder().categories(several) == ["bolt", "nut"]


class TestRecognises:
    def test_good_parts(self, parts: Path, tmp_path: Path) -> None:
        assert Folder().recognises(parts)
        assert Folder().recognises(tmp_path)
        assert Folder().recognises(parts / "good")

    def test_nothing_else(self, tmp_path: Path, write_image: Writer) -> None:
        write_image(tmp_path / "photos" / "a.png", 0)
        (tmp_path / ".a.png").touch()
        (tmp_path / "table.csv").touch()
        assert not Folder().recognises(tmp_path)
        assert not Folder().recognises(tmp_path / "table.csv")
        assert not Folder().recognises(tmp_path / "nowhere")

    def test_others_do_not_recognise_it(self, parts: Path) -> None:
        assert not MVTecAD().recognises(parts)
        assert not Table().recognises(parts)


class TestNoImages:
    def test_message_shows_the_tree(self, tmp_path: Path) -> None:
        (tmp_path / "letters").mkdir()
        with pytest.raises(DataError) as caught:
            Folder().categories(tmp_path)
        message = str(caught.value)
        assert f"good parts in {tmp_path}; found letters/ (empty). Correct dataset.root" in message
        for line in ("good/*.png", "<defect type>/*.png", "masks/<defect type>/<name>.png"):
            assert f"\n  {line}" in message

    def test_empty_folder_of_good_parts(self, tmp_path: Path) -> None:
        (tmp_path / "good").mkdir()
        with pytest.raises(DataError, match=r"found good/ \(empty\)\. Correct dataset\.root"):
            Folder().list_images(tmp_path, tmp_path.name)
