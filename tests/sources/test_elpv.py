import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources import elpv
from daf_pipelines.sources.elpv import ELPV, export_elpv, read_labels
from daf_pipelines.sources.manifest import data_hash
from ingested import build_manifest

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset is not installed"
)


def count(root: Path, category: str) -> dict[tuple[str, int | None], int]:
    counts: dict[tuple[str, int | None], int] = {}
    for row in ELPV().list_images(root, category).rows:
        counts[row.split, row.label] = counts.get((row.split, row.label), 0) + 1
    return counts


class TestTinyLayout:
    def test_default_is_mono(self, elpv_root: Path) -> None:
        assert ELPV().default_category(elpv_root) == "mono"
        assert count(elpv_root, "mono") == {
            ("train", 0): 6,
            ("test", 0): 2,
            ("test", 1): 3,
            ("excluded", None): 2,
        }

    def test_all_is_mono_and_poly_with_the_same_splits(self, elpv_root: Path) -> None:
        rows = {c: set(ELPV().list_images(elpv_root, c).rows) for c in ("mono", "poly", "all")}
        assert rows["all"] == rows["mono"] | rows["poly"]
        assert {row.category for row in rows["poly"]} == {"poly"}

    def test_probabilities_become_defect_types(self, elpv_root: Path) -> None:
        rows = ELPV().list_images(elpv_root, "mono").rows
        assert {(row.label, row.defect_type) for row in rows} == {
            (0, "good"),
            (1, "defective"),
            (None, "probability_0.33"),
            (None, "probability_0.67"),
        }

    def test_test_normals_do_not_depend_on_the_order_of_the_rows(self, elpv_root: Path) -> None:
        rows = set(ELPV().list_images(elpv_root, "all").rows)
        lines = (elpv_root / "labels.csv").read_text().splitlines(keepends=True)
        (elpv_root / "labels.csv").write_text("".join(reversed(lines)))
        assert set(ELPV().list_images(elpv_root, "all").rows) == rows

    def test_unknown_category(self, elpv_root: Path) -> None:
        with pytest.raises(ParameterError, match=r"'pol'.*all, mono, poly.*mean 'poly'"):
            ELPV().list_images(elpv_root, "pol")

    def test_missing_labels(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"labels\.csv.*there is none"):
            read_labels(tmp_path)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("images/x.png often mono", "often"),
            ("images/x.png 1.5 mono", "row 20 .*1.5"),
            ("images/x.png 1.0 thin", "row 20 .*thin"),
            ("images/x.png 1.0", "row 20 "),
            ("images/cell0001.png 1.0 mono", "row 20 .*cell0001"),
        ],
    )
    def test_malformed_labels(self, elpv_root: Path, line: str, reason: str) -> None:
        with (elpv_root / "labels.csv").open("a") as file:
            file.write(line + "\n")
        with pytest.raises(DataError, match=rf"labels\.csv: expected rows.*{reason}"):
            read_labels(elpv_root)

    def test_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(DataError, match=r'pip install "daf-pipelines\[samples\]"'):
            ELPV().default_root()


@pytest.fixture
def packaged(elpv_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny data in place of the package's."""
    monkeypatch.setattr(ELPV, "default_root", lambda self: elpv_root)
    return elpv_root


class TestExport:
    def test_copy_is_the_same_dataset(self, packaged: Path, tmp_path: Path) -> None:
        export_elpv(tmp_path / "raw" / "copy")
        params = DatasetParams(root=tmp_path / "raw" / "copy")
        copy, original = build_manifest(params, 0), build_manifest(DatasetParams(), 0)
        assert copy.equals(original)
        assert data_hash(copy) == data_hash(original)
        assert [p.name for p in (tmp_path / "raw").iterdir()] == ["copy"]

    def test_complete_copy_is_left_alone(self, packaged: Path, tmp_path: Path) -> None:
        export_elpv(tmp_path / "copy")
        (tmp_path / "copy" / "mine.txt").touch()
        before = (tmp_path / "copy").stat().st_ino
        export_elpv(tmp_path / "copy")
        assert (tmp_path / "copy" / "mine.txt").exists()
        assert (tmp_path / "copy").stat().st_ino == before

    def test_folder_with_something_else_is_not_overwritten(
        self, packaged: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "letter.txt").write_text("dear")
        with pytest.raises(DataError, match="not a complete copy of the ELPV data"):
            export_elpv(tmp_path / "mine")
        assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"

    def test_failed_copy_leaves_nothing(
        self, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(elpv.shutil, "copy2", fail)
        with pytest.raises(OSError, match="disk full"):
            export_elpv(tmp_path / "target" / "copy")
        assert list((tmp_path / "target").iterdir()) == []


@needs_package
class TestRealData:
    @pytest.mark.parametrize(
        ("category", "expected"),
        [
            ("mono", (441, 147, 313, 173)),
            ("poly", (690, 230, 402, 228)),
            ("all", (1131, 377, 715, 401)),
        ],
    )
    def test_counts(self, category: str, expected: tuple[int, ...]) -> None:
        counts = count(ELPV().default_root(), category)
        keys = [("train", 0), ("test", 0), ("test", 1), ("excluded", None)]
        assert tuple(counts[key] for key in keys) == expected

    def test_test_normals_are_a_constant_of_the_benchmark(self) -> None:
        rows = ELPV().list_images(ELPV().default_root(), "mono").rows
        normals = sorted(r.path for r in rows if r.split == "test" and r.label == 0)
        assert normals[:3] == ["images/cell0009.png", "images/cell0011.png", "images/cell0413.png"]
        assert normals[-1] == "images/cell2441.png"

    def test_module_runs_as_a_command(self, tmp_path: Path) -> None:
        command = [sys.executable, "-W", "error", "-m", "daf_pipelines.sources.elpv"]
        subprocess.run([*command, str(tmp_path / "copy")], check=True)
        assert len(list((tmp_path / "copy" / "images").iterdir())) == 2624
        (tmp_path / "mine.txt").touch()
        failed = subprocess.run(
            [*command, str(tmp_path)], check=False, capture_output=True, text=True
        )
        assert failed.returncode == 1
        assert failed.stderr.startswith("error: ")
        assert "Traceback" not in failed.stderr
