"""The result of a study as a Markdown document."""

from collections.abc import Iterator, Mapping

from daf_pipelines.reporting import study_tables
from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.study_published import published
from daf_pipelines.reporting.study_tables import PAGE_TARGET, Table, data_of, metrics_of
from daf_pipelines.reporting.study_words import (
    BESIDE,
    CLAIM,
    NO_CLAIM,
    OVERVIEW_IS,
    RULES,
    conclusions,
    method,
    told,
    warnings,
    which_strategy,
)
from daf_pipelines.reporting.words import or_dash
from daf_pipelines.study.readout import Readout
from daf_pipelines.study.recommendation import PRIMARY
from daf_pipelines.study.results import Data, name_of
from daf_pipelines.study.robustness import REFERENCE


def study_markdown(readout: Readout, command: str, *, has_pictures: bool) -> str:
    """Writes what the study found, with how it was made.

    Args:
        readout: Of any part of a study.
        command: That makes the document again.
        has_pictures: Whether the figure of the same image under every strategy shows any.

    Returns:
        Markdown; the figures lie beside it.
    """
    parts = [
        *("# Robustness to the synthesis strategy", CLAIM),
        f"```\n{command}\n```",
        "\n".join(f"- {name}: {fact}" for name, fact in study_tables.provenance(readout).items()),
        *("## In one table", OVERVIEW_IS, _table(study_tables.overview(readout))),
        *_claim(readout),
        *_results(readout),
        *_pictures(has_pictures),
        *("## Over trainings", _table(study_tables.seed_tests(readout))),
        *_ranks(readout),
        *_published(readout),
        *_recommendation(readout),
        *("## How far the study is", _table(study_tables.coverage(readout))),
        *("## How it was measured", *_paragraphs(method(readout))),
    ]
    return "\n\n".join(parts) + "\n"


def _claim(readout: Readout) -> Iterator[str]:
    yield "## Does the claim hold here?"
    found = conclusions(readout)
    yield BESIDE if found else NO_CLAIM
    for metric, sentences in found.items():
        yield f"In {metric}:\n\n" + _list(sentences)
    yield from _paragraphs(warnings(readout))
    if found:
        yield from _by_category(readout)


def _by_category(readout: Readout) -> Iterator[str]:
    yield f"By category, in {SHORT[PAGE_TARGET]}:"
    lines = [
        f"{name_of(one.data)}, against {one.other}: the claim **{one.verdict}**. "
        f"{told(readout, one)}"
        for one in readout.verdicts
        if one.metric == PAGE_TARGET
    ]
    yield _list(lines) if lines else "No two strategies of both methods yet."
    yield from _paragraphs(RULES)


def _results(readout: Readout) -> Iterator[str]:
    yield "## Strategies x methods"
    yield "![strategies x methods](study_heatmap.png)"
    yield "![each method over the strategies](study_slopes.png)"
    for data in data_of(readout):
        for metric in metrics_of(readout, data):
            yield f"### {name_of(data)}, {SHORT[metric]}"
            yield _table(matrix_table(readout, data, metric))
            yield _table(study_tables.robustness(readout, data, metric))
            yield _table(study_tables.comparisons(readout, data, metric))


def _pictures(has_pictures: bool) -> Iterator[str]:
    yield "## The same image under every strategy"
    yield (
        "![heat of daf and daf_without_cue](study_disagreement.png)"
        if has_pictures
        else "No pictures: the MLflow store of this machine has no runs of these cells."
    )


def matrix_table(readout: Readout, data: Data, metric: str) -> Table:
    """Strategies x methods in words, the mean over seeds."""
    found = study_tables.matrix(readout, data, metric)
    columns = [*found.grid.columns, *found.free.index]
    rows = [
        [str(name), *(or_dash(value, "{:.3f}".format) for value in row), *("" for _ in found.free)]
        for name, row in zip(found.grid.index, found.grid.to_numpy(float), strict=True)
    ]
    if len(found.free):
        free = [f"{value:.3f}" for value in found.free]
        rows.append(["no synthesis", *("" for _ in found.grid.columns), *free])
    return Table(["strategy", *columns], rows)


def _ranks(readout: Readout) -> Iterator[str]:
    yield "## Stability of ranks"
    table = study_tables.rank_stability(readout)
    yield _table(table) if table.rows else "Needs two seeds, or two methods on two strategies."


def _published(readout: Readout) -> Iterator[str]:
    yield "## Beside published figures"
    yield (
        "Published figures are means over whole datasets, of larger images and longer training. "
        "How methods stand to each other may be compared, not one figure with another."
    )
    yield _table(published(readout))


def _recommendation(readout: Readout) -> Iterator[str]:
    yield "## Which strategy, without any defect?"
    yield which_strategy(readout)
    regrets = study_tables.regrets(readout, REFERENCE, PAGE_TARGET)
    if regrets.rows:
        yield _table(regrets)
    choices = study_tables.choices(readout, REFERENCE, PAGE_TARGET)
    if choices.rows:
        yield f"What {PRIMARY} chooses:"
        yield _table(choices)
    chosen = study_tables.without_defects(readout, REFERENCE)
    if chosen.rows:
        yield "What each criterion chooses, by image AUROC on held-out normals and their outliers:"
        yield _table(chosen)


def _paragraphs(texts: Mapping[str, str]) -> Iterator[str]:
    return (f"**{heading}**: {text}" for heading, text in texts.items())


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
