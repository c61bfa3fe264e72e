"""A gallery of strategies as a page: one HTML file that needs nothing else."""

import io
import shlex
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from matplotlib import colormaps
from PIL import Image

from daf_pipelines.reporting.dataset_overview import Sample
from daf_pipelines.reporting.embedding import as_uri, embed, page_template
from daf_pipelines.reporting.gallery import milliseconds, recipe, rounded
from daf_pipelines.synthesis.gallery import Gallery, Pictures
from daf_pipelines.synthesis.statistics import QUANTILES

POSITIONS = colormaps["viridis"]


def gallery_page(gallery: Gallery, title: str, dataset: Sequence[str]) -> str:
    """Writes what helps to choose a strategy, as a web page.

    Args:
        gallery: The outliers, see :func:`~daf_pipelines.synthesis.gallery.synthesise_gallery`.
        title: Heading of the page.
        dataset: Parameters of the images, for the commands, as ``dataset.root=parts``.

    Returns:
        HTML that encodes as UTF-8 whatever the names hold, below 5 MB: where there are many
        strategies, the pictures get smaller.
    """
    exhibits = gallery.exhibits.items()
    groups: dict[str | None, list[Sample]] = {None: _samples(gallery, None, gallery.originals)}
    groups |= {name: _samples(gallery, name, e.outliers, e.masks) for name, e in exhibits}
    sheets = embed(groups, thin=True)
    rows = gallery.statistics.to_dict(orient="records")
    return page_template("gallery.html").render(
        title=title,
        originals=sheets.pop(None),
        strategies=[
            _describe(gallery, name, row, dataset) | {"pictures": sheets[name]}
            for name, row in zip(gallery.strategies, rows, strict=True)
        ],
        areas=_area_scale(gallery.statistics),
        draws=int(gallery.statistics["draws"].max()),
    )


def _samples(
    gallery: Gallery, name: str | None, pictures: Pictures, masks: Pictures | None = None
) -> list[Sample]:
    return [
        Sample(path, "", name or "", picture, None if masks is None else masks[k])
        for k, (path, picture) in enumerate(zip(gallery.names, pictures, strict=True))
    ]


def _describe(
    gallery: Gallery, name: str, row: Mapping[Hashable, Any], dataset: Sequence[str]
) -> dict[str, Any]:
    """What the page tells of a strategy."""
    parameters = ",".join([*dataset, f"synthesis.strategy={name}"])
    strategy, positions = gallery.strategies[name], gallery.exhibits[name].positions
    return {
        "name": name,
        "recipe": recipe(strategy),
        "description": strategy.description,
        "command": f"kedro run --params {shlex.quote(parameters)}",
        "definition": yaml.safe_dump(strategy.describe(), sort_keys=False, allow_unicode=True),
        "area": {quantile: row[f"area_{quantile}"] for quantile in QUANTILES},
        "median": rounded(row["area_q50"]),
        "usual": f"{rounded(row['area_q05'])} to {rounded(row['area_q95'])}",
        "regions": f"{row['regions']:.3g}",
        "contrast": f"{row['contrast']:.3f}",
        "time": milliseconds(row),
        "positions": _draw_positions(positions),
        "most": rounded(float(positions.max())),
    }


def _draw_positions(positions: npt.NDArray[np.float64]) -> str:
    """The map of positions as a small picture, brightest where most outliers lie."""
    pixels = (255 * POSITIONS(positions / positions.max())[..., :3]).round().astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="png")
    return as_uri(data.getvalue(), "png")


def _area_scale(statistics: pd.DataFrame) -> dict[str, Any]:
    """A logarithmic scale for the areas of all strategies.

    Returns:
        "decades", the powers of ten that it spans up to 1, and the function "place": where on it
        an area lies, from 0 to 100.
    """
    decades = max(1, int(np.ceil(-np.log10(statistics["area_q05"].min()))))
    return {
        "decades": decades,
        "place": lambda area: round(100 * (1 + float(np.log10(area)) / decades), 1),
    }
