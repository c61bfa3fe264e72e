"""The result of a study as a Markdown document."""

from collections.abc import Iterator, Mapping, Sequence

from daf_pipelines.reporting import study_tables
from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.study_published import PUBLISHED_IS, published
from daf_pipelines.reporting.study_tables import PAGE_TARGET, Table, data_of, metrics_of, named
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
from daf_pipelines.study.results import Data, name_of
from daf_pipelines.study.robustness import PROPOSED


def study_markdown(readout: Readout, command: str, read_out: str, *, has_pictures: bool) -> str:
    """Writes what the study found, with how it was made.

    Args:
        readout: Of any part of a study.
        command: That makes the document again.
        read_out: When that was, and by the code of which commit.
        has_pictures: Whether the figure of the same image under every strategy shows any.

    Returns:
        Markdown; the figures lie beside it.
    """
    facts = study_tables.provenance(readout, read_out)
    parts = [
        *("# Robustness to the synthesis strategy", CLAIM),
        *_notes(readout),
        *_claim(readout),
        *_recommendation(readout),
        *_overview(readout),
        *("## Strategies x methods", "![strategies x methods](study_heatmap.png)"),
        "![each method over the strategies](study_slopes.png)",
        *_pictures(has_pictures),
        *("## Beside published figures", PUBLISHED_IS, _table(published(readout))),
        *_details(readout),
        *("## How it was made", f"```\n{command}\n```"),
        _list([f"{name}: {fact}" for name, fact in facts.items()]),
        _table(study_tables.coverage(readout)),
        *_paragraphs(method(readout)),
    ]
    return "\n\n".join(parts) + "\n"


def _notes(readout: Readout) -> Iterator[str]:
    if readout.notes:
        yield "What was tested:"
        yield _list(readout.notes)


def _claim(readout: Readout) -> Iterator[str]:
    yield "## Does the claim hold here?"
    found = conclusions(readout)
    yield BESIDE if found else NO_CLAIM
    answer = study_tables.answer(readout)
    if answer.rows:
        yield CAPTIONS["answer"]
        yield _table(answer)
    for metric, sentences in found.items():
        yield f"In {metric}:\n\n" + _list(sentences)
    decisive = study_tables.without_one(readout, decisive=True)
    if decisive.rows:
        yield CAPTIONS["decisive"]
        yield _table(decisive)
    yield from _paragraphs(warnings(readout))


def _overview(readout: Readout) -> Iterator[str]:
    table = study_tables.overview(readout)
    if table.rows:
        yield from ("## In one table", CAPTIONS["overview"], _table(table))


def _recommendation(readout: Readout) -> Iterator[str]:
    yield "## Which strategy, without any defect?"
    yield from which_strategy(readout)
    for target in targets_of(readout):
        found = study_tables.regrets_by_data(readout, PROPOSED, target)
        if found.rows:
            yield CAPTIONS["regrets_by_data"].format(SHORT[target])
            yield _table(found)


def _details(readout: Readout) -> Iterator[str]:
    yield "## Details"
    if conclusions(readout):
        yield from _by_category(readout)
    for data in data_of(readout):
        for metric in metrics_of(readout, data):
            yield f"### {name_of(data)}, {SHORT[metric]}"
            yield " ".join(CAPTIONS[name] for name in ("matrix", "robustness", "comparisons"))
            yield _table(matrix_table(readout, data, metric))
            yield _table(study_tables.robustness(readout, data, metric))
            yield _table(study_tables.comparisons(readout, data, metric))
    yield "### Over trainings"
    tests = study_tables.seed_tests(readout)
    yield CAPTIONS["seed_tests"] if tests.rows else "Nothing to compare yet."
    if tests.rows:
        yield _table(tests)
    yield "### Stability of ranks"
    ranks = study_tables.rank_stability(readout)
    yield CAPTIONS["ranks"] if ranks.rows else "Needs two seeds, or two methods on two strategies."
    if ranks.rows:
        yield _table(ranks)
    yield from _choices(readout)


def _by_category(readout: Readout) -> Iterator[str]:
    yield f"### The verdicts in {SHORT[PAGE_TARGET]}"
    lines = [
        f"{name_of(one.data)}, against {one.other}: the claim **{one.verdict}**. "
        f"{told(readout, one)}"
        for one in readout.verdicts
        if one.metric == PAGE_TARGET
    ]
    yield _list(lines) if lines else "No two strategies of both methods yet."
    yield from _paragraphs(RULES)
    without_one = study_tables.without_one(readout)
    if without_one.rows:
        yield CAPTIONS["without_one"]
        yield _table(without_one)


def _choices(readout: Readout) -> Iterator[str]:
    tables = [
        (CAPTIONS["regrets"].format(SHORT[one]), study_tables.regrets(readout, PROPOSED, one))
        for one in targets_of(readout)
    ]
    chosen = study_tables.choices(readout, PROPOSED, PAGE_TARGET)
    without = study_tables.without_defects(readout, PROPOSED)
    tables += [(CAPTIONS["choices"], chosen), (CAPTIONS["without_defects"], without)]
    if any(table.rows for _, table in tables):
        yield "### Choosing a strategy"
    for caption, table in tables:
        if table.rows:
            yield caption
            yield _table(table)


def _pictures(has_pictures: bool) -> Iterator[str]:
    yield "## The same image under every strategy"
    yield (
        "![heat of daf and daf_without_cue](study_disagreement.jpg)"
        if has_pictures
        else "No pictures: the MLflow store of this machine has no runs of these cells."
    )


def matrix_table(readout: Readout, data: Data, metric: str) -> Table:
    """Strategies x methods in words, the mean over seeds."""
    found = study_tables.matrix(readout, data, metric)
    columns = [*(named(readout, name) for name in found.grid.columns), *found.free.index]
    rows = [
        [str(name), *(or_dash(value, "{:.3f}".format) for value in row), *("" for _ in found.free)]
        for name, row in zip(found.grid.index, found.grid.to_numpy(float), strict=True)
    ]
    if len(found.free):
        free = [f"{value:.3f}" for value in found.free]
        rows.append(["no synthesis", *("" for _ in found.grid.columns), *free])
    return Table(["strategy", *columns], rows)


def _paragraphs(texts: Mapping[str, str]) -> Iterator[str]:
    return (f"**{heading}**: {text}" for heading, text in texts.items())


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
