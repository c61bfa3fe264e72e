"""Tiny datasets in exactly the published layouts, one builder for each source."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
    """Writes a random greyscale image (its content follows from `seed`) and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_mask(path: Path, size: tuple[int, int] = (24, 20), value: int = 255) -> Path:
    """Writes a mask with a rectangle of 6x5 pixels that have `value`, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[4:9, 6:12] = value
    Image.fromarray(pixels).save(path)
    return path


def _write_images(folder: Path, names: list[str], seed: int) -> None:
    for index, name in enumerate(names):
        write_image(folder / name, seed + index)


def _numbered(count: int, suffix: str = ".png", digits: int = 3) -> list[str]:
    return [f"{index:0{digits}}{suffix}" for index in range(count)]


def mvtec_ad(root: Path) -> None:
    """One category `bolt`: 10 train normals, 3 test normals, 2 + 1 defects."""
    category = root / "bolt"
    _write_images(category / "train" / "good", _numbered(10), 0)
    _write_images(category / "test" / "good", _numbered(3), 100)
    for seed, (defect_type, stem) in enumerate(
        [("scratch", "000"), ("scratch", "001"), ("dent", "000")]
    ):
        write_image(category / "test" / defect_type / f"{stem}.png", 200 + seed)
        write_mask(category / "ground_truth" / defect_type / f"{stem}_mask.png")


def mvtec_ad_2(root: Path) -> None:
    """Two of the categories: 4 train and 2 validation normals; 2 normals and 2 defects to test."""
    for base, name in enumerate(("can", "vial")):
        category, seed = root / name, 1000 * base
        regular = [f"{index:03}_regular.png" for index in range(6)]
        _write_images(category / "train" / "good", regular[:4], seed)
        _write_images(category / "validation" / "good", regular[4:], seed + 100)
        public = category / "test_public"
        _write_images(public / "good", ["000_regular.png", "000_overexposed.png"], seed + 200)
        for index, stem in enumerate(("000_regular", "001_underexposed")):
            write_image(public / "bad" / f"{stem}.png", seed + 300 + index)
            write_mask(public / "ground_truth" / "bad" / f"{stem}_mask.png")
        _write_images(category / "test_private", ["000_regular.png"], seed + 400)
        _write_images(category / "test_private_mixed", ["000_mixed.png"], seed + 500)
    (root / "readme.txt").touch()


def mvtec_loco(root: Path) -> None:
    """Two of the categories: 4 train and 2 validation normals; 1 normal and 2 defects to test."""
    for base, name in enumerate(("pushpins", "screw_bag")):
        category, seed = root / name, 1000 * base
        _write_images(category / "train" / "good", _numbered(4), seed)
        _write_images(category / "validation" / "good", _numbered(2), seed + 100)
        _write_images(category / "test" / "good", _numbered(1), seed + 200)
        _write_images(category / "test" / "logical_anomalies", _numbered(1), seed + 300)
        _write_images(category / "test" / "structural_anomalies", _numbered(1), seed + 400)
        truth = category / "ground_truth"
        write_mask(truth / "logical_anomalies" / "000" / "000.png")
        write_mask(truth / "logical_anomalies" / "000" / "001.png", value=236)
        write_mask(truth / "structural_anomalies" / "000" / "000.png", value=251)
        (category / "defects_config.json").write_text("[]\n")


def btad(root: Path) -> None:
    """The three categories: 3 train normals; 1 normal and 2 defects to test."""
    suffixes = {"01": (".bmp", ".png"), "02": (".png", ".png"), "03": (".bmp", ".bmp")}
    for base, (name, (image, mask)) in enumerate(suffixes.items()):
        category, seed = root / name, 1000 * base
        _write_images(category / "train" / "ok", _numbered(3, image, 4), seed)
        _write_images(category / "test" / "ok", _numbered(1, image, 4), seed + 100)
        _write_images(category / "test" / "ko", _numbered(2, image, 4), seed + 200)
        for file in _numbered(2, mask, 4):
            write_mask(category / "ground_truth" / "ko" / file)


def dagm(root: Path) -> None:
    """Two of the classes: 4 images to train on and 3 to test on, the second of each defective."""
    for base, name in enumerate(("Class1", "Class10")):
        for split, first, count in (("Train", 4, 4), ("Test", 1, 3)):
            folder = root / name / split
            lines = [f"{base + 1}\n"]
            for number in range(first, first + count):
                write_image(folder / f"{number:04}.PNG", 1000 * base + number)
                defective = number == first + 1
                mask = f"{number:04}_label.PNG" if defective else "0"
                lines.append(f"{number:04}\t{int(defective)}\t{number:04}.PNG\t0\t{mask}\n")
            write_mask(folder / "Label" / f"{first + 1:04}_label.PNG")
            (folder / "Label" / "Labels.txt").write_text("".join(lines))


def elpv(root: Path) -> None:
    """8 + 4 functional, 3 + 2 defective (mono + poly) and 2 mono in between."""
    cells = [("0.0", "mono")] * 8 + [("0.0", "poly")] * 4
    cells += [("1.0", "mono")] * 3 + [("1.0", "poly")] * 2
    cells += [("0.3333333333333333", "mono"), ("0.6666666666666666", "mono")]
    lines = []
    for index, (probability, cell_type) in enumerate(cells, start=1):
        path = write_image(root / "images" / f"cell{index:04}.png", index)
        lines.append(f"images/{path.name}  {probability:<20} {cell_type}\n")
    (root / "labels.csv").write_text("".join(lines))


def visa(root: Path) -> None:
    """Two of the objects: 3 train normals; 1 normal and 2 defects to test. Lines end in CR LF."""
    lines = ["object,split,label,image,mask"]
    for base, name in enumerate(("candle", "pcb1")):
        images, masks = f"{name}/Data/Images", f"{name}/Data/Masks"
        kinds = ["image,label,mask"]
        for number in (3, 0, 2, 1):
            image = f"{images}/Normal/{number:04}.JPG"
            write_image(root / image, 1000 * base + number)
            lines.append(f"{name},{'test' if number == 1 else 'train'},normal,{image},")
            kinds.append(f"{image},normal,")
        for number, kind in enumerate(("melt", '"scratch, missing"')):
            image, mask = f"{images}/Anomaly/{number:03}.JPG", f"{masks}/Anomaly/{number:03}.png"
            write_image(root / image, 1000 * base + 100 + number)
            write_mask(root / mask, value=number + 1)
            lines.append(f"{name},test,anomaly,{image},{mask}")
            kinds.append(f"{image},{kind},{mask}")
        _write_lines(root / name / "image_anno.csv", kinds)
    _write_lines(root / "split_csv" / "1cls.csv", lines)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def kolektor_sdd(root: Path) -> None:
    """Two commutators with 3 surfaces each, the second surface with a crack."""
    for base, name in enumerate(("kos01", "kos02")):
        for part in range(3):
            write_image(root / name / f"Part{part}.jpg", 1000 * base + part)
            write_mask(root / name / f"Part{part}_label.bmp", value=255 if part == 1 else 0)


def kolektor_sdd2(root: Path) -> None:
    """3 images to train on, 2 to test on, one of each with a defect; and the archive's copies."""
    for split, numbers in (("train", (10000, 10001, 10301)), ("test", (20000, 20001))):
        for number in numbers:
            write_image(root / split / f"{number}.png", number)
            write_mask(root / split / f"{number}_GT.png", value=255 if number % 10 == 1 else 0)
    write_image(root / "train" / "10301 (copy).png", 10301)
    write_mask(root / "train" / "10301_GT (copy).png")


