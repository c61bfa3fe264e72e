"""Which detectors and images are pictured."""

import numpy as np
import pytest
from scipy import stats

from daf_pipelines.study.disagreement import disagreement, pictured, ranks
from made_up_study import made_study


def study(**changes):
    return made_study(lambda *_: 1.0, **changes)


def chosen(cells):
    (found,) = pictured(cells).values()
    return {
        method: [(name, cell.seed) for name, cell in by_strategy.items()]
        for method, by_strategy in found.items()
    }


class TestPictured:
    def test_both_methods_on_the_same_strategies(self):
        cells = study(seeds=(0, 1), strategies=("draem", "nsa", "cutpaste"))
        cells = [c for c in cells if (c.method, c.strategy) != ("daf_without_cue", "nsa")]
        assert chosen(cells) == {
            method: [("cutpaste", 0), ("draem", 0)] for method in ("daf", "daf_without_cue")
        }

    def test_a_later_seed_that_has_both(self):
        cells = [c for c in study(seeds=(0, 1)) if (c.method, c.seed) != ("daf_without_cue", 0)]
        assert {seed for rows in chosen(cells).values() for _, seed in rows} == {1}

    def test_one_method_alone(self):
        assert list(chosen(study(methods=("daf", "draem", "patchcore")))) == ["daf"]

    def test_nothing_to_compare(self):
        assert pictured(study(strategies=("draem",))) == {}
        assert pictured(study(methods=("patchcore",))) == {}


class TestDisagreement:
    def test_ranks(self):
        (cell,) = study(methods=("daf",), strategies=("draem",))
        found = ranks(cell)
        assert (found.min(), found.max()) == (0, 1)
        assert stats.kendalltau(found, cell.scores).statistic == pytest.approx(1)

    def test_does_not_depend_on_the_scale_of_scores(self):
        cells = study(methods=("daf",), strategies=("draem", "nsa"))
        (before,) = pictured(cells).values()
        scaled = [
            c.model_copy(update={"scores": tuple(3 * s - 7 for s in c.scores)}) for c in cells
        ]
        (after,) = pictured(scaled).values()
        np.testing.assert_allclose(disagreement(before), disagreement(after))

    def test_by_hand(self):
        first, second = study(methods=("daf",), strategies=("draem", "nsa"))
        first = first.model_copy(update={"scores": (1.0, 2.0, 3.0)})
        second = second.model_copy(update={"scores": (3.0, 2.0, 1.0)})
        alike = {"draem": first, "nsa": first}
        # Ranks 0, 1/2, 1 and 1, 1/2, 0: half a rank from their mean; halved by the other method.
        found = disagreement({"daf": alike, "daf_without_cue": {"draem": first, "nsa": second}})
        assert found.tolist() == [0.25, 0, 0.25]
