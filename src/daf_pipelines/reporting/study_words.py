"""What is said beside the numbers of a study: its claim, the rules, the method, the warnings."""

import numpy as np

from daf_pipelines.metrics.bootstrap import FEW_IMAGES, units_drawn
from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.study_advice import advice, criterion_name
from daf_pipelines.reporting.study_tables import PAGE_TARGET, SHOWN, data_of, of_data
from daf_pipelines.study.claim import (
    MARGIN,
    SENSITIVE,
    SIGNIFICANT,
    Verdict,
    conclusion,
    sensitivity,
)
from daf_pipelines.study.draws import KEPT, PIXEL_DRAWS
from daf_pipelines.study.readout import Readout
from daf_pipelines.study.recommendation import PRIMARY
from daf_pipelines.study.results import Data, name_of
from daf_pipelines.study.robustness import CLAIMED, PROPOSED, family

CLAIM = (
    "The claim of the paper: detectors trained on synthetic outliers depend much on the strategy "
    "that makes them; with the discrepancy between teacher and student as their cue (daf) they do "
    "not."
)
BESIDE = (
    "The methods: daf; daf_without_cue, the same network without the discrepancy, neither as the "
    "decoder's cue nor in the score (the study ablations takes the two apart); teacher_student, "
    "the discrepancy alone, without a decoder; draem, the networks of DRAEM (as a strategy, draem "
    "is its outliers). What of them a study has is set beside daf."
)
EACH = "within each seed, then averaged over seeds"
CAPTIONS = {
    "answer": (
        f"Range of {SHORT[PAGE_TARGET]} over the strategies, {EACH} (the smaller, the less a "
        "method depends on them), and verdicts on the claim, which are about standard deviations "
        "(rules: under the details). –: no masks, or no test."
    ),
    "without_one": (
        "Without one strategy: the standard deviation (sd) over those that are left, daf's minus "
        "the other's with its 95 % interval, both, and both ranges. Explored: p-values are not "
        "adjusted."
    ),
    "decisive": (
        "Is a verdict the work of a single strategy? Without that one which changes it, or else "
        "without that one which changes the difference of standard deviations (sd) most. Explored: "
        "p-values are not adjusted."
    ),
    "overview": (
        f"Each method over the strategies: mean, worst case, standard deviation and range, {EACH}. "
        "Methods that do without synthesis have a mean over seeds only."
    ),
    "matrix": "First each strategy, the mean over seeds.",
    "robustness": (
        "Then each method over the strategies, in brackets the 95 % interval over test images. "
        f"Worst case, sd and range are {EACH}, and so differ from those of the means above; "
        "lowest mean is the strategy that has it."
    ),
    "comparisons": (
        f"Last daf minus each other method; * is p < {SIGNIFICANT} after Holm's adjustment. Of "
        "mean and worst case higher is better for daf, of sd and range lower."
    ),
    "seed_tests": (
        "Each pair of detectors (value), or of spreads over strategies (worst, sd) of a category "
        "and seed, is one observation."
    ),
    "ranks": (
        "How far judges agree on the order of items, 1 if entirely, by the metric, in brackets the "
        "95 % interval over test images."
    ),
    "regrets": (
        "What each way to choose daf's strategy costs of {}, over pairs of category and seed. Rank "
        "correlation: over those pairs where the criterion tells strategies apart."
    ),
    "regrets_by_data": (
        "What a choice costs of {}, that is, what the best strategy for the test images (the "
        "oracle's) has more, the mean over seeds:"
    ),
    "choices": f"What {criterion_name(PRIMARY)} chooses:",
    "without_defects": (
        "What each criterion chooses, of image AUROC on held-out normals and their outliers:"
    ),
}
"""What is above a table."""
NO_CLAIM = (
    f"This study says nothing of it: that takes {PROPOSED}, and {' or '.join(CLAIMED)}, tested on "
    "defects."
)
RULES = {
    "Rules of the verdict": (
        "it is about the standard deviation of a metric over strategies, daf's minus the other's. "
        f"A method is called sensitive where its metric ranges over {SENSITIVE} or more: where "
        "neither is, the claim has nothing to explain. Else it does not hold where the 95 % "
        f"interval (of this difference alone) excludes that daf's is smaller by {MARGIN}, a margin "
        "set by hand, or where it is significantly larger; it holds where it is significantly "
        f"smaller; otherwise it is not decided. Significant: p < {SIGNIFICANT} after Holm's "
        f"adjustment over all tests against {' and '.join(CLAIMED)} of the same metric and "
        "statistic; tests against other methods are a family of their own."
    )
}


