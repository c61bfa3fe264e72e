"""Checks that save hours: what is wrong with a dataset, found before anything is trained on it.

Each returns findings; :func:`check_names` needs no file to be read, the others what reading them
has brought (:attr:`daf_pipelines.sources.reading.Reading.table`, its splits decided).
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from daf_pipelines.sources.base import WHOLE, Finding, Row, printable
from daf_pipelines.sources.images import SUFFIXES
from daf_pipelines.sources.similarity import Pixels, find_originals

OUTSIDE_ROOT = "outside_root"
UNSAFE = frozenset({OUTSIDE_ROOT, "undecodable_name"})
"""Checks of names whose files must not be read."""
FEW_NORMALS = 20
UNREAD_SUFFIXES = frozenset(
    {".avif", ".cr2", ".dng", ".eps", ".exr", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".tga"}
)
LONGEST_NAME, LONGEST_PATH = 255, 260
"""Bytes of a name and characters of a path that other file systems take."""
RARE = 0.1
"""Share of the images up to which a mode is unlike the others'."""
TOO_SMALL = 0.25
"""Of the working size: a longer side below it leaves nothing to see."""
FEWEST_PER_CLASS = 5
GIVEN_AWAY = 0.95
DAY = 24 * 60 * 60

TRAINED = ("train", "calibration")


def check_names(rows: Sequence[Row], root: Path) -> list[Finding]:
    """Names that lead out of the root, collide, or trouble other systems.

    Args:
        rows: What the source lists.
        root: Folder that their paths are relative to.
    """
    files = sorted({file for row in rows for file in (row.path, row.mask_path) if file})
    return [
        *_outside(files, root),
        *_undecodable(files),
        *_collisions(files),
        *_long_names(files),
        *_foreign_names(files),
    ]


def check_tree(root: Path, others: Collection[str] = ()) -> list[Finding]:
    """What a folder holds that no source lists: linked folders, dead links, unread formats.

    Args:
        root: Folder of the dataset.
        others: Folders in it that do not matter: those of categories that are not read.
    """
    findings, unread = [], []
    for folder, folders, files in os.walk(root):
        left_out = others if Path(folder) == root else ()
        folders[:] = [n for n in folders if not n.startswith(".") and n not in left_out]
        for name in sorted(folders + files):
            path = Path(folder, name)
            file = path.relative_to(root).as_posix()
            if path.is_symlink() and (name in folders or not path.exists()):
                findings.append(_unlisted_link(file, path, name in folders))
            elif path.suffix.lower() in UNREAD_SUFFIXES:
                unread.append(file)
    if unread:
        found = f"{len(unread)} pictures in formats that are not read, this is the first"
        remedy = f"Save them as PNG; what is read ends in {', '.join(sorted(SUFFIXES))}"
        findings.append(Finding("warning", "unread_format", unread[0], found, remedy))
    return findings


def check_records(records: pd.DataFrame, pixels: Pixels, image_size: int) -> list[Finding]:
    """All checks of what was read.

    Args:
        records: One row a readable image: the columns of the manifest, and `pixel_hash`,
            `perceptual_hash` and `date`.
        pixels: Gives prepared images by row number.
        image_size: Working size in pixels.
    """
    records = records.reset_index(drop=True)
    return [
        *check_normals(records),
        *check_likeness(records, image_size),
        *check_contents(records),
        *check_near_duplicates(records, pixels),
        *check_groups(records),
        *check_masks(records),
        *check_label_leaks(records),
    ]