def magnetic_tile(root: Path) -> None:
    """Two tiles under six exposures each; the second one with a blowhole under the last two."""
    shots = [(exposure, 100 * tile + 7 * exposure) for tile in (1, 2) for exposure in range(1, 7)]
    for exposure, number in shots:
        defective = number >= 235
        folder = root / ("MT_Blowhole" if defective else "MT_Free") / "Imgs"
        write_image(folder / f"exp{exposure}_num_{number}.jpg", number)
        write_mask(folder / f"exp{exposure}_num_{number}.png", value=255 if defective else 0)


def folder(root: Path) -> None:
    """Good parts of two lots, two types of defects, one of them with masks."""
    for seed, lot in enumerate(("monday", "tuesday")):
        _write_images(root / "good" / lot, _numbered(4), 10 * seed)
    _write_images(root / "dent", _numbered(2), 100)
    _write_images(root / "scratch" / "deep", _numbered(2), 200)
    write_mask(root / "masks" / "dent" / "000.png")
    write_mask(root / "scratch" / "deep" / "001_mask.png")


def table(root: Path) -> None:
    """A table beside its images: 6 good ones, 2 with a scratch."""
    _write_images(root / "shots", _numbered(8), 0)
    write_mask(root / "shots" / "masks" / "006.png")
    lines = ["path,label,mask_path"]
    lines += [f"shots/{index:03}.png,good," for index in range(6)]
    lines += ["shots/006.png,scratch,shots/masks/006.png", "shots/007.png,scratch,"]
    _write_lines(root / "images.csv", lines)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    builder.__name__: builder
    for builder in (
        btad,
        dagm,
        elpv,
        folder,
        kolektor_sdd,
        kolektor_sdd2,
        magnetic_tile,
        mvtec_ad,
        mvtec_ad_2,
        mvtec_loco,
        table,
        visa,
    )
}
"""The builders by the name of the source that reads the layout."""
