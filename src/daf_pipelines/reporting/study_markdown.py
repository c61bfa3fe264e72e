"""The result of a study as a Markdown document."""

from collections.abc import Iterator

from daf_pipelines.metrics.bootstrap import FEW_IMAGES
from daf_pipelines.reporting import study_tables
from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.study_published import published
from daf_pipelines.reporting.study_tables import PAGE_TARGET, Table, data_of, metrics_of
from daf_pipelines.reporting.words import or_dash
from daf_pipelines.study.claim import (
    MARGIN,
    MIN_UNITS,
    SENSITIVE,
    SIGNIFICANT,
    advice,
    conclusion,
)
from daf_pipelines.study.readout import Readout
from daf_pipelines.study.results import Data, name_of
from daf_pipelines.study.robustness import REFERENCE

CLAIM = (
    "The claim of the paper: detectors trained on synthetic outliers depend much on the strategy "
    "that makes them; with the discrepancy between teacher and student as their cue (daf) they do "
    "not."
)
RULES = (
    f"**Rules of the verdict**, fixed before the numbers. It is about the standard deviation of a "
    f"metric over strategies, daf's minus the other's. *Does not hold*: the 95 % interval excludes "
    f"that daf's is smaller by {MARGIN} (nobody would notice less), or it is significantly larger. "
    f"*Holds*: it is significantly smaller. Otherwise *not decided*. A method is called sensitive "
    f"where its metric ranges over {SENSITIVE} or more. Significant: p < 0.05 after Holm's "
    "adjustment over all tests of the same metric and statistic."
)
METHOD = (
    "**Over images**: normal and anomalous test images are drawn again with replacement, "
    "{replicates:,} times; all detectors of a category and seed are measured on the same draws. "
    "Resampling adds noise of its own to a spread and a worst case: intervals and tests are moved "
    "so that the mean of the draws is the value itself. Pixel metrics have no interval: cells keep "
    "the scores of images only.\n\n"
    "**Over trainings**: each pair of detectors (of a category, strategy and seed; for a worst "
    "case or a spread of a category and seed) is one observation of an exact test of signs and of "
    "a permutation test that flips signs. Pairs of one category are not independent: these "
    f"p-values are optimistic. Fewer than {MIN_UNITS} pairs cannot come below 0.05.\n\n"
    "**Compared is like with like**: tables over strategies take those that all methods with "
    "synthesis have for a seed; differences those that both methods have.\n\n"
    "**A spread over strategies contains that of training**: with one seed the two cannot be told "
    "apart. *sd over seeds* is what the same strategy varies by when trained again; a spread over "
    "strategies that is no larger says nothing about strategies.\n\n"
    "**A star** marks p < 0.05 after Holm's adjustment.\n\n"
    "**Kendall's W** is 1 where all judges have one order, 0 where they have nothing in common; "
    "tau is the mean over pairs of judges. For two judges W = (1 + Spearman's correlation) / 2: "
    "orders at random give about 0.5.\n\n"
    "**Criteria** see normals and synthetic outliers only: *mean_other* and *worst_other* over the "
    "outliers of all other strategies, *rank_other* the mean rank there, *mean_all* with those of "
    "its own, *own* on these alone. Regret is what the oracle, which knows the defects, has more. "
    "The best of several criteria was chosen on the test split too: expect more regret of it on "
    "new data; its p-value is adjusted for their number."
)


def study_markdown(readout: Readout, command: str) -> str:
    """Writes what the study found, with how it was made.

    Args:
        readout: Of any part of a study.
        command: That makes the document again.

    Returns:
        Markdown; the figures lie beside it.
    """
    parts = [
        *("# Robustness to the synthesis strategy", CLAIM),
        f"```\n{command}\n```",
        "\n".join(f"- {name}: {fact}" for name, fact in study_tables.provenance(readout).items()),
        *_claim(readout),
        *_results(readout),
        *("## Over trainings", _table(study_tables.seed_tests(readout))),
        *_ranks(readout),
        *_published(readout),
        *_recommendation(readout),
        *("## How far the study is", _table(study_tables.coverage(readout))),
        *("## How it was measured", METHOD.format(replicates=readout.replicates)),
    ]
    return "\n\n".join(parts) + "\n"


def _claim(readout: Readout) -> Iterator[str]:
    yield "## Does the claim hold here?"
    for metric in study_tables.SHOWN:
        if readout.table[metric].notna().any():
            found = conclusion(readout.verdicts, readout.seed_tests, metric)
            yield f"In {SHORT[metric]}:\n\n" + _list(found)
    yield f"By category, in {SHORT[PAGE_TARGET]}:"
    lines = [
        f"{name_of(one.data)}, against {one.other}: it **{one.verdict}**. {one.sentence}"
        for one in readout.verdicts
        if one.metric == PAGE_TARGET
    ]
    yield _list(lines) if lines else "No two strategies of both methods yet."
    yield from _warnings(readout)
    yield RULES


def _warnings(readout: Readout) -> Iterator[str]:
    """What keeps these verdicts from being more than they are."""
    one_seed = [name_of(data) for data in data_of(readout) if len(_seeds(readout, data)) == 1]
    if one_seed:
        yield (
            f"**One seed only** on {', '.join(one_seed)}: the verdicts there are about these "
            "trained detectors on other images. Whether another training would agree is open."
        )
    counts = readout.comparisons.groupby(["metric", "statistic"])["p_value"].count()
    tests = max(counts, default=0)
    if 2 * tests / (readout.replicates + 1) >= SIGNIFICANT:
        yield (
            f"**Too few draws**: with {tests} tests of one metric and statistic, "
            f"{readout.replicates:,} draws cannot make any of them significant. Set "
            f"study.replicates to {60 * tests:,}."
        )
    few = sorted(
        {
            name_of(cell.data)
            for cell in readout.cells
            if min(cell.labels.count("0"), cell.labels.count("1")) < FEW_IMAGES
        }
    )
    if few:
        yield (
            f"**Fewer than {FEW_IMAGES} test images of a class** on {', '.join(few)}: intervals "
            "there are too short and p-values too small."
        )


def _seeds(readout: Readout, data: Data) -> set[int]:
    return {cell.seed for cell in readout.cells if cell.data == data}


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
    yield "## The same image under every strategy"
    yield "![heat of daf and daf_without_cue](study_disagreement.png)"


def matrix_table(readout: Readout, data: Data, metric: str) -> Table:
    """Strategies x methods in words, the mean over seeds."""
    found = study_tables.matrix(readout, data, metric)
    columns = [*found.values.columns, *found.free.index]
    rows = [
        [str(name), *(or_dash(value, "{:.3f}".format) for value in row), *("" for _ in found.free)]
        for name, row in zip(found.values.index, found.values.to_numpy(float), strict=True)
    ]
    if len(found.free):
        free = [f"{value:.3f}" for value in found.free]
        rows.append(["no synthesis", *("" for _ in found.values.columns), *free])
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
    yield f"For {REFERENCE}: {advice(readout.regrets, REFERENCE, PAGE_TARGET)}"
    best = study_tables.best_criterion(readout, REFERENCE, PAGE_TARGET)
    if best:
        yield _table(study_tables.regrets(readout, REFERENCE, PAGE_TARGET))
        yield f"What {best} chooses:"
        yield _table(study_tables.choices(readout, REFERENCE, PAGE_TARGET, best))


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