def check_normals(records: pd.DataFrame) -> list[Finding]:
    """Too few normal images to train on, and to set a threshold with."""
    counts = [int(records["split"].eq(split).sum()) for split in TRAINED]
    count, remedy = sum(counts), "Add pictures of good parts; 50 or more are better"
    if count >= FEW_NORMALS and all(counts):
        return []
    if all(counts):
        found = f"only {count} normal images to train on and to set the threshold with"
        return [Finding("warning", "few_normals", WHOLE, found, remedy)]
    if count >= 2:
        use = "to train on" if counts[1] else "to set the threshold with"
        found = f"of {count} normal images none is left {use}"
        remedy = "Mend the split"
    else:
        found = ("no normal image", "only 1 normal image")[count]
        found += " to train on; at least 2 are needed (training uses normal images only)"
    return [Finding("error", "too_few_normals", WHOLE, found, remedy)]


def check_likeness(records: pd.DataFrame, image_size: int) -> list[Finding]:
    """Images that were exported unlike the others: of a rare mode, or tiny."""
    used = records[records["split"] != "excluded"]
    modes = used["mode"].value_counts()
    findings = []
    for mode, count in modes[modes <= RARE * len(used)].items():
        first = used.loc[used["mode"] == mode, "path"].iloc[0]
        found = f"{count} of {len(used)} images have the mode {mode}, this is the first; the most "
        found += f"frequent is {modes.index[0]}"
        remedy = "Export all images alike; otherwise a detector may take for a defect what differs"
        findings.append(Finding("warning", "unlike_mode", first, found, remedy))
    small = used[used[["width", "height"]].max(axis=1) < TOO_SMALL * image_size]
    if len(small):
        width, height = small[["width", "height"]].iloc[0]
        found = f"{len(small)} of {len(used)} images are far smaller than the working size of "
        found += f"{image_size} px, this is the first: {width} x {height} px"
        remedy = "Remove them, or lower dataset.image_size"
        findings.append(Finding("warning", "small_image", small["path"].iloc[0], found, remedy))
    return findings


def check_contents(records: pd.DataFrame) -> list[Finding]:
    """Images with the same pixels, whatever their files: in train and test, and in one split."""
    used = records[records["split"] != "excluded"]
    findings = []
    for _, group in used[used.duplicated("pixel_hash", keep=False)].groupby("pixel_hash"):
        trained, tested = group[group["split"].isin(TRAINED)], group[group["split"] == "test"]
        if len(trained):
            findings += [_leak(path, trained["path"].iloc[0]) for path in tested["path"]]
        for side in (trained, tested):
            findings += _repetitions(side)
    return findings


def check_near_duplicates(records: pd.DataFrame, pixels: Pixels) -> list[Finding]:
    """Test images that are copies of a training image, re-encoded or hardly changed."""
    leaked = records.loc[records["split"].isin(TRAINED), "pixel_hash"]
    tested = np.flatnonzero(records["split"].eq("test") & ~records["pixel_hash"].isin(leaked))
    trained = np.flatnonzero(records["split"].isin(TRAINED))
    hashes, paths = records["perceptual_hash"].tolist(), records["path"].tolist()
    originals = tqdm(
        find_originals(tested.tolist(), trained.tolist(), hashes, pixels),
        desc="Comparing test and training images",
        total=len(tested),
        unit="image",
        disable=None,
    )
    return [
        Finding(
            "warning",
            "near_duplicate",
            paths[test],
            f"a test image that looks like a copy of the training image {paths[original]}",
            "Compare the two; if they are of one part, remove one of them",
        )
        for test, original in zip(tested.tolist(), originals, strict=True)
        if original is not None
    ]


def check_groups(records: pd.DataFrame) -> list[Finding]:
    """Groups, of one object, lot or sequence, that an official split has on both sides."""
    split = records["split"]
    trained, tested = (records.loc[split.isin(s), "group"] for s in (TRAINED, ["test"]))
    return [
        Finding(
            "warning",
            "group_in_train_and_test",
            group,
            "a group of which some images are trained on and others tested: figures flatter",
            "Give all its images one split",
        )
        for group in sorted(set(trained.dropna()) & set(tested.dropna()))
    ]


