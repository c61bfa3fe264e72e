"""The dataset card as a page: one HTML file that needs nothing else, neither files nor network."""

import io
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from daf_pipelines.reporting.dataset_card import draw_sizes
from daf_pipelines.reporting.dataset_overview import (
    Samples,
    by_type,
    count_images,
    count_sizes,
    defect_areas,
    describe_findings,
    folded,
    sizes_differ,
    type_kinds,
)
from daf_pipelines.reporting.embedding import as_uri, embed, page_template

MAX_TYPES_LISTED = 100
MAX_SIZES = 10
MAX_FINDINGS = 100
BINS_PER_DECADE = 8
INKS = {"light": "#57606a", "dark": "#9aa4ae"}


def dataset_page(
    manifest: pd.DataFrame,
    samples: Samples,
    findings: pd.DataFrame,
    title: str,
    facts: dict[str, Any],
) -> str:
    """Writes what a person should see of a dataset before training on it, as a web page.

    Args:
        manifest: Table as :data:`~daf_pipelines.sources.manifest.MANIFEST` has it.
        samples: The images to show, those of one type together.
        findings: What the checks found: severity, check, file, finding, remedy.
        title: Heading of the page.
        facts: What identifies the dataset, by name; None: not set.

    Returns:
        HTML that encodes as UTF-8 whatever the names hold; below 5 MB with samples as
        :func:`~daf_pipelines.reporting.dataset_overview.choose_samples` chooses them.
    """
    counts = count_images(manifest)
    return page_template("dataset.html").render(
        title=title,
        facts=facts,
        headline=_headline(manifest),
        splits=list(counts.columns),
        counts=folded(counts, MAX_TYPES_LISTED).to_dict(orient="index"),
        kinds=type_kinds(manifest),
        total=len(manifest),
        areas=_describe_areas(manifest),
        sizes=_describe_sizes(manifest),
        sheets=embed(by_type(samples)),
        type_totals=counts.sum(axis="columns").to_dict(),
        verdict=describe_findings(findings),
        findings=_gravest(findings).to_dict(orient="records"),
        findings_left_out=max(0, len(findings) - MAX_FINDINGS),
    )


def _headline(manifest: pd.DataFrame) -> dict[str, int]:
    """Numbers of images by what they are there for."""
    normal, split = manifest["label"].eq(0).fillna(False), manifest["split"]
    return {
        "train": int((normal & split.eq("train")).sum()),
        "calibration": int((normal & split.eq("calibration")).sum()),
        "test_normal": int((normal & split.eq("test")).sum()),
        "test_anomalous": int((~normal & split.eq("test")).sum()),
        "excluded": int(split.eq("excluded").sum()),
        "without_mask": int((~normal & split.eq("test") & manifest["mask_path"].isna()).sum()),
    }


def _describe_areas(manifest: pd.DataFrame) -> dict[str, Any]:
    """The distribution of the defects' areas by type, on one logarithmic scale.

    Returns:
        "decades", the powers of ten that the scale spans, its number of "bins", and "types": for
        each the number of masks, the smallest, median and largest area, and the bars of a
        histogram, height as a share of the highest by bin.
    """
    areas = defect_areas(manifest)
    if not areas:
        return {"decades": 0, "types": {}}
    smallest = min(values[0] for values in areas.values())
    decades = max(1, int(np.ceil(-np.log10(smallest))))
    bins, types = decades * BINS_PER_DECADE, {}
    for name, values in list(areas.items())[:MAX_TYPES_LISTED]:
        heights, _ = np.histogram(np.log10(values), bins=bins, range=(-decades, 0))
        bars = {int(k): round(float(heights[k] / heights.max()), 2) for k in heights.nonzero()[0]}
        median = float(np.median(values))
        types[name] = {"masks": len(values), "range": (values[0], median, values[-1]), "bars": bars}
    return {"decades": decades, "bins": bins, "types": types}


def _describe_sizes(manifest: pd.DataFrame) -> dict[str, Any]:
    """The commonest sizes and modes, how many there are besides, and a chart if sizes differ."""
    table = count_sizes(manifest)
    shown = table.head(MAX_SIZES)
    return {
        "kinds": [name for name in table.columns if name not in ("width", "height", "mode")],
        "rows": shown.to_dict(orient="records"),
        "others": len(table) - len(shown),
        "charts": {theme: _chart(manifest, ink) for theme, ink in INKS.items()}
        if sizes_differ(manifest)
        else {},
    }


def _chart(manifest: pd.DataFrame, ink: str) -> str:
    """The chart of image sizes on a transparent ground, with axes and words in `ink`."""
    figure = Figure(figsize=(3.6, 3.6), dpi=200, layout="constrained")
    ax = figure.add_subplot(facecolor="none")
    draw_sizes(ax, manifest)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[:].set_color(ink)
    ax.tick_params(color=ink, labelcolor=ink)
    for text in figure.findobj(Text):
        text.set_color(ink)
    data = io.BytesIO()
    figure.savefig(data, format="png", transparent=True)
    return as_uri(data.getvalue(), "png")


def _gravest(findings: pd.DataFrame) -> pd.DataFrame:
    """The findings that are listed, errors before warnings, else as they come."""
    if findings.empty:
        return findings
    return findings.sort_values("severity", kind="stable").head(MAX_FINDINGS)
