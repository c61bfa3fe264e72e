"""Which images are trained on, which set thresholds, and which are tested.

A dataset's official split is kept. Where there is none, it is drawn: pseudo-random, decided by the
seed and by what is drawn, and never parting images of one group (one object, lot or sequence).
"""

import hashlib
from typing import Any

import pandas as pd

from daf_pipelines.sources.base import GOOD


def decide_splits(
    table: pd.DataFrame, test_share: float, calibration_fraction: float, seed: int
) -> pd.DataFrame:
    """Labels that the masks decide, the test split where there is none, the calibration split.

    Args:
        table: One row per readable image, with the columns `split`, `label`, `defect_type`,
            `group`, `content_hash` and `mask_coverage`, as the source and the files have them.
        test_share: Share of the normals that is tested, where the split is drawn.
        calibration_fraction: Share of the training normals that is held out for thresholds, where
            the dataset holds none out itself.
        seed: Of what is drawn.

    Returns:
        The table with `split`, `label` and `defect_type` decided, and `drawn`: whether the test
        split was drawn for the image.
    """
    table = _with_group(_label_by_mask(table))
    undecided = table["split"].isna()
    tested = table.index.isin(_drawn_test(table, test_share, seed))
    split = table["split"].mask(tested, "test").fillna("train")
    # Normals only are trained on.
    anomalous = table["label"].eq(1).fillna(False).astype(bool)
    split = split.mask(anomalous & split.isin(["train", "calibration"]), "excluded")
    if not split.eq("calibration").any():
        train = table[split.eq("train")]
        wanted = max(1, round(calibration_fraction * len(train)))
        held_out = draw(_units(train), wanted, f"calibration-{seed}")
        split = split.mask(split.index.isin(held_out), "calibration")
    return table.assign(split=split, drawn=undecided)


def describe_split(
    table: pd.DataFrame, findings: pd.DataFrame, test_share: float, seed: int
) -> dict[str, Any]:
    """Where a test split comes from, how large it is, and whether its images repeat.

    Args:
        table: As :func:`decide_splits` gives it.
        findings: What the checks found: columns `check` and `file` are read.
        test_share: As for :func:`decide_splits`.
        seed: As for :func:`decide_splits`.

    Returns:
        ``origin`` ("fixed by the source", "drawn" or "partly drawn"), ``test_share`` of the normals
        and ``seed`` (None where nothing was drawn), ``by_group``, ``sizes``, and ``repeats``, of
        test images: ``within_test`` (pixels of another test image), ``of_train`` (looks like a copy
        of an image that was trained on or held out), ``groups_in_train`` (groups on both sides).
    """
    split, normal = table["split"], table["label"].eq(0).fillna(False).astype(bool)
    used = table[split.ne("excluded")]
    drawn = bool(used["drawn"].any())
    origin = "drawn" if used["drawn"].all() else "partly drawn" if drawn else "fixed by the source"
    in_test = findings[findings["file"].isin(table.loc[split.eq("test"), "path"])]
    checks = in_test["check"].value_counts()
    copies = ("near_duplicate", "train_test_duplicate")
    return {
        "origin": origin,
        "test_share": test_share if drawn else None,
        "seed": seed if drawn else None,
        "by_group": bool(used["group"].notna().any()),
        "sizes": {
            "train": int(split.eq("train").sum()),
            "calibration": int(split.eq("calibration").sum()),
            "test_normal": int((split.eq("test") & normal).sum()),
            "test_anomalous": int((split.eq("test") & ~normal).sum()),
        },
        "repeats": {
            "within_test": int(checks.get("duplicate", 0)),
            "of_train": int(sum(checks.get(check, 0) for check in copies)),
            "groups_in_train": int(findings["check"].eq("group_in_train_and_test").sum()),
        },
    }


def draw(units: "pd.Series[str]", wanted: int, salt: str) -> "pd.Index[int]":
    """Draws about `wanted` rows, whole units at a time, and leaves one unit at least.

    Units come in the order of their salted SHA-256: independent of the order of the rows and of
    any generator's version. One is taken where it brings the count closer to what is wanted.

    Args:
        units: Per row, the name of the unit that it belongs to.
        wanted: Number of rows; of several units one at least is drawn where it is positive.
        salt: Another salt draws others.

    Returns:
        The index of the drawn rows.
    """
    sizes = units.value_counts()
    if wanted < 1 or len(sizes) < 2:
        return units.index[:0]
    order = sorted(sizes.index, key=lambda name: hashlib.sha256(f"{salt}:{name}".encode()).digest())
    chosen: set[str] = set()
    count = 0
    for name in order[:-1]:
        if abs(count + sizes[name] - wanted) < abs(count - wanted):
            chosen.add(name)
            count += sizes[name]
    smallest = min(order, key=lambda name: int(sizes[name]))
    return units.index[units.isin(chosen or {smallest})]


def _units(rows: pd.DataFrame) -> "pd.Series[str]":
    """What is drawn as one: a group, or all images of one content.

    Where all are of one group, it has to be parted, and so do copies of one image where there is
    no other.
    """
    images = rows["content_hash"] + ":0"
    if images.nunique() < 2:
        ordered = rows.sort_values("path")
        rank = ordered.groupby("content_hash").cumcount().astype(str)
        images = (ordered["content_hash"] + ":" + rank).reindex(rows.index)
    one_group = rows["group"].nunique(dropna=False) < 2
    return images if one_group else rows["group"].fillna(images)


def _label_by_mask(table: pd.DataFrame) -> pd.DataFrame:
    by_mask = table["label"].isna() & ~table["split"].eq("excluded")
    defective = table["mask_coverage"].gt(0).fillna(False).astype("Int64")
    label = table["label"].mask(by_mask, defective)
    normal = by_mask & label.eq(0).fillna(False).astype(bool)
    return table.assign(label=label, defect_type=table["defect_type"].mask(normal, GOOD))


def _with_group(table: pd.DataFrame) -> pd.DataFrame:
    """Images without a split join their group, where others of it have one."""
    decided = table.dropna(subset=["split", "group"])
    decided = decided[decided["split"] != "excluded"]
    of_group = decided.sort_values("path").groupby("group")["split"].first()
    return table.assign(split=table["split"].fillna(table["group"].map(of_group).astype("str")))


def _drawn_test(table: pd.DataFrame, share: float, seed: int) -> "pd.Index[int]":
    """The rows without an official split that are tested.

    Groups without a normal image are. Of the others as many as `share` of the normals needs, those
    with a defect first: a defect in a group that is trained on cannot be tested, and is excluded.
    """
    rows = table[table["split"].isna()]
    normal = rows["label"].eq(0).fillna(False).astype(bool)
    units = _units(rows)
    trainable = units.isin(units[normal])
    mixed = units.isin(units[~normal]) & trainable
    tested = ~trainable
    # Two normals at least are left: one to train on, one for the threshold.
    wanted = min(round(share * int(normal.sum())), int(normal.sum()) - 2)
    for candidates in (units[mixed & normal], units[trainable & ~mixed]):
        all_of_them = len(candidates) <= wanted
        drawn = candidates.index if all_of_them else draw(candidates, wanted, f"test-{seed}")
        tested |= units.isin(units[drawn])
        wanted -= len(drawn)
    return rows.index[tested]