def told(readout: Readout, verdict: Verdict) -> str:
    """The sentence of a verdict, with what it cannot bear."""
    if not _has_few_images(readout, verdict.data):
        return verdict.sentence
    few = f"Fewer than {FEW_IMAGES} test images, or groups, of a class: p is too small."
    return f"{verdict.sentence} ({few})"


def which_strategy(readout: Readout) -> list[str]:
    """The advice on the choice of a strategy, for the method that the claim is about."""
    if PROPOSED not in _methods(readout):
        return [f"A strategy is recommended for {PROPOSED} alone, and this study has none of it."]
    targets = [PAGE_TARGET, *(name for name in targets_of(readout) if name != PAGE_TARGET)]
    return [
        f"For {PROPOSED}, in {SHORT[target]}: {advice(readout.regrets, PROPOSED, target)}"
        for target in targets
    ]


def targets_of(readout: Readout) -> list[str]:
    """The shown metrics in which a choice of a strategy has a price."""
    priced = set(readout.regrets.loc[readout.regrets["method"].eq(PROPOSED), "target"])
    return [name for name in SHOWN if name in priced]


def _methods(readout: Readout) -> set[str]:
    return {*readout.table["method"], *readout.missing["method"]}


def conclusions(readout: Readout) -> dict[str, list[str]]:
    """What all data together say of the claim, by metric; none, if the study cannot say any."""
    methods = _methods(readout)
    claimed = [name for name in CLAIMED if name in methods and PROPOSED in methods]
    return {
        SHORT[metric]: [
            *conclusion(
                readout.verdicts,
                readout.seed_tests,
                metric,
                claimed,
                readout.hardly,
            ),
            *sensitivity(readout.robustness, readout.comparisons, metric),
        ]
        for metric in SHOWN
        if claimed and readout.table[metric].notna().any()
    }


def method(readout: Readout) -> dict[str, str]:
    """How it was measured, by heading."""
    return {
        "Over images": (
            "normal and anomalous test images are drawn again with replacement, "
            f"{readout.replicates:,} times; all detectors of a category and seed are measured on "
            "the same draws. Resampling adds noise of its own to a spread and a worst case: "
            "intervals and tests are moved so that the mean of the draws is the value itself. The "
            "noise that the test images are to the value stays: spreads are a little too large. "
            f"Of pixel metrics a cell keeps pixel AP and AUPRO 30 % in {PIXEL_DRAWS:,} such draws; "
            "the others have no interval. A star marks "
            f"p < {SIGNIFICANT} after Holm's adjustment."
        ),
        "Over trainings": (
            "each pair of detectors (of a category, strategy and seed; for a worst case or a "
            "spread, of a category and seed) is one observation of an exact test of signs and of a "
            "permutation test that flips signs. Pairs of one category are not independent: these "
            "p-values are optimistic. Of n pairs none is below 2 / 2^n (of more than 15 pairs, "
            "1 / 2^15), times the number of tests that are adjusted together."
        ),
        "Seeds": (
            "mean, worst case and spread are over the strategies of a seed, then the mean over the "
            "seeds for which the method has the most strategies; differences are over those that "
            "both methods have."
        ),
        "A spread over strategies contains that of training": (
            "with one seed the two cannot be told apart. The sd over seeds is what the same "
            "strategy varies by when trained again (with another split, where the seed draws it); "
            "a spread over strategies that is no larger says nothing about strategies. A metric "
            "near 1 has little room to vary, and so has "
            "one near chance: read a spread beside its mean."
        ),
        "Kendall's W": (
            "is 1 where all judges have one order, 0 where they have nothing in common; tau is the "
            "mean over pairs of judges. For two judges W = (1 + Spearman's correlation) / 2: "
            "orders at random give about 0.5."
        ),
        "Criteria": (
            "they see normals and synthetic outliers only: mean_other and worst_other over the "
            "outliers of all other strategies, rank_other the mean rank there, mean_all with those "
            "of its own, own on these alone. Regret is what the oracle, which knows the defects, "
            f"has more. {criterion_name(PRIMARY)} is the primary criterion and tested alone; the "
            "p-values of the others are adjusted for their number. The best of them was chosen on "
            "the test split too: expect more regret of it on new data."
        ),
    }