def check_masks(records: pd.DataFrame) -> list[Finding]:
    """Masks that contradict the label, or that only some of the tested defects have."""
    normal, anomalous = (records["label"].eq(k).fillna(False).astype(bool) for k in (0, 1))
    marked = records["mask_coverage"].gt(0)
    tested = records["split"].eq("test") & anomalous
    masked = records["mask_path"].notna()
    findings = [
        Finding(
            "error",
            "mask_on_good",
            path,
            "a good image whose mask marks a defect",
            "Correct the label or the mask",
        )
        for path in records.loc[normal & marked, "path"]
    ]
    findings += [
        Finding(
            "warning",
            "empty_mask",
            path,
            "a defective image whose mask is empty: pixel metrics count all of it as normal",
            "Draw the defect, or remove the mask",
        )
        for path in records.loc[anomalous & masked & ~marked, "path"]
    ]
    if not (tested & masked).any():
        return findings
    return findings + [
        Finding(
            "warning",
            "mask_missing",
            path,
            "a defective test image without a mask, as others have: there are no pixel metrics",
            "Draw the mask",
        )
        for path in records.loc[tested & ~masked, "path"]
    ]


def check_label_leaks(records: pd.DataFrame) -> list[Finding]:
    """Labels that something beside the picture gives away: a detector may learn only that."""
    tested = records[records["split"] == "test"]
    normal, anomalous = (tested[tested["label"].eq(k).fillna(False)] for k in (0, 1))
    trained = records[records["split"].isin(TRAINED)]
    findings = []
    for name, normals in (("test", normal), ("training", trained)):
        if min(len(normals), len(anomalous)) >= FEWEST_PER_CLASS:
            findings += list(_given_away(normals, anomalous, name))
    return findings


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """The findings as a table, errors first: severity, check, file, finding and remedy."""
    columns = ["severity", "check", "file", "finding", "remedy"]
    table = pd.DataFrame([vars(finding) for finding in findings], columns=columns)
    return table.sort_values("severity", kind="stable", ignore_index=True)


