import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources import checks
from daf_pipelines.sources.base import Finding, Row
from daf_pipelines.sources.checks import (
    check_contents,
    check_groups,
    check_label_leaks,
    check_likeness,
    check_masks,
    check_names,
    check_near_duplicates,
    check_normals,
    check_tree,
    findings_table,
)
from daf_pipelines.sources.manifest import make_manifest, read_dataset


def found(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    return [(f.severity, f.check, f.file) for f in findings]


def rows(*paths: str, mask: str | None = None) -> list[Row]:
    return [Row(path, "train", 0, "good", "c", mask) for path in paths]


class TestNames:
    def test_ordinary_names(self, tmp_path: Path) -> None:
        assert check_names(rows("good/1.png", "good/2.png"), tmp_path) == []

    @pytest.mark.parametrize("path", ["../1.png", "good/../../1.png", "/etc/passwd", "C:/1.png"])
    def test_entries_that_leave_the_root(self, tmp_path: Path, path: str) -> None:
        assert found(check_names(rows("good/1.png", path), tmp_path)) == [
            ("error", "outside_root", path)
        ]

    def test_masks_that_leave_the_root(self, tmp_path: Path) -> None:
        findings = check_names(rows("1.png", mask="../1_mask.png"), tmp_path)
        assert found(findings) == [("error", "outside_root", "../1_mask.png")]

    def test_links(self, tmp_path: Path) -> None:
        root, outside = tmp_path / "root", tmp_path / "outside"
        (root / "good").mkdir(parents=True)
        outside.mkdir()
        for folder in (root / "good", outside):
            (folder / "1.png").touch()
        (root / "good/inside.png").symlink_to(root / "good/1.png")
        (root / "good/outside.png").symlink_to(outside / "1.png")
        (root / "linked").symlink_to(outside)
        names = ["good/1.png", "good/inside.png", "good/outside.png", "linked/1.png"]
        assert found(check_names(rows(*names), root)) == [
            ("error", "outside_root", "good/outside.png"),
            ("error", "outside_root", "linked/1.png"),
        ]

    def test_root_that_is_a_link_itself(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real/1.png").touch()
        (tmp_path / "root").symlink_to(tmp_path / "real")
        assert check_names(rows("1.png"), tmp_path / "root") == []

    @pytest.mark.parametrize(
        ("one", "other"),
        [("a/X.png", "a/x.PNG"), ("A/x.png", "a/x.png"), ("\u00e9.png", "e\u0301.png")],
    )
    def test_names_that_collide_elsewhere(self, tmp_path: Path, one: str, other: str) -> None:
        findings = check_names(rows(one, other), tmp_path)
        assert ("warning", "case_collision") in [(f.severity, f.check) for f in findings]

    def test_long_names(self, tmp_path: Path) -> None:
        long, deep = f"{'ü' * 130}.png", "/".join(["folder"] * 40) + "/1.png"
        findings = check_names(rows(long, deep, "1.png"), tmp_path)
        assert {f.file for f in findings if f.check == "long_name"} == {long, deep}

    def test_names_beyond_ascii_are_one_finding(self, tmp_path: Path) -> None:
        findings = check_names(rows("ä.png", "部品.png", "1.png"), tmp_path)
        assert found(findings) == [("warning", "non_ascii_name", "ä.png")]
        assert "2 names" in findings[0].finding

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.png")
        (finding,) = check_names(rows(name), tmp_path)
        assert (finding.check, finding.severity) == ("undecodable_name", "error")
        assert findings_table([finding])["file"].tolist() == ["caf\\udce9.png"]

    def test_fifty_thousand_names_resolve_their_folders_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []
        resolve = Path.resolve
        monkeypatch.setattr(Path, "resolve", lambda p, **k: calls.append(p) or resolve(p, **k))
        assert check_names(rows(*(f"good/{i}.png" for i in range(50_000))), tmp_path) == []
        assert len(calls) < 10


def records(*rows: dict[str, Any]) -> pd.DataFrame:
    """What reading has brought: train normals of one camera, unless a row says otherwise."""
    usual = {
        "split": "train",
        "label": 0,
        "group": None,
        "mask_path": None,
        "mask_coverage": float("nan"),
        "width": 64,
        "height": 48,
        "mode": "L",
        "perceptual_hash": "0" * 64,
        "date": 1.7e9,
    }
    table = pd.DataFrame(
        [{"path": f"{i:03}.png", "pixel_hash": f"p{i}", **usual, **r} for i, r in enumerate(rows)]
    )
    return table.astype({"label": "Int64", "mask_path": "str", "group": "str"})


TEST, DEFECT = {"split": "test"}, {"split": "test", "label": 1}


class TestNormals:
    @pytest.mark.parametrize(
        ("count", "expected"),
        [
            (0, ["error"]),
            (1, ["error"]),
            (2, ["warning"]),
            (19, ["warning"]),
            (20, []),
        ],
    )
    def test_too_few(self, count: int, expected: list[str]) -> None:
        splits = [{"split": "calibration" if i % 10 == 1 else "train"} for i in range(count)]
        findings = check_normals(records(*splits, TEST, DEFECT))
        assert [f.severity for f in findings] == expected

    @pytest.mark.parametrize(
        ("split", "use"), [("calibration", "to train on"), ("train", "to set the threshold with")]
    )
    def test_none_on_one_side(self, split: str, use: str) -> None:
        (finding,) = check_normals(records(*[{"split": split}] * 30))
        assert finding.severity == "error"
        assert use in finding.finding


class TestLikeness:
    def records(self, **changes: Any) -> pd.DataFrame:
        table = pd.DataFrame({"path": [f"{k:02}.png" for k in range(20)]})
        table = table.assign(split="train", mode="L", width=64, height=48)
        for column, values in changes.items():
            table.loc[: len(values) - 1, column] = values
        return table

    def test_alike(self) -> None:
        assert check_likeness(self.records(), 64) == []

    def test_a_rare_mode(self) -> None:
        (finding,) = check_likeness(self.records(mode=["RGB", "RGB"]), 64)
        assert found([finding]) == [("warning", "unlike_mode", "00.png")]
        assert "2 of 20 images have the mode RGB" in finding.finding
        assert finding.finding.endswith("the most frequent is L")

    def test_a_mode_that_is_not_rare(self) -> None:
        assert check_likeness(self.records(mode=["RGB"] * 3), 64) == []

    def test_a_tiny_image(self) -> None:
        (finding,) = check_likeness(self.records(width=[16, 15], height=[16, 15]), 64)
        assert found([finding]) == [("warning", "small_image", "01.png")]
        assert finding.finding.startswith("1 of 20 images")
        assert finding.finding.endswith("15 x 15 px")

    def test_a_narrow_image(self) -> None:
        assert check_likeness(self.records(height=[3]), 64) == []

    def test_excluded_images_do_not_matter(self) -> None:
        records = self.records(split=["excluded"], mode=["RGB"], width=[1])
        assert check_likeness(records, 64) == []


class TestTree:
    def test_what_no_source_lists(self, tmp_path: Path) -> None:
        root, outside = tmp_path / "root", tmp_path / "lot9"
        (root / "good").mkdir(parents=True)
        outside.mkdir()
        (root / "good/1.png").touch()
        (root / "good/link.png").symlink_to(root / "good/1.png")
        (root / "good/lot9").symlink_to(outside)
        (root / "good/gone.png").symlink_to(tmp_path / "gone.png")
        for name in ("a.heic", "b.HEIC", "notes.txt"):
            (root / "good" / name).touch()
        findings = check_tree(root)
        assert found(findings) == [
            ("error", "missing_file", "good/gone.png"),
            ("error", "outside_root", "good/lot9"),
            ("warning", "unread_format", "good/a.heic"),
        ]
        assert "2 pictures" in findings[2].finding

    def test_a_linked_folder_of_good_parts_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "root").mkdir()
        (tmp_path / "root/good").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DataError, match=r"good: a link to the folder .*elsewhere"):
            read_dataset(DatasetParams(root=tmp_path / "root"), 0, tmp_path / "decoded")

    @pytest.fixture
    def two_categories(self, mvtec_root: Path, tmp_path: Path) -> Path:
        """Besides `bolt` the category `nut`, which has faults; a third one, `cable`, is a link."""
        shutil.copytree(mvtec_root / "bolt", mvtec_root / "nut")
        shutil.copytree(mvtec_root / "bolt", tmp_path / "cable")
        (mvtec_root / "cable").symlink_to(tmp_path / "cable")
        (mvtec_root / "nut/train/good/gone.png").symlink_to(tmp_path / "gone.png")
        (mvtec_root / "nut/train/lot9").symlink_to(tmp_path)
        (mvtec_root / "nut/a.heic").touch()
        return mvtec_root

    def test_other_categories_do_not_matter(self, two_categories: Path, tmp_path: Path) -> None:
        (two_categories / "bolt/z.heic").touch()
        params = DatasetParams(root=two_categories, category="bolt", image_size=32)
        reading = read_dataset(params, 0, tmp_path / "decoded")
        errors = {f.file for f in reading.findings if f.severity == "error"}
        assert not errors
        (unread,) = (f for f in reading.findings if f.check == "unread_format")
        assert (unread.file, unread.finding[:10]) == ("bolt/z.heic", "1 pictures")
        assert set(make_manifest(reading, params)["category"]) == {"bolt"}

    def test_all_else_does(self, two_categories: Path, tmp_path: Path) -> None:
        """Its own folder, what lies beside the categories, and a folder that only has the name."""
        (two_categories / "papers").symlink_to(tmp_path)
        (two_categories / "nut/train/bolt").symlink_to(tmp_path)
        params = DatasetParams(root=two_categories, category="nut", image_size=32)
        findings = read_dataset(params, 0, tmp_path / "decoded").findings
        assert {f.file for f in findings if f.severity == "error"} == {
            "papers",
            "nut/train/good/gone.png",
            "nut/train/lot9",
            "nut/train/bolt",
        }

    def test_a_category_that_is_a_link_is_refused(
        self, two_categories: Path, tmp_path: Path
    ) -> None:
        params = DatasetParams(root=two_categories, category="cable", image_size=32)
        findings = read_dataset(params, 0, tmp_path / "decoded").findings
        assert ("error", "outside_root", "cable") in found(findings)

    def test_a_dead_link_that_hides_the_category_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "root/bolt").mkdir(parents=True)
        (tmp_path / "root/bolt/train").symlink_to(tmp_path / "gone")
        params = DatasetParams(source="mvtec_ad", root=tmp_path / "root", category="bolt")
        with pytest.raises(DataError, match="Perhaps because of this: bolt/train: a link"):
            read_dataset(params, 0, tmp_path / "decoded")

    def test_names_that_are_no_text_anywhere(self, mvtec_root: Path, tmp_path: Path) -> None:
        """Also in what a source finds by itself: a mask without its image."""
        mask = mvtec_root / "bolt/ground_truth/dent" / os.fsdecode(b"\xff_mask.png")
        Image.new("L", (24, 20)).save(os.fsencode(mask), "png")
        params = DatasetParams(root=mvtec_root, image_size=32)
        table = findings_table(read_dataset(params, 0, tmp_path / "decoded").findings)
        assert "bolt/ground_truth/dent/\\udcff_mask.png" in table["file"].tolist()
        table.to_csv(tmp_path / "data_checks.csv")


