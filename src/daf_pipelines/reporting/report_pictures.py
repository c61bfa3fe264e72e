"""The test images that an evaluation report shows, beside their heatmaps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import to_hex
from PIL import Image

from daf_pipelines.reporting.dataset_overview import Sample
from daf_pipelines.reporting.embedding import SIDES, embed
from daf_pipelines.reporting.figures import HEAT, HEAT_SPAN, overlay

MISTAKES_SHOWN = 12
OTHERS_SHOWN = 6

Images = Sequence[npt.NDArray[np.uint8]]
Maps = Sequence[npt.NDArray[np.floating]]
Masks = Sequence[npt.NDArray[np.uint8]] | Sequence[npt.NDArray[np.uint8] | None]


@dataclass(frozen=True)
class Choice:
    """Test images that belong together.

    Attributes:
        name: What they are, as a heading.
        order: In which order they stand, in words.
        rows: Positions of those shown.
        total: How many there are.
        of: What the total counts.
        mistakes: Whether their labels are wrong.
    """

    name: str
    order: str
    rows: list[int]
    total: int
    of: str
    mistakes: bool = False


def choose_images(scores: pd.DataFrame) -> list[Choice]:
    """Chooses the images that tell most: mistakes first, then the range of what is right.

    Args:
        scores: image_scores.csv; label, predicted and score are read. Where the score is NaN, the
            image counts as the last of its group.

    Returns:
        Groups of images, none twice, without empty ones. Mistakes stand from the grossest on.
    """
    score = scores["score"].to_numpy(dtype=np.float64)
    anomalous, flagged = scores["label"].to_numpy() == 1, scores["predicted"].to_numpy() == 1
    upwards = np.argsort(score, kind="stable")  # NaN last
    downwards = np.argsort(-score, kind="stable")
    misses = upwards[(anomalous & ~flagged)[upwards]].tolist()
    alarms = downwards[(~anomalous & flagged)[downwards]].tolist()
    found = upwards[(anomalous & flagged)[upwards]].tolist()
    passed = downwards[(~anomalous & ~flagged)[downwards]].tolist()
    weak, middle, strong = _thirds(found)
    detected = (len(found), "detected defects")
    groups = [
        Choice("Missed defects", "lowest score first", misses[:MISTAKES_SHOWN], len(misses),
               "missed defects", mistakes=True),
        Choice("False alarms", "highest score first", alarms[:MISTAKES_SHOWN], len(alarms),
               "false alarms", mistakes=True),
        Choice("Weakest detections", "lowest score first", weak, *detected),
        Choice("Median detections", "around the median score", middle, *detected),
        Choice("Strongest detections", "highest score first", strong, *detected),
        Choice("Normal images nearest to the threshold", "highest score first",
               passed[:OTHERS_SHOWN], len(passed), "normal images that passed"),
    ]  # fmt: skip
    return [group for group in groups if group.rows]


def embed_pairs(
    choices: Sequence[Choice],
    scores: pd.DataFrame,
    images: Images,
    maps: Maps,
    masks: Masks | None,
    heat_of: Callable[[Any], Any],
) -> list[list[dict[str, Any]]]:
    """The chosen images for a page, each beside its heatmap.

    Only the chosen images are read, so that the others may stay on disk.

    Returns:
        For each group its images: "path", "defect_type", "label", "score" in words, the data URIs
        "picture", "heat" and "outline" ("" where no defect is marked), and "ratio", width by
        height.
    """
    groups: dict[tuple[int, str], list[Sample]] = {}
    for number, choice in enumerate(choices):
        pairs = [
            _pair(
                str(scores["path"].iloc[row]),
                images[row],
                maps[row],
                None if masks is None else masks[row],
                heat_of,
            )
            for row in choice.rows
        ]
        groups[number, "picture"] = [pair[0] for pair in pairs]
        groups[number, "heat"] = [pair[1] for pair in pairs]
    sheets = embed(groups)
    return [
        [
            {
                "path": str(scores["path"].iloc[row]),
                "defect_type": str(scores["defect_type"].iloc[row]),
                "label": int(scores["label"].iloc[row]),
                "score": _score(float(scores["score"].iloc[row])),
                "picture": picture["picture"],
                "heat": heat["picture"],
                "outline": picture["outline"],
                "ratio": images[row].shape[1] / images[row].shape[0],
            }
            for row, picture, heat in zip(
                choice.rows, sheets[number, "picture"], sheets[number, "heat"], strict=True
            )
        ]
        for number, choice in enumerate(choices)
    ]


def heat_colours(count: int = 7) -> list[str]:
    """Colours of the heat, from where it begins to where it is brightest, as CSS."""
    return [to_hex(HEAT(place)) for place in np.linspace(*HEAT_SPAN, count)]


def _thirds(ordered: list[int]) -> tuple[list[int], list[int], list[int]]:
    """Of rows from weak to strong: the weakest, those around the median, and from the strongest."""
    count = min(OTHERS_SHOWN, -(-len(ordered) // 3))
    weak = ordered[:count]
    strong = ordered[max(count, len(ordered) - count) :]
    between = ordered[len(weak) : len(ordered) - len(strong)]
    start = (len(between) - count) // 2 if len(between) > count else 0
    return weak, between[start : start + count], strong[::-1]


def _score(score: float) -> str:
    return "no score" if np.isnan(score) else f"{score:.3f}"


def _pair(
    path: str,
    image: npt.NDArray[np.uint8],
    anomaly_map: npt.NDArray[np.floating],
    mask: npt.NDArray[np.uint8] | None,
    heat_of: Callable[[Any], Any],
) -> tuple[Sample, Sample]:
    """An image and its heatmap, both no larger than a page shows them."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDES[0] / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.array(Image.fromarray(np.ascontiguousarray(image)).resize(size))
    values = np.nan_to_num(np.asarray(heat_of(anomaly_map), dtype=np.float32), nan=0.0)
    heat = np.array(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
    small = None
    if mask is not None:
        share = Image.fromarray((np.asarray(mask) != 0).astype(np.float32))
        small = (np.array(share.resize(size, Image.Resampling.BOX)) > 0).astype(np.uint8)
    return (
        Sample(path, "", "", picture, small),
        Sample(path, "", "", overlay(picture, heat, 0, 1), small),
    )
