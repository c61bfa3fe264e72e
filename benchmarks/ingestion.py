"""Ingestion: images per second against a plain loop, and memory against the size of the set.

Speed, on magnetic tile (1,344 images with masks): the project decodes every file once, on all
cores, runs all checks, and writes manifest and stores. The plain loop makes the same manifest and
the same arrays, which is asserted, as is usually done: one process, a pass over the files for the
table and another one for the arrays, without checks. Both in turn, several times; the figure is
the median ratio.

Memory: the peak of a process that ingests 1,000 and 50,000 images (128 x 128 pixels, JPEG), made
for the purpose, all different.

    python benchmarks/ingestion.py --root path/to/magnetic_tile
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.resources import peak_rss_mib
from daf_pipelines.sources.base import Row
from daf_pipelines.sources.images import fit_image, fit_mask, read_image, read_mask
from daf_pipelines.sources.ingestion import ingest
from daf_pipelines.sources.registry import find_source
from daf_pipelines.sources.splits import decide_splits

SIZE = 128


def project(root: Path, folder: Path) -> int:
    """Manifest and stores, as the pipeline makes them; returns the number of images."""
    return sum(
        len(s) for s in ingest(DatasetParams(root=root, image_size=SIZE), 0, folder).values()
    )


def plain_loop(root: Path, folder: Path) -> int:
    """The same table and arrays, in the way that is usually written."""
    params = DatasetParams(root=root, image_size=SIZE)
    source = find_source(params)
    rows = sorted(source.list_images(root, "tile").rows, key=lambda row: row.path)
    table = decide_splits(
        pd.DataFrame([describe(row, root) for row in rows]).astype({"label": "Int64"}),
        source.test_share,
        params.calibration_fraction,
        seed=0,
    )
    table.to_parquet(folder / "manifest.parquet")
    for split, chosen in table.groupby("split"):
        images = [fit_image(read_image(root / path), SIZE, "square") for path in chosen["path"]]
        masks = [fit_mask(read_mask(root / path), SIZE, "square") for path in chosen["mask_path"]]
        (folder / split).mkdir()
        np.save(folder / split / "images.npy", np.stack(images))
        np.save(folder / split / "masks.npy", np.stack(masks))
    return len(table)


def describe(row: Row, root: Path) -> dict[str, Any]:
    """A row of the manifest."""
    height, width = read_image(root / row.path).shape[:2]
    with Image.open(root / row.path) as image:
        mode = image.mode
    return asdict(row) | {
        "width": width,
        "height": height,
        "mode": mode,
        "content_hash": hashlib.sha256((root / row.path).read_bytes()).hexdigest(),
        "mask_hash": hashlib.sha256((root / row.mask_path).read_bytes()).hexdigest(),
        "mask_coverage": float(read_mask(root / row.mask_path).mean()),
    }


def assert_equal(ours: Path, plain: Path) -> None:
    """Both have made the same."""
    tables = (pd.read_parquet(folder / "manifest.parquet") for folder in (ours, plain))
    pd.testing.assert_frame_equal(*tables, check_like=True, check_dtype=False)
    for split in ("train", "calibration", "test"):
        for name in ("images.npy", "masks.npy"):
            arrays = (np.load(folder / split / name) for folder in (ours, plain))
            np.testing.assert_array_equal(*arrays)


def speed(root: Path, repetitions: int) -> dict[str, float]:
    """Median seconds of both, in turn, and the median of their ratios."""
    seconds: dict[str, list[float]] = {"project": [], "plain loop": []}
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as plain:
            for name, run, folder in (
                ("project", project, Path(ours)),
                ("plain loop", plain_loop, Path(plain)),
            ):
                began = time.perf_counter()
                count = run(root, folder)
                seconds[name].append(time.perf_counter() - began)
                print(f"{name}: {count} images in {seconds[name][-1]:.2f} s", flush=True)
            assert_equal(Path(ours), Path(plain))
    pairs = zip(seconds["plain loop"], seconds["project"], strict=True)
    return {
        "images_per_second": count / statistics.median(seconds["project"]),
        "plain_images_per_second": count / statistics.median(seconds["plain loop"]),
        "speedup": statistics.median(plain / ours for plain, ours in pairs),
    }


def make_images(folder: Path, count: int) -> None:
    """`count` different pictures of one kind: a smooth background with noise of its own."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    background = np.linspace(80, 160, 128)[:, None] + np.linspace(-20, 20, 128)[None]
    for index in range(count):
        coarse = Image.fromarray(rng.normal(0, 20, (16, 16)).astype(np.float32))
        noise = np.asarray(coarse.resize((128, 128), Image.Resampling.BICUBIC))
        pixels = np.clip(background + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:06}.jpg", quality=85)


def peak_mib(count: int) -> float:
    """Peak memory of a process that ingests `count` images, MiB."""
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder) / "parts" / "good", count)
        command = [sys.executable, __file__, "--ingest", folder]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak, seconds = map(float, result.stdout.split())
    print(f"{count} images: {peak:.0f} MiB, {count / seconds:.0f} images/s", flush=True)
    return peak


def main() -> None:
    """Measure, and print a JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="magnetic tile; default: $DAF_TEST_DATASETS")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 50000])
    parser.add_argument("--ingest", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ingest:
        began = time.perf_counter()
        project(arguments.ingest / "parts", arguments.ingest)
        print(peak_rss_mib(), time.perf_counter() - began)
        return
    root = arguments.root or Path(os.environ.get("DAF_TEST_DATASETS", "")) / "magnetic_tile"
    if not root.is_dir():
        parser.error(f"{root} is no folder: name magnetic tile's with --root, or DAF_TEST_DATASETS")
    result = speed(root, arguments.repetitions)
    result |= {f"peak_mib_{count}": peak_mib(count) for count in arguments.sizes}
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    print(f"{os.cpu_count()} cores, {free:.0f} GiB free in the temporary folder")
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


if __name__ == "__main__":
    main()