def _outside(files: list[str], root: Path) -> Iterator[Finding]:
    top = root.resolve()

    @cache
    def stays_inside(path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(top)
        except OSError:  # a name that is too long is nowhere
            return True

    for file in files:
        path = root / file
        if PurePosixPath(file).is_absolute() or PureWindowsPath(file).drive:
            found, remedy = "an absolute path", f"Write it relative to {root}"
        elif not stays_inside(path.parent) or (_is_link(path) and not stays_inside(path)):
            found, remedy = f"leads out of {root}", "Copy the file into the folder of the dataset"
        else:
            continue
        yield Finding("error", OUTSIDE_ROOT, file, f"{found}; it is not read", remedy)


def _unlisted_link(file: str, path: Path, is_folder: bool) -> Finding:
    if is_folder:
        found = f"a link to the folder {path.resolve()}, which is not entered"
        return Finding("error", OUTSIDE_ROOT, file, found, "Copy the folder here, or bind-mount it")
    return Finding(
        "error", "missing_file", file, "a link to a file that is not there", "Restore the file"
    )


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


def _undecodable(files: list[str]) -> Iterator[Finding]:
    for file in files:
        if printable(file) != file:
            yield Finding(
                "error",
                "undecodable_name",
                file,
                "a file name that is not UTF-8; it is not read",
                "Rename the file",
            )


def _collisions(files: list[str]) -> Iterator[Finding]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for file in files:
        by_name[unicodedata.normalize("NFC", file).casefold()].append(file)
    for first, *others in by_name.values():
        for other in others:
            yield Finding(
                "warning",
                "case_collision",
                other,
                f"differs from {first} in case or accents' encoding only: on some "
                "systems they are one file",
                "Rename one of them",
            )


def _long_names(files: list[str]) -> Iterator[Finding]:
    for file in files:
        longest = max(len(part.encode("utf-8", "surrogateescape")) for part in file.split("/"))
        if longest > LONGEST_NAME or len(file) > LONGEST_PATH:
            yield Finding(
                "warning",
                "long_name",
                file,
                f"a path of {len(file)} characters: other systems may not take it",
                "Shorten the names",
            )


def _foreign_names(files: list[str]) -> Iterator[Finding]:
    foreign = [file for file in files if not file.isascii() and printable(file) == file]
    if foreign:
        yield Finding(
            "warning",
            "non_ascii_name",
            foreign[0],
            f"{len(foreign)} names with letters beyond ASCII, this is the first: other tools may "
            "stumble over them",
            "Rename them if one does",
        )


def _leak(test: str, train: str) -> Finding:
    return Finding(
        "error",
        "train_test_duplicate",
        test,
        f"a test image with the same content as the training image {train}",
        "Remove one of them",
    )


def _repetitions(side: pd.DataFrame) -> Iterator[Finding]:
    """Findings on images of the same content on one side of the split."""
    if len(set(side["label"])) > 1:
        for path, label in zip(side["path"], side["label"], strict=True):
            other = side.loc[side["label"] != label, "path"].iloc[0]
            yield Finding(
                "error",
                "contradictory_label",
                path,
                f"the same content as {other}, which has another label",
                "Correct one label, or remove one of them",
            )
    else:
        for path in side["path"].iloc[1:]:
            yield Finding(
                "warning",
                "duplicate",
                path,
                f"the same content as {side['path'].iloc[0]} in the same split",
                "Remove one of them",
            )


def _given_away(normals: pd.DataFrame, anomalous: pd.DataFrame, name: str) -> Iterator[Finding]:
    both = pd.concat([normals, anomalous])
    labels = np.repeat([0, 1], [len(normals), len(anomalous)])
    numbers = {
        "size": both["width"] * both["height"],
        "aspect ratio": both["width"] / both["height"],
    }
    if name == "test" and _are_dates_of_taking(both["date"]):  # training images may well be older
        numbers["file date"] = both["date"] // DAY
    for attribute, values in numbers.items():
        auroc = _auroc(values.to_numpy(dtype=float), labels)
        if auroc >= GIVEN_AWAY:
            yield _leaking(attribute, name, f"separates them with an AUROC of {auroc:.3f}")
    accuracy = _accuracy_of_majority(both["mode"].tolist(), labels)
    if accuracy >= GIVEN_AWAY:
        yield _leaking("mode", name, f"tells them apart with a balanced accuracy of {accuracy:.3f}")


def _are_dates_of_taking(dates: "pd.Series[float]") -> bool:
    """Whether files were not merely copied or unpacked, many a second, folder after folder."""
    known = dates.dropna().sort_values()
    return len(known) == len(dates) and bool(known.diff().median() >= 1)


def _leaking(attribute: str, normals: str, how: str) -> Finding:
    return Finding(
        "warning",
        "label_given_away",
        WHOLE,
        f"the images' {attribute} {how}: defects against {normals} normals",
        "Take or export all images alike; otherwise a detector may learn the camera",
    )


def _auroc(values: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """How well a value separates two classes, in either direction: 0.5 to 1."""
    statistic = stats.mannwhitneyu(values[labels == 1], values[labels == 0]).statistic
    share = float(statistic) / ((labels == 1).sum() * (labels == 0).sum())
    return float(max(share, 1 - share))


def _accuracy_of_majority(values: list[str], labels: NDArray[np.int64]) -> float:
    """Balanced accuracy of the label that the others of the same value mostly have."""
    counts = pd.crosstab(pd.Series(values), labels).reindex(columns=[0, 1], fill_value=0)
    others = counts.loc[values].to_numpy()
    own = others[np.arange(len(labels)), labels] - 1
    right = own > others[np.arange(len(labels)), 1 - labels]
    return float(np.mean([right[labels == k].mean() for k in (0, 1)]))
