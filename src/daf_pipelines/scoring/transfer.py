"""How well a detector finds outliers of other strategies than its own, without any real defect."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from daf_pipelines.errors import ParameterError, faults_of
from daf_pipelines.metrics import image_ap, image_auroc, rank_pixels
from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.scoring.detector import Detector, Prediction
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import contents
from daf_pipelines.synthesis.configured import configured_strategy
from daf_pipelines.synthesis.foreground import foreground_of
from daf_pipelines.synthesis.textures import load_textures
from daf_pipelines.synthesis.validation import masks_of, sources_of, synthesise_set

PRESETS = ("draem", "nsa", "simple_texture", "simple_shape", "simple_texture_shape", "cutpaste")
NO_CHANGES: Mapping[str, Any] = {}


def other_strategies(
    synthesis: SynthesisParams, strategies: Mapping[str, Mapping[str, Any]], repeats: int
) -> dict[str, SynthesisParams]:
    """The synthesis of each strategy.

    Args:
        synthesis: what no entry changes.
        strategies: by name; an entry may also set another ``strategy``. Empty: ``PRESETS``.
        repeats: outliers per held-out normal.

    Raises:
        ParameterError: an unknown strategy or operator, or a wrong parameter of one.
    """
    found = {}
    for name, entry in (strategies or dict.fromkeys(PRESETS, NO_CHANGES)).items():
        changes = {"strategy": name, **entry, "validation_repeats": repeats}
        try:
            found[name] = SynthesisParams.model_validate(synthesis.model_dump() | changes)
        except ValidationError as error:
            faults = faults_of(error, "transfer", "strategies", name)
            raise ParameterError(f"{faults}. See section synthesis.") from error
        configured_strategy(found[name])
    return found


def transfer(
    detector: Detector,
    held_out: ImageSet,
    train: ImageSet,
    strategies: Mapping[str, SynthesisParams],
    seed: int,
) -> pd.DataFrame:
    """Tell held-out normal images from their own synthetic outliers, of each strategy.

    Args:
        detector: trained on ``train``.
        held_out: normal images that training has not seen.
        train: what contents are made of.
        strategies: synthesis by name.
        seed: of the outliers.

    Returns:
        One row a strategy: ``strategy``, ``n_normal``, ``n_outliers``, ``image_auroc``,
        ``image_ap``, ``pixel_ap`` (on the outliers).
    """
    quiet = detector.score(held_out.images, held_out.boxes).scores
    rows = []
    for name, outliers in _outliers(held_out, train, strategies, seed):
        loud = detector.score(outliers.images, outliers.boxes)
        scores = np.concatenate([quiet, loud.scores])
        labels = np.repeat([0, 1], [len(quiet), len(loud.scores)])
        rows.append(
            {
                "strategy": name,
                "n_normal": len(quiet),
                "n_outliers": len(loud.scores),
                "image_auroc": image_auroc(scores, labels),
                "image_ap": image_ap(scores, labels),
                "pixel_ap": _pixel_ap(loud, outliers),
            }
        )
    return pd.DataFrame(rows)


def _outliers(
    held_out: ImageSet, train: ImageSet, strategies: Mapping[str, SynthesisParams], seed: int
) -> Iterator[tuple[str, ImageSet]]:
    nowhere = np.empty((0, *train.images.shape[1:3]), bool)
    of_folder = functools.cache(lambda root: load_textures(root, train.images.shape[1]))
    objects = functools.cache(lambda: [foreground_of(s.images, s.boxes) for s in (train, held_out)])
    for name, params in strategies.items():
        needed = configured_strategy(params).needs_object
        of_train, of_held_out = objects() if needed else (nowhere, nowhere)
        textures = of_folder(params.texture_root)
        sources = sources_of(train, textures, of_train)
        yield name, synthesise_set(held_out, of_held_out, sources, params, seed)


def _pixel_ap(prediction: Prediction, outliers: ImageSet) -> float:
    maps = contents(prediction.maps, outliers.boxes)
    return rank_pixels(maps, contents(masks_of(outliers), outliers.boxes)).ap()