class TestGroups:
    def test_on_both_sides(self) -> None:
        lots = [{"group": "a"}, TEST | {"group": "a"}, {"group": "b"}, TEST | {"group": "c"}, {}]
        assert found(check_groups(records(*lots))) == [("warning", "group_in_train_and_test", "a")]


class TestContents:
    def test_all_different(self) -> None:
        assert check_contents(records({}, {}, TEST, DEFECT)) == []

    @pytest.mark.parametrize("split", ["train", "calibration"])
    def test_across_train_and_test(self, split: str) -> None:
        same = {"pixel_hash": "same"}
        findings = check_contents(records({"split": split} | same, {}, TEST | same, DEFECT | same))
        assert ("error", "train_test_duplicate", "002.png") in found(findings)
        assert ("error", "train_test_duplicate", "003.png") in found(findings)
        assert "the training image 000.png" in findings[0].finding

    def test_within_a_split(self) -> None:
        same, again = {"pixel_hash": "same"}, {"pixel_hash": "again"}
        findings = check_contents(records(same, same, same, TEST | again, TEST | again))
        assert found(findings) == [
            ("warning", "duplicate", "004.png"),
            ("warning", "duplicate", "001.png"),
            ("warning", "duplicate", "002.png"),
        ]

    def test_contradictory_labels(self) -> None:
        same = {"pixel_hash": "same"}
        findings = check_contents(records(TEST | same, DEFECT | same))
        assert found(findings) == [
            ("error", "contradictory_label", "000.png"),
            ("error", "contradictory_label", "001.png"),
        ]

    def test_excluded_images_do_not_matter(self) -> None:
        same = {"pixel_hash": "same"}
        assert check_contents(records(same, {"split": "excluded", "label": None} | same)) == []

    def test_same_pixels_in_another_file_format(self, mvtec_root: Path, tmp_path: Path) -> None:
        """A re-encoded copy is a copy, though its file differs."""
        with Image.open(mvtec_root / "bolt/train/good/007.png") as image:
            image.save(mvtec_root / "bolt/test/good/leak.bmp")
        params = DatasetParams(root=mvtec_root, image_size=32)
        findings = read_dataset(params, 0, tmp_path / "decoded").findings
        assert ("error", "train_test_duplicate", "bolt/test/good/leak.bmp") in found(findings)


