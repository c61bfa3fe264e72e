"""A study as a page: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from daf_pipelines.reporting import study_tables
from daf_pipelines.reporting.charts import PALETTE, Chart, Series, Tick, intervals
from daf_pipelines.reporting.dataset_overview import Sample
from daf_pipelines.reporting.embedding import embed, page_template
from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.study_pictures import Disputed
from daf_pipelines.reporting.study_published import PUBLISHED_IS, published
from daf_pipelines.reporting.study_tables import PAGE_TARGET, SUMMARIES, Matrix, data_of, named
from daf_pipelines.reporting.study_words import (
    BESIDE,
    CAPTIONS,
    CLAIM,
    NO_CLAIM,
    RULES,
    conclusions,
    method,
    targets_of,
    told,
    warnings,
    which_strategy,
)
from daf_pipelines.reporting.words import or_dash
from daf_pipelines.study.readout import Readout
from daf_pipelines.study.results import Data, name_of, ordered
from daf_pipelines.study.robustness import PROPOSED

BRIGHT = 75
"""Percent of the colour behind the highest number of a table."""


def study_page(
    readout: Readout, images: Mapping[Data, Sequence[Disputed]], command: str, read_out: str
) -> str:
    """Writes what a study found, as a web page.

    Args:
        readout: Of any part of a study.
        images: From :func:`~daf_pipelines.reporting.study_pictures.disputed`.
        command: That makes the page again.
        read_out: When that was, and by the code of which commit.

    Returns:
        HTML that encodes as UTF-8 whatever the names hold, below 5 MB.
    """
    pictures = _pictures(images)
    return page_template("study.html").render(
        title="Robustness to the synthesis strategy",
        claim=CLAIM,
        beside=BESIDE,
        command=command,
        facts=study_tables.provenance(readout, read_out),
        notes=readout.notes,
        captions=CAPTIONS,
        answer=study_tables.answer(readout),
        decisive=study_tables.without_one(readout, decisive=True),
        without_one=study_tables.without_one(readout),
        overview=study_tables.overview(readout),
        conclusions=conclusions(readout),
        no_claim=NO_CLAIM,
        verdicts=[
            (one, told(readout, one)) for one in readout.verdicts if one.metric == PAGE_TARGET
        ],
        target=SHORT[PAGE_TARGET],
        warnings=warnings(readout),
        rules=RULES,
        groups=[_group(readout, data, pictures.get(data, [])) for data in data_of(readout)],
        seed_tests=study_tables.seed_tests(readout),
        ranks=study_tables.rank_stability(readout),
        published=published(readout),
        published_is=PUBLISHED_IS,
        which_strategy=which_strategy(readout),
        regrets=[_regrets(readout, target) for target in targets_of(readout)],
        choices=study_tables.choices(readout, PROPOSED, PAGE_TARGET),
        chosen=study_tables.without_defects(readout, PROPOSED),
        coverage=study_tables.coverage(readout),
        method=method(readout),
    )


def _regrets(readout: Readout, target: str) -> dict[str, Any]:
    """What the page tells of choices by their price in one metric."""
    return {
        "metric": SHORT[target],
        "by_data": study_tables.regrets_by_data(readout, PROPOSED, target),
        "by_way": study_tables.regrets(readout, PROPOSED, target),
    }


def _group(readout: Readout, data: Data, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page tells of one dataset and category."""
    methods = ordered(readout.table["method"])
    panels = []
    for metric in study_tables.metrics_of(readout, data):
        found = study_tables.matrix(readout, data, metric)
        panels.append(
            {
                "label": SHORT[metric],
                "heat": _heat(readout, found),
                "slopes": slopes(found, SHORT[metric], methods),
                "robustness": study_tables.robustness(readout, data, metric),
                "comparisons": study_tables.comparisons(readout, data, metric),
            }
        )
    return {"name": name_of(data), "panels": panels, "pictures": pictures}


def _heat(readout: Readout, found: Matrix) -> dict[str, Any]:
    """Rows of numbers, each with the percentage of colour behind it."""
    every = pd.concat([found.trained.melt()["value"], found.free])
    low, high = every.min(), every.max()

    def cell(value: float) -> dict[str, Any]:
        share = max(0.0, (value - low) / (high - low)) if high > low else 0.0
        return {
            "text": or_dash(value, "{:.3f}".format),
            "share": 0 if pd.isna(value) else round(BRIGHT * share),
        }

    return {
        "columns": [named(readout, name) for name in found.grid.columns],
        "free": {name: cell(value) for name, value in found.free.items()},
        "rows": {
            name: [cell(value) for value in row]
            for name, row in zip(found.grid.index, found.grid.to_numpy(float), strict=True)
        },
        "summaries": {
            name: [or_dash(value, "{:.3f}".format) for value in found.summaries.loc[name]]
            for name in SUMMARIES
        },
    }


def slopes(found: Matrix, label: str, methods: Sequence[str]) -> Chart:
    """A line for each method over the strategies; level lines for those without synthesis.

    Without those that are hardly trained.

    Args:
        found: Strategies x methods.
        label: Of the vertical axis.
        methods: Of the whole study, in order: each has one colour on all charts.
    """
    order = found.trained.mean(axis=1).sort_values().index.tolist()
    wide = found.trained.reindex(order)
    values = {(str(m), str(s)): (v, None, None) for m in wide for s, v in wide[m].items()}
    free = {(str(m), ""): (v, None, None) for m, v in found.free.items()}
    scale = intervals({f"{m}|{s}": v for (m, s), v in (values | free).items()})
    x = {name: 100 * (k + 0.5) / len(order) for k, name in enumerate(order)}

    def height(method: str, strategy: str) -> float | None:
        row = scale.rows[f"{method}|{strategy}"]
        return None if row is None else round(100 - row.value, 2)

    series = []
    for number, name in enumerate(methods):
        colour = PALETTE[number % len(PALETTE)]
        if name in found.trained:
            points = [(x[s], y) for s in order if (y := height(name, s)) is not None]
            line = "M" + "L".join(f"{a:.2f} {b}" for a, b in points)
            dots = f"{line}h0" if len(points) == 1 else ""
            series.append(Series(name, colour, line=line, dots=dots))
        elif name in found.free:
            series.append(Series(name, colour, dashed=True, line=f"M0 {height(name, '')}H100"))
    ticks = [Tick(round(place, 2), str(name)) for name, place in x.items()]
    return Chart("", label, ticks, scale.ticks, series, [], [])


def _pictures(images: Mapping[Data, Sequence[Disputed]]) -> dict[Data, list[dict[str, Any]]]:
    """The images of each dataset and category as the page shows them, as large as it allows."""
    samples = {
        (data, image.path): [
            Sample(image.path, "", "", picture, image.mask)
            for picture in (
                image.picture,
                *(heat.picture for cells in image.heats.values() for heat in cells.values()),
            )
        ]
        for data, rows in images.items()
        for image in rows
    }
    embedded = embed(samples, thin=True)
    return {
        data: [_row(image, embedded[data, image.path]) for image in rows]
        for data, rows in images.items()
    }


def _row(image: Disputed, pictures: Sequence[Any]) -> dict[str, Any]:
    rest = iter(pictures[1:])
    return {
        "image": image,
        "picture": pictures[0],
        "methods": {
            method: [
                {"strategy": name, "rank": f"{heat.rank:.0%}", "picture": next(rest)}
                for name, heat in cells.items()
            ]
            for method, cells in image.heats.items()
        },
    }