def warnings(readout: Readout) -> dict[str, str]:
    """What keeps the verdicts from being more than they are, by heading."""
    found = {}
    data = data_of(readout)
    hardly = [
        f"{name} saw {readout.seen[name]:,}"
        for name in readout.hardly
        if name in set(readout.table["method"])
    ]
    if hardly:
        ours = readout.seen[PROPOSED]
        found["Hardly trained"] = (
            f"of images in training {', '.join(hardly)}, {PROPOSED} {ours:,}. Comparisons with "
            "such a method are about this budget: neither they nor its spread over strategies say "
            "anything of the method trained in full."
        )
    tested = {cell.data for cell in readout.cells if np.isfinite(cell.metric("image_auroc"))}
    data = [one for one in data if one in tested]
    one_seed = _with_one_seed(readout)
    if one_seed:
        found["One seed only"] = (
            f"{', '.join(one_seed)}: tests over images are about these trained "
            "detectors on other images. Whether another training would agree is open."
        )
    found |= _too_few_draws(readout)
    few = [name_of(one) for one in data if _has_few_images(readout, one)]
    if few:
        found[f"Fewer than {FEW_IMAGES} test images, or groups, of a class"] = (
            f"on {', '.join(few)} intervals are too short and p-values too small."
        )
    return found


def _too_few_draws(readout: Readout) -> dict[str, str]:
    """Of images as many as are asked for; of pixels as many as cells keep."""
    table = readout.comparisons
    told = {}
    for name, rows, draws, remedy in (
        ("Too few draws", ~table["metric"].isin(KEPT), readout.replicates, "study.replicates"),
        ("Too few draws of pixel metrics", table["metric"].isin(KEPT), PIXEL_DRAWS, ""),
    ):
        part = table[rows]
        tests = int(part.groupby(family(part))["p_value"].count().max()) if len(part) else 0
        if 2 * tests / (draws + 1) >= SIGNIFICANT:
            told[name] = (
                f"with {tests} tests in one family, {draws:,} draws cannot make any of them "
                f"significant.{f' Set {remedy} to {60 * tests:,}.' if remedy else ''}"
            )
    return told


def _with_one_seed(readout: Readout) -> list[str]:
    """The comparisons that rest on one seed: data, and the methods if some rest on more."""
    table = readout.comparisons
    table = table[table["metric"].eq(PAGE_TARGET) & table["statistic"].eq("sd")]
    told = []
    for data in data_of(readout):
        rows = of_data(table, data)
        alone = rows[rows["seeds"].eq(1)]
        if len(alone):
            some = f" against {', '.join(alone['other'])}" if len(alone) < len(rows) else ""
            told.append(name_of(data) + some)
    return told


def _has_few_images(readout: Readout, data: Data) -> bool:
    tests = {(cell.labels, cell.groups) for cell in readout.cells if cell.data == data}
    drawn = [units_drawn(list(map(int, labels)), groups or None) for labels, groups in tests]
    return any(min(units) < FEW_IMAGES for units in drawn)