class TestNearDuplicates:
    def test_slightly_changed_copies_of_real_images(
        self, test_datasets: Path, tmp_path: Path
    ) -> None:
        """Toothbrushes, which are aligned and all look alike: only the copies are found."""
        source = test_datasets / "mvtec_ad/toothbrush"
        root = tmp_path / "toothbrush"
        # One of the first test images is of a brush that was photographed twice.
        for folder, names in (("train/good", slice(12)), ("test/good", slice(4, 8))):
            (root / folder).mkdir(parents=True)
            for file in sorted((source / folder).iterdir())[names]:
                with Image.open(file) as image:
                    image.resize((200, 200)).save(root / folder / file.name)
        with Image.open(root / "train/good/003.png") as image:
            image.save(root / "test/good/encoded.jpg", quality=80)
            image.crop((1, 1, 199, 200)).resize((180, 180)).save(root / "test/good/cropped.png")
            image.point(lambda v: min(255, int(v * 1.05))).save(root / "test/good/brighter.png")
        params = DatasetParams(root=root, calibration_fraction=0.1)
        findings = read_dataset(params, 0, tmp_path / "decoded").findings
        near = [f for f in findings if f.check == "near_duplicate"]
        assert {Path(f.file).name for f in near} == {"encoded.jpg", "cropped.png", "brighter.png"}
        assert all(f.severity == "warning" and "train/good/003.png" in f.finding for f in near)

    def test_exact_copies_are_another_checks_matter(self) -> None:
        def pixels(_: Sequence[int]) -> NDArray[np.uint8]:
            raise AssertionError("nothing to compare")

        same = {"pixel_hash": "same"}
        assert check_near_duplicates(records(same, TEST | same), pixels) == []


