"""Broken files at the reader: an image or an ImageError, whatever the bytes.

The fixed corpus runs in a process of its own, so that a crash or a hang would be seen as such, and
memory is that of the reader alone; the file run as a script prints its report.
"""

import base64
import io
import json
import random
import resource
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from daf_pipelines.errors import ImageError
from daf_pipelines.sources import decoding
from daf_pipelines.sources.images import read_image, read_mask

SECONDS_A_CASE = 10.0
SECONDS = 50
MAX_PIXELS = 10_000_000
"""The limit in place of the usual one: many headers claim images just below it."""
MIB = 300
"""Room for an image at that limit, at 30 bytes a pixel."""


def encode(pixels: NDArray[Any], file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def valid_files() -> dict[str, bytes]:
    """Small valid files of every format and of the kinds that decoders treat apart."""
    generator = np.random.default_rng(0)
    colour = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
    alpha = generator.integers(0, 256, (20, 24, 4), dtype=np.uint8)
    grey, deep = colour[..., 0], generator.integers(0, 65536, (20, 24), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = io.BytesIO()
    Image.fromarray(colour).quantize(16).save(palette, "PNG", transparency=3)
    return {
        "png": encode(colour, "PNG", exif=exif),
        "png-alpha": encode(alpha, "PNG"),
        "png-palette": palette.getvalue(),
        "png-16-bit": encode(deep, "PNG"),
        "jpeg": encode(colour, "JPEG", exif=exif),
        "jpeg-progressive": encode(colour, "JPEG", progressive=True),
        "jpeg-grey": encode(grey, "JPEG"),
        "tiff": encode(colour, "TIFF", exif=exif),
        "tiff-lzw": encode(colour, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encode(alpha, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": encode(colour, "TIFF", compression="jpeg"),
        "tiff-16-bit": encode(deep, "TIFF"),
        "tiff-float": encode(deep.astype(np.float32), "TIFF"),
        "bmp": encode(colour, "BMP"),
        "bmp-palette": encode(grey, "BMP"),
        "webp": encode(colour, "WEBP"),
        "webp-lossless": encode(alpha, "WEBP", lossless=True, exif=exif),
        "gif": encode(grey, "GIF"),
        "ppm": encode(colour, "PPM"),
        "pgm-16-bit": encode(deep, "PPM"),
    }


CASES = 3000
"""At least; the exact number depends on the lengths of the encoded files."""
LABELME = json.dumps(
    {
        "imageWidth": 9,
        "imageHeight": 8,
        "shapes": [
            {"shape_type": "polygon", "points": [[1, 1], [5, 1.5], [5, 6]]},
            {"shape_type": "rectangle", "points": [[1, 1], [5, 5]]},
            {"shape_type": "circle", "points": [[4, 4], [6, 4]]},
            {
                "shape_type": "mask",
                "points": [[1, 1], [2, 2]],
                "mask": base64.b64encode(encode(np.eye(2, dtype=np.uint8), "PNG")).decode(),
            },
        ],
    }
).encode()
VALID = valid_files()
MAGIC = [data[:length] for data in VALID.values() for length in (4, 12, 30)]


def corpus() -> Iterator[tuple[str, bytes]]:
    """Broken files by name, always the same."""
    generator = random.Random(0)
    for name, data in VALID.items():
        positions = [*range(min(len(data), 64)), *generator.sample(range(len(data)), 30)]
        for position in positions:
            value = data[position] ^ generator.randrange(1, 256)
            flipped = data[:position] + bytes([value]) + data[position + 1 :]
            yield f"{name}, byte {position} is {value}", flipped
        for length in sorted({1, 2, 4, 8, len(data) - 1, *range(12, len(data), len(data) // 30)}):
            yield f"{name}, cut at {length}", data[:length]
        yield f"{name}, followed by zeros", data + bytes(1000)
    for index in range(300):
        yield f"random {index}", generator.randbytes(generator.randrange(1, 400))
    for index, magic in enumerate(MAGIC * 3):
        yield f"random after magic {index}", magic + generator.randbytes(generator.randrange(400))
    yield "empty", b""
    yield from crafted()
    for side in (3_000, 4_000, 65_000):
        for name, data in claiming(side).items():
            yield f"{name} claims {side}", data


def crafted() -> Iterator[tuple[str, bytes]]:
    """Files made to waste memory or time."""
    png = VALID["png"]
    text = b"zTXt" + b"a\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    yield "png with 50 MB of text in a small chunk", png[:33] + chunk + png[33:]
    tiff = bytearray(VALID["tiff-lzw"])
    start = struct.unpack_from("<I", tiff, 4)[0]
    next_directory = start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0]
    struct.pack_into("<I", tiff, next_directory, start)
    yield "tiff whose directory follows itself", bytes(tiff)
    yield "ppm in text, cut", b"P3\n5000 5000\n255\n" + b"1 2 3 " * 1000
    yield "ppm of a long number", b"P6\n" + b"9" * 5000 + b" 5\n255\n"
    yield "pfm of infinity", b"Pf\n2 1\n-1.0\n" + struct.pack("<2f", np.inf, -np.inf)


def claiming(side: int) -> dict[str, bytes]:
    """Small files whose headers claim `side` x `side` pixels, by format."""
    jpeg, tiff = VALID["jpeg-grey"], VALID["tiff"]
    frame = jpeg.index(b"\xff\xc0")
    header = struct.pack(">II", side, side) + VALID["png"][24:29]
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    webp = bytearray(VALID["webp-lossless"])
    webp[24:30] = (side - 1).to_bytes(3, "little") * 2
    for tag in (256, 257):
        entry = struct.pack("<HHI", tag, 4, 1)
        tiff = tiff.replace(entry + struct.pack("<I", 24), entry + struct.pack("<I", side))
        tiff = tiff.replace(entry + struct.pack("<I", 20), entry + struct.pack("<I", side))
    return {
        "png": VALID["png"][:16] + header + crc + VALID["png"][33:],
        "jpeg": jpeg[: frame + 5] + struct.pack(">HH", side, side) + jpeg[frame + 9 :],
        "tiff": tiff,
        "bmp": VALID["bmp"][:18] + struct.pack("<ii", side, side) + VALID["bmp"][26:],
        "webp": bytes(webp),
        "gif": VALID["gif"][:6] + struct.pack("<HH", side, side) + VALID["gif"][10:],
        "ppm": VALID["ppm"].replace(b"24 20", b"%d %d" % (side, side)),
    }


def outcome(data: bytes) -> str:
    """What reading gives: "image", or the check that failed. Any other exception passes."""
    try:
        image = read_image(data, "fuzz")
    except ImageError as error:
        return error.check
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert 0 < image.size <= 3 * decoding.MAX_PIXELS
    return "image"


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_corpus() -> dict[str, Any]:
    """Reads every file of the corpus; what came of it, for JSON."""
    decoding.MAX_PIXELS = MAX_PIXELS
    names: defaultdict[str, list[str]] = defaultdict(list)
    before = peak_mib()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, data in corpus():
            start = time.perf_counter()
            try:
                names[outcome(data)].append(name)
            except Exception as error:
                names["failure"].append(f"{name}: {error!r}")
            if time.perf_counter() - start > SECONDS_A_CASE:
                names["slow"].append(name)
    said = sorted({str(warning.message) for warning in caught})
    return {"names": names, "warnings": said, "mib": peak_mib() - before}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What came of the corpus; a crash or a hang of the process that reads it is an error here."""
    command = [sys.executable, __file__]
    done = subprocess.run(command, check=True, timeout=SECONDS, capture_output=True, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


class TestCorpus:
    def test_every_case_is_an_image_or_an_image_error(self, report: dict[str, Any]) -> None:
        names = report["names"]
        checks = {"image", "unreadable", "truncated", "decompression_bomb", "empty_file"}
        assert set(names) == checks, names.get("failure")
        assert sum(map(len, names.values())) == sum(1 for _ in corpus()) >= CASES

    def test_no_case_takes_long(self, report: dict[str, Any]) -> None:
        assert report["names"].get("slow", []) == []

    def test_memory_is_bounded_by_the_limit_whatever_the_headers_claim(
        self, report: dict[str, Any]
    ) -> None:
        assert report["mib"] < MIB

    def test_nothing_is_warned_of(self, report: dict[str, Any]) -> None:
        assert report["warnings"] == []

    @pytest.mark.parametrize("side", [4_000, 65_000])
    def test_claims_beyond_the_limit_are_refused(self, report: dict[str, Any], side: int) -> None:
        # libwebp sees first that the smaller canvas does not fit its frame.
        formats = claiming(side).keys() - ({"webp"} if side == 4_000 else set())
        claims = {f"{name} claims {side}" for name in formats}
        assert claims <= set(report["names"]["decompression_bomb"])

    def test_cut_files_are_called_truncated(self, report: dict[str, Any]) -> None:
        halves = {name for name in report["names"]["truncated"] if ", cut at " in name}
        assert {name.split(",")[0] for name in halves} == set(VALID)

    def test_every_valid_file_is_read(self) -> None:
        assert {name: outcome(data) for name, data in VALID.items()} == dict.fromkeys(
            VALID, "image"
        )


class TestRandom:
    @settings(max_examples=300, deadline=None)
    @given(
        data=st.sampled_from(sorted(VALID.values())),
        edits=st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4))),
        end=st.floats(0, 1),
    )
    def test_several_edits_at_once(
        self, data: bytes, edits: list[tuple[float, bytes]], end: float
    ) -> None:
        broken = bytearray(data)
        for where, value in edits:
            position = int(where * len(data))
            broken[position : position + len(value)] = value
        broken = broken[: max(1, round((1 - end**4) * len(broken)))]  # mostly near the end
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoding, "MAX_PIXELS", MAX_PIXELS)
            outcome(bytes(broken))

    @settings(max_examples=200, deadline=None)
    @given(data=st.binary(max_size=200))
    def test_random_bytes_are_no_image(self, data: bytes) -> None:
        assert outcome(data) in {"unreadable", "truncated", "empty_file"}

    @settings(max_examples=200, deadline=None)
    @given(
        where=st.integers(0, len(LABELME) - 1),
        value=st.binary(max_size=3),
        end=st.integers(1, len(LABELME)),
    )
    def test_broken_labelme_files(self, where: int, value: bytes, end: int) -> None:
        broken = LABELME[:where] + value + LABELME[where + 1 : end]
        try:
            mask = read_mask(broken, "fuzz")
        except ImageError:
            return
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}


if __name__ == "__main__":
    print(json.dumps(run_corpus()))  # noqa: T201
