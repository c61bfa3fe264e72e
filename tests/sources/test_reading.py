import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daf_pipelines.errors import DataError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources import reading
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.images import fit_image, fit_mask, read_image, read_mask
from daf_pipelines.sources.mvtec_ad import MVTecAD
from daf_pipelines.sources.reading import Reading, read_rows

Writer = Callable[..., Path]
PARAMS = DatasetParams(image_size=32)


@pytest.fixture
def rows(mvtec_root: Path) -> list[Row]:
    return MVTecAD().list_images(mvtec_root, "bolt").rows


@pytest.fixture
def read(
    mvtec_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Reading]:
    """Reads rows in chunks of five images into one folder."""
    monkeypatch.setattr(reading, "CHUNK", 5)

    def read_them(rows: list[Row], params: DatasetParams = PARAMS) -> Reading:
        return read_rows(rows, mvtec_root, params, tmp_path / "decoded")

    return read_them


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are decoded from now on."""
    names: list[str] = []

    def count(data: bytes, name: str) -> np.ndarray:
        names.append(name)
        return read_image(data, name)

    monkeypatch.setattr(reading, "read_image", count)
    return names


class TestTable:
    def test_what_the_files_say(self, rows: list[Row], read: Callable[..., Reading]) -> None:
        table = read(rows[::-1]).table
        assert table["path"].tolist() == sorted(row.path for row in rows)
        row = table.set_index("path").loc["bolt/test/dent/000.png"]
        assert (row["width"], row["height"], row["mode"], row["label"]) == (24, 20, "L", 1)
        assert row["mask_coverage"] == pytest.approx(30 / 480)
        assert len(row["content_hash"]) == len(row["mask_hash"]) == 64

    def test_date_is_that_of_the_picture_or_else_of_the_file(
        self, rows: list[Row], read: Callable[..., Reading], mvtec_root: Path
    ) -> None:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
        Image.new("L", (9, 9)).save(mvtec_root / "taken.jpg", exif=exif)
        Image.new("L", (9, 9)).save(mvtec_root / "changed.png")
        os.utime(mvtec_root / "changed.png", (1_700_000_000, 1_700_000_000))
        new = [Row(name, "train", 0, "good", "bolt") for name in ("changed.png", "taken.jpg")]
        assert read(new).table["date"].tolist() == [1_700_000_000, 1_714_979_289]

    def test_nothing_listed(self, read: Callable[..., Reading]) -> None:
        empty = read([])
        assert empty.table.empty
        assert "chunk" in empty.table


class TestPixels:
    def test_are_those_of_the_rows_in_any_order(
        self, rows: list[Row], read: Callable[..., Reading], mvtec_root: Path
    ) -> None:
        result = read(rows)
        shuffled = result.table.sample(frac=1, random_state=3)
        parts = list(result.pixels(shuffled))
        images, masks = (np.concatenate(part) for part in zip(*parts, strict=True))
        np.testing.assert_array_equal(result.images(shuffled), images)
        for (_, row), image, mask in zip(shuffled.iterrows(), images, masks, strict=True):
            expected = fit_image(read_image(mvtec_root / row["path"]), 32, "square")
            np.testing.assert_array_equal(image, expected)
            if row["label"] == 0:
                assert not mask.any()
            else:
                expected = fit_mask(read_mask(mvtec_root / row["mask_path"]), 32, "square")
                np.testing.assert_array_equal(mask, expected)

    def test_damaged_file(self, rows: list[Row], read: Callable[..., Reading]) -> None:
        result = read(rows)
        file = result.folder / result.table["chunk"].iloc[0]
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"is damaged.*Remove the folder"):
            list(result.pixels(result.table))


class TestFindings:
    def test_each_faulty_file_is_found_and_the_rest_read(
        self, rows: list[Row], read: Callable[..., Reading], mvtec_root: Path, write_mask: Writer
    ) -> None:
        category = mvtec_root / "bolt"
        (category / "train/good/000.png").write_bytes(b"")
        (category / "train/good/001.png").write_bytes(b"no image")
        (category / "train/good/002.png").unlink()
        write_mask(category / "ground_truth/dent/000_mask.png", (30, 20))
        (category / "ground_truth/scratch/000_mask.png").write_bytes(b"\x89PNG")
        result = read(rows)
        assert {(f.file.removeprefix("bolt/"), f.severity) for f in result.findings} == {
            ("train/good/000.png", "error"),
            ("train/good/001.png", "error"),
            ("train/good/002.png", "error"),
            ("ground_truth/dent/000_mask.png", "error"),
            ("ground_truth/scratch/000_mask.png", "error"),
        }
        assert len(result.table) == len(rows) - 5
        assert len(result.images(result.table)) == len(rows) - 5

    def test_a_faulty_file_is_read_again_once_it_is_mended(
        self, rows: list[Row], read: Callable[..., Reading], mvtec_root: Path, write_image: Writer
    ) -> None:
        file = mvtec_root / "bolt/train/good/000.png"
        file.write_bytes(b"")
        assert len(read(rows).findings) == 1
        write_image(file, 77)
        result = read(rows)
        assert result.findings == []
        assert len(result.table) == len(rows)


class TestResuming:
    def test_nothing_is_decoded_twice(
        self, rows: list[Row], read: Callable[..., Reading], decoded: list[str]
    ) -> None:
        first = read(rows)
        assert len(decoded) == len(rows)
        again = read(rows)
        assert len(decoded) == len(rows)
        assert again.table.equals(first.table)

    def test_a_changed_file_is_decoded_with_its_chunk(
        self,
        rows: list[Row],
        read: Callable[..., Reading],
        decoded: list[str],
        mvtec_root: Path,
        write_image: Writer,
    ) -> None:
        before = read(rows).table.set_index("path")
        decoded.clear()
        file = mvtec_root / "bolt/test/good/001.png"
        times = file.stat().st_atime_ns, file.stat().st_mtime_ns
        write_image(file, 99)  # of the same size, and as old: only its content tells
        os.utime(file, ns=times)
        after = read(rows).table.set_index("path")
        assert 1 <= len(decoded) <= 5
        assert (after["content_hash"] != before["content_hash"]).sum() == 1

    @pytest.mark.parametrize("change", [{"image_size": 48}, {"resize": "pad"}])
    def test_another_preparation_starts_anew_and_leaves_nothing_behind(
        self,
        rows: list[Row],
        read: Callable[..., Reading],
        decoded: list[str],
        change: dict[str, object],
    ) -> None:
        read(rows)
        result = read(rows, PARAMS.model_copy(update=change))
        assert len(decoded) == 2 * len(rows)
        assert {file.name for file in result.folder.iterdir()} == set(result.table["chunk"])

    def test_what_another_process_is_writing_stays(
        self, rows: list[Row], read: Callable[..., Reading], tmp_path: Path
    ) -> None:
        """Cells of a study share the folder."""
        read(rows)
        written, left = (tmp_path / f"decoded/.a.npz.{n}.partial" for n in (1, 2))
        written.touch()
        left.touch()
        os.utime(left, (0, 0))
        read(rows)
        assert (written.exists(), left.exists()) == (True, False)

    def test_a_changed_mask_counts(
        self, rows: list[Row], read: Callable[..., Reading], mvtec_root: Path
    ) -> None:
        before = read(rows).table["mask_hash"].dropna().tolist()
        mask = mvtec_root / "bolt/ground_truth/dent/000_mask.png"
        Image.new("L", (24, 20), 255).save(mask)
        after = read(rows).table["mask_hash"].dropna().tolist()
        assert sum(a != b for a, b in zip(after, before, strict=True)) == 1

    def test_torn_chunk_is_read_again(
        self, rows: list[Row], read: Callable[..., Reading], decoded: list[str]
    ) -> None:
        first = read(rows)
        file = first.folder / first.table["chunk"].iloc[0]
        file.write_bytes(file.read_bytes()[:100])
        again = read(rows)
        assert again.table.equals(first.table)
        assert len(decoded) == len(rows) + 5
        assert len(list(again.pixels(again.table))) == len(list(first.pixels(first.table)))

    def test_killed_reading_goes_on(self, mvtec_root: Path, tmp_path: Path) -> None:
        """kill -9 in the middle; the next call decodes only what is left."""
        good = mvtec_root / "bolt/train/good"
        for index in range(200):
            shutil.copy(good / f"{index % 10:03}.png", good / f"copy{index}.png")
        script = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from daf_pipelines.parameters import DatasetParams\n"
            "from daf_pipelines.sources import reading\n"
            "from daf_pipelines.sources.mvtec_ad import MVTecAD\n"
            "root, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
            "reading.CHUNK, count, read = 5, 0, reading.read_image\n"
            "def slow(data, name):\n"
            "    global count\n"
            "    count += 1\n"
            "    time.sleep(float(sys.argv[3]))\n"
            "    return read(data, name)\n"
            "reading.read_image = slow\n"
            "rows = MVTecAD().list_images(root, 'bolt').rows\n"
            "reading.read_rows(rows, root, DatasetParams(image_size=32), folder)\n"
            "print(count, len(rows))\n"
        )
        command = [sys.executable, "-c", script, str(mvtec_root), str(tmp_path / "decoded")]
        process = subprocess.Popen([*command, "0.05"], stderr=subprocess.DEVNULL)
        while len(list((tmp_path / "decoded").glob("*.npz"))) < 4:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = subprocess.run([*command, "0"], check=True, capture_output=True, text=True)
        count, total = map(int, finished.stdout.split())
        assert 0 < count <= total - 20
        assert not list((tmp_path / "decoded").glob("*.partial"))


class TestDisk:
    def test_full_disk_is_one_message(
        self, rows: list[Row], read: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(DataError, match=r"decoded \(No space left on device\)\. Make room"):
            read(rows)