class TestMasks:
    def test_consistent(self) -> None:
        good = {"mask_path": "0.png", "mask_coverage": 0.0}
        bad = {"mask_path": "1.png", "mask_coverage": 0.1}
        assert check_masks(records(good, TEST | good, DEFECT | bad)) == []

    def test_no_masks_at_all(self) -> None:
        assert check_masks(records({}, TEST, DEFECT, DEFECT)) == []

    def test_contradictions(self) -> None:
        empty = {"mask_path": "0.png", "mask_coverage": 0.0}
        marked = {"mask_path": "1.png", "mask_coverage": 0.1}
        assert found(check_masks(records(marked, DEFECT | empty, DEFECT | marked, DEFECT))) == [
            ("error", "mask_on_good", "000.png"),
            ("warning", "empty_mask", "001.png"),
            ("warning", "mask_missing", "003.png"),
        ]


class TestLabelLeaks:
    def leaks(self, *rows: dict[str, Any]) -> list[str]:
        findings = check_label_leaks(records(*rows))
        assert all(f.check == "label_given_away" for f in findings)
        return [f.finding for f in findings]

    def test_alike(self) -> None:
        assert self.leaks(*[{}] * 20, *[TEST] * 10, *[DEFECT] * 10) == []

    @pytest.mark.parametrize(
        ("change", "attribute"),
        [
            ({"width": 65, "height": 49}, "size"),
            ({"width": 48, "height": 64}, "aspect ratio"),
            ({"mode": "RGB"}, "mode"),
            ({"date": 1.6e9}, "file date"),
        ],
    )
    def test_separated_among_test_images(self, change: dict[str, Any], attribute: str) -> None:
        taken = [{"date": change.get("date", 1.7e9) + 60 * i} for i in range(10)]
        normal = [TEST | {"date": 1.7e9 + 60 * i} for i in range(10)]
        leaks = self.leaks(*normal, *[DEFECT | change | date for date in taken])
        assert any(f"images' {attribute} " in leak for leak in leaks)

    def test_training_images_count_too_but_not_their_date(self) -> None:
        leaks = self.leaks(*[{"mode": "L"}] * 10, *[DEFECT | {"mode": "RGB", "date": 1.6e9}] * 10)
        assert len(leaks) == 1
        assert "mode" in leaks[0]
        assert "training normals" in leaks[0]

    def test_copying_folder_after_folder_is_no_leak(self) -> None:
        midnight = 19_000 * checks.DAY
        normal = [TEST | {"date": midnight - 1 + i / 20} for i in range(10)]
        defects = [DEFECT | {"date": midnight + i / 20} for i in range(10)]
        assert self.leaks(*normal, *defects) == []

    def test_few_images_prove_nothing(self) -> None:
        assert self.leaks(*[TEST] * 4, *[DEFECT | {"mode": "RGB"}] * 10) == []

    def test_sizes_that_all_differ_are_no_leak(self) -> None:
        rng = np.random.default_rng(0)
        sizes = [{"width": int(w), "height": int(h)} for w, h in rng.integers(100, 500, (60, 2))]
        assert self.leaks(*[TEST | s for s in sizes[:30]], *[DEFECT | s for s in sizes[30:]]) == []


