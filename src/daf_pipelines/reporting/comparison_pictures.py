"""The same test images under each model of a comparison, those first that models disagree on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from daf_pipelines.comparison import EvaluatedRun
from daf_pipelines.reporting.dataset_overview import Sample
from daf_pipelines.reporting.embedding import embed
from daf_pipelines.reporting.figures import overlay
from daf_pipelines.reporting.thumbnails import decoded

MAX_IMAGES = 20
"""Of all datasets and categories of a page together, but at least three of each."""
MAX_MODELS = 10
THRESHOLD = 0.5
VERDICTS = {
    (0, False): "passed",
    (0, True): "false alarm",
    (1, False): "missed",
    (1, True): "found",
}

Data = tuple[str, str]


@dataclass(frozen=True)
class Shown:
    """What one model makes of an image.

    Attributes:
        score: Calibrated; None where the model was not tested on the image.
        verdict: Whether it is right, in words.
        is_wrong: Whether it is wrong.
        picture: Data URI of the image with the model's heat, "" without one.
        outline: Data URI of the outline of the defect, "" without one.
    """

    score: float | None
    verdict: str
    is_wrong: bool
    picture: str
    outline: str


@dataclass(frozen=True)
class Row:
    """An image under each model.

    Attributes:
        path: Of the image.
        is_anomalous: Its label.
        defect_type: Its defect type.
        flagged: Number of models that call it anomalous.
        tested: Number of models that were tested on it.
        picture: Data URI of the image.
        outline: Data URI of the outline of the defect, "" without one.
        models: One entry a model, in the order of the runs.
    """

    path: str
    is_anomalous: bool
    defect_type: str
    flagged: int
    tested: int
    picture: str
    outline: str
    models: list[Shown]


def side_by_side(groups: Mapping[Data, Sequence[EvaluatedRun]]) -> dict[Data, list[Row]]:
    """The images of each dataset and category, as large as the size of a page allows.

    Only images that two models were tested on, and of them those first that models judge
    differently, most evenly divided first, then those whose scores are farthest apart.
    """
    limit = max(3, MAX_IMAGES // max(1, len(groups)))
    chosen = {
        data: _Images([run for run in runs if run.thumbnails is not None][:MAX_MODELS])
        for data, runs in groups.items()
    }
    samples = {
        (data, path): images.samples(path)
        for data, images in chosen.items()
        for path in images.most_disputed(limit)
    }
    embedded = embed(samples, thin=True)
    rows: dict[Data, list[Row]] = {data: [] for data in groups}
    for (data, path), pictures in embedded.items():
        rows[data].append(chosen[data].row(path, groups[data], pictures))
    return rows


class _Images:
    """The test images of some runs on the same dataset and category."""

    def __init__(self, runs: Sequence[EvaluatedRun]) -> None:
        self._runs = runs
        self._thumbnails = {run.run_id: _by_path(run.thumbnails) for run in runs}
        scores = {run.run_id: _scores(run) for run in runs}
        # One row an image, one column a run; NaN where a run was not tested on it.
        self._scores = pd.DataFrame(scores)

    def most_disputed(self, limit: int) -> list[str]:
        """Paths of the images to show."""
        tested = self._scores[self._scores.notna().sum(axis=1) >= 2]
        share = (tested > THRESHOLD).sum(axis=1) / tested.notna().sum(axis=1)
        order = pd.DataFrame(
            {
                "division": np.minimum(share, 1 - share),
                "spread": tested.max(axis=1) - tested.min(axis=1),
            }
        ).sort_index()
        order = order.sort_values(["division", "spread"], ascending=False, kind="stable")
        return order.index[:limit].tolist()

    def samples(self, path: str) -> list[Sample]:
        """The image itself, then with the heat of each run that was tested on it."""
        found = [table[path] for table in self._thumbnails.values() if path in table]
        plain = decoded(found[0]["image"], "RGB")
        pictures = [Sample(path, "", "", plain, _mask(found[0]))]
        for entry in found:
            heat = decoded(entry["heat"], "L").astype(np.float32) / 255
            picture = overlay(decoded(entry["image"], "RGB"), heat, 0, 1)
            pictures.append(Sample(path, "", "", picture, _mask(entry)))
        return pictures

    def row(self, path: str, runs: Sequence[EvaluatedRun], pictures: Sequence[Any]) -> Row:
        """What the page shows of an image, with pictures as of :meth:`samples`."""
        tested = [run.run_id for run in self._runs if path in self._thumbnails[run.run_id]]
        heats = dict(zip(tested, pictures[1:], strict=True))
        first = self._thumbnails[tested[0]][path]
        by_run = self._scores.loc[path].to_dict()
        scores = {str(run): float(s) for run, s in by_run.items() if not math.isnan(s)}
        return Row(
            path=path,
            is_anomalous=bool(first["label"]),
            defect_type=str(first["defect_type"]),
            flagged=sum(score > THRESHOLD for score in scores.values()),
            tested=len(scores),
            picture=pictures[0]["picture"],
            outline=pictures[0]["outline"],
            models=[
                _shown(scores.get(run.run_id), int(first["label"]), heats.get(run.run_id))
                for run in runs
            ],
        )


def _shown(score: float | None, label: int, heat: Any) -> Shown:
    if score is None or heat is None:
        return Shown(None, "not tested on it", False, "", "")
    flagged = score > THRESHOLD
    is_wrong = flagged != bool(label)
    return Shown(score, VERDICTS[label, flagged], is_wrong, heat["picture"], heat["outline"])


def _by_path(thumbnails: pd.DataFrame | None) -> dict[str, dict[str, Any]]:
    assert thumbnails is not None
    records = thumbnails.to_dict(orient="records")
    return {str(row["path"]): {str(k): v for k, v in row.items()} for row in records}


def _scores(run: EvaluatedRun) -> "pd.Series[float]":
    """Calibrated scores by path, of the images that have a thumbnail."""
    assert run.thumbnails is not None
    if run.scores is None:
        return pd.Series(dtype=float)
    scores = run.scores.set_index("path")["score"]
    return scores[scores.index.isin(run.thumbnails["path"])]


def _mask(entry: Mapping[str, Any]) -> npt.NDArray[np.uint8] | None:
    mask = entry["mask"]
    return decoded(mask, "L") if isinstance(mask, bytes) else None
