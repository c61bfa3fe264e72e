"""Nodes of the robustness study pipeline."""

import logging
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from daf_pipelines.parameters import StudyParams
from daf_pipelines.reporting.study_figures import (
    disagreement_figure,
    heatmap_figure,
    slope_figure,
)
from daf_pipelines.reporting.study_markdown import study_markdown
from daf_pipelines.reporting.study_page import study_page
from daf_pipelines.reporting.study_pictures import disputed
from daf_pipelines.resources import git_commit
from daf_pipelines.study.disagreement import pictured
from daf_pipelines.study.outdated import outdated
from daf_pipelines.study.plan import Study
from daf_pipelines.study.readout import Readout, read_out
from daf_pipelines.study.results import read_cells

LOG = logging.getLogger(__name__)
COMMAND = "kedro run --pipelines robustness_study"
IN_FIGURE = 6
"""Images in all, or one a dataset and category: git keeps the figure."""
ON_PAGE = 4
"""Images of a dataset and category: git keeps the page, too."""


def read(study: StudyParams) -> Readout:
    """The declared cells as far as they are up to date, and all that is computed of them."""
    declared = Study.read(study.folder)
    old = outdated(study.folder, declared)
    if old:
        LOG.warning(
            "Left out: %s with other parameters or images than the study has now (%s%s). "
            "make study runs them again.",
            *("1 cell" if len(old) == 1 else f"{len(old)} cells", old[0].name),
            " ..." if len(old) > 1 else "",
        )
    kept = [cell for cell in declared.cells() if cell not in old]
    return read_out(read_cells(study.folder / "cells", kept), study.replicates, declared)


def tables(study_readout: Readout) -> tuple[pd.DataFrame, ...]:
    """What is kept for others to compute with."""
    return (
        study_readout.table,
        study_readout.robustness,
        study_readout.comparisons,
        study_readout.without_one,
        study_readout.seed_tests,
        study_readout.rank_stability,
        study_readout.recommendation,
        study_readout.regrets,
        study_readout.choices,
    )


def read_pictures(study_readout: Readout, tracking_store: dict[str, Any]) -> dict[str, Any]:
    """Thumbnails of the runs whose pictures are compared, by run id."""
    from daf_pipelines.tracking.thumbnails import read_thumbnails

    wanted = [
        cell.run_id
        for by_method in pictured(study_readout.cells).values()
        for cells in by_method.values()
        for cell in cells.values()
    ]
    return read_thumbnails(tracking_store, wanted)


def draw(study_readout: Readout, study_thumbnails: dict[str, Any]) -> tuple[Figure, Figure, Figure]:
    """Strategies x methods, each method over strategies, the same images under each strategy."""
    share = IN_FIGURE // max(1, len(pictured(study_readout.cells)))
    images = disputed(study_readout.cells, study_thumbnails, max(1, share))
    return heatmap_figure(study_readout), slope_figure(study_readout), disagreement_figure(images)


def report(
    study_readout: Readout, study_thumbnails: dict[str, Any], study: StudyParams
) -> tuple[str, str]:
    """A page with everything, and a document."""
    images = disputed(study_readout.cells, study_thumbnails, ON_PAGE)
    settings = f"study.folder={study.folder},study.replicates={study.replicates}"
    command = (
        f"DAF_DATASETS=path/to/datasets make study STUDY={study.folder.name}\n"
        f"{COMMAND} --params {settings}"
    )
    read_out = f"{date.today()}, commit {git_commit(Path())}"
    return (
        study_page(study_readout, images, command, read_out),
        study_markdown(study_readout, command, read_out, has_pictures=bool(images)),
    )