class TestStrictness:
    @pytest.fixture
    def faulty(self, mvtec_root: Path) -> Path:
        category = mvtec_root / "bolt"
        (category / "train/good/000.png").write_bytes(b"")
        (category / "ground_truth/dent/000_mask.png").write_bytes(b"no mask")
        with Image.open(category / "train/good/007.png") as image:
            image.save(category / "test/good/leak.png")
        return mvtec_root

    def test_lenient_leaves_faulty_files_out(self, faulty: Path, tmp_path: Path) -> None:
        params = DatasetParams(root=faulty, image_size=32, checks="lenient")
        reading = read_dataset(params, 0, tmp_path / "decoded")
        manifest = make_manifest(reading, params)
        assert manifest["split"].value_counts().to_dict() == {
            "train": 8,
            "calibration": 1,
            "test": 5,
        }
        assert not manifest["path"].str.contains("leak|dent|train/good/000").any()
        assert sum(f.severity == "error" for f in reading.findings) == 3

    def test_lenient_still_needs_two_normals(self, faulty: Path, tmp_path: Path) -> None:
        for file in sorted((faulty / "bolt/train/good").iterdir())[2:]:
            file.unlink()
        params = DatasetParams(root=faulty, image_size=32, checks="lenient")
        reading = read_dataset(params, 0, tmp_path / "decoded")
        with pytest.raises(DataError, match="at least 2 are needed"):
            make_manifest(reading, params)

    def test_files_outside_of_the_root_are_never_read(
        self, mvtec_root: Path, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret.png"
        Image.new("L", (24, 20)).save(secret)
        (mvtec_root / "bolt/train/good/link.png").symlink_to(secret)
        params = DatasetParams(root=mvtec_root, image_size=32, checks="lenient")
        reading = read_dataset(params, 0, tmp_path / "decoded")
        assert not reading.table["path"].str.contains("link").any()
        assert ("error", "outside_root", "bolt/train/good/link.png") in found(reading.findings)


def test_table_lists_errors_first() -> None:
    findings = [
        Finding("warning", "a", "1.png", "odd", "Look"),
        Finding("error", "b", "2.png", "bad", "Mend"),
        Finding("warning", "c", "3.png", "odd", "Look"),
    ]
    table = findings_table(findings)
    assert table["check"].tolist() == ["b", "a", "c"]
    assert findings_table([]).columns.tolist() == table.columns.tolist()
