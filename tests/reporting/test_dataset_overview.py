import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daf_pipelines.reporting.dataset_overview import (
    MAX_TYPES,
    Sample,
    choose_samples,
    count_images,
    count_sizes,
    defect_areas,
    describe_findings,
    folded,
    percent,
    type_kinds,
)

COUNTS = {
    ("rare", "test"): 1,
    ("good", "test"): 2,
    ("good", "train"): 3,
    ("common", "test"): 9,
    ("another", "test"): 1,
    ("unsure", "excluded"): 4,
}
SPLITS_OF_TYPES = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["test", "excluded"])
) | st.tuples(st.just("good"), st.sampled_from(["train", "calibration", "test"]))


class TestCountImages:
    def test_good_first_then_by_number_and_name(self, make_manifest):
        counts = count_images(make_manifest(COUNTS))
        assert list(counts.index) == ["good", "common", "unsure", "another", "rare"]
        assert list(counts.columns) == ["train", "test", "excluded"]
        assert counts.loc["good"].tolist() == [3, 2, 0]
        assert counts.loc["unsure"].tolist() == [0, 0, 4]
        assert counts.to_numpy().sum() == 20

    def test_no_image(self, make_manifest):
        assert count_images(make_manifest({})).empty

    def test_folded(self, make_manifest):
        counts = count_images(make_manifest(COUNTS))
        short = folded(counts, 2)
        assert list(short.index) == ["good", "common", "other types: 3"]
        assert short.loc["other types: 3"].tolist() == [0, 2, 4]
        assert folded(counts, 5).equals(counts)


def test_type_kinds(make_manifest):
    kinds = type_kinds(make_manifest({**COUNTS, ("common", "excluded"): 1}))
    assert kinds == {
        "good": "normal",
        "common": "anomalous",
        "another": "anomalous",
        "rare": "anomalous",
        "unsure": "undecided",
    }


class TestChooseSamples:
    def chosen(self, manifest, per_type=8):
        rows = manifest.iloc[choose_samples(manifest, per_type)]
        return list(zip(rows["defect_type"], rows["split"], rows["path"], strict=True))

    def test_evenly_spread_over_the_paths(self, make_manifest):
        manifest = make_manifest({("good", "train"): 9})
        paths = [path for _, _, path in self.chosen(manifest, per_type=3)]
        assert paths == ["00000.png", "00004.png", "00008.png"]

    def test_good_parts_of_every_split(self, make_manifest):
        counts = {("good", "test"): 2, ("good", "train"): 90, ("good", "calibration"): 10}
        splits = [split for _, split, _ in self.chosen(make_manifest(counts))]
        assert splits == ["train"] * 3 + ["calibration"] * 3 + ["test"] * 2

    def test_what_a_small_split_lacks_goes_to_the_others(self, make_manifest):
        counts = {("good", "test"): 1, ("good", "train"): 90}
        splits = [split for _, split, _ in self.chosen(make_manifest(counts))]
        assert splits == ["train"] * 7 + ["test"]

    def test_the_most_frequent_types(self, make_manifest):
        many = {(f"type {k:02}", "test"): 1 + (k >= 5) for k in range(40)}
        types = [name for name, _, _ in self.chosen(make_manifest({("good", "train"): 2} | many))]
        assert set(types) == {"good", *(f"type {k:02}" for k in range(5, 4 + MAX_TYPES))}
        assert types[:2] == ["good", "good"]

    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
    )
    @given(st.lists(SPLITS_OF_TYPES, max_size=40), st.integers(3, 9), st.randoms())
    def test_any_dataset(self, make_manifest, kinds, per_type, random):
        manifest = make_manifest({kind: kinds.count(kind) for kind in kinds})
        chosen = self.chosen(manifest, per_type)
        assert len({path for _, _, path in chosen}) == len(chosen)
        for name in {name for name, _ in kinds}:
            shown = [split for other, split, _ in chosen if other == name]
            assert len(shown) == min(per_type, sum(other == name for other, _ in kinds))
            assert set(shown) == {split for other, split in kinds if other == name}
        order = random.sample(range(len(manifest)), len(manifest))
        assert self.chosen(manifest.iloc[order], per_type) == chosen


def test_defect_areas_are_sorted_and_without_empty_masks(make_manifest):
    manifest = make_manifest(
        {("good", "test"): 1, ("dent", "test"): 2, ("crack", "test"): 4},
        coverage={"good": [0], "dent": [0, 0.5], "crack": [0.3, 0.1, 0.2]},
    )
    areas = defect_areas(manifest)
    assert list(areas) == ["crack", "dent"]
    np.testing.assert_array_equal(areas["crack"], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(areas["dent"], [0.5])


class TestCountSizes:
    def test_commonest_first(self, make_manifest):
        counts = {("good", "train"): 2, ("dent", "test"): 2, ("unsure", "excluded"): 1}
        sizes = [(9, 5), (5, 9), (5, 9), (5, 9), (9, 5)]
        table = count_sizes(make_manifest(counts, size=sizes))
        assert list(table.columns[3:]) == ["normal", "anomalous", "undecided", "total"]
        assert table.to_numpy().tolist() == [
            [5, 9, "RGB", 1, 2, 0, 3],
            [9, 5, "RGB", 1, 0, 1, 2],
        ]

    def test_modes_are_told_apart(self, make_manifest):
        manifest = make_manifest({("good", "train"): 3})
        manifest["mode"] = ["L", "RGB", "L"]
        assert count_sizes(manifest)[["mode", "total"]].to_numpy().tolist() == [
            ["L", 2],
            ["RGB", 1],
        ]

    def test_no_image(self, make_manifest):
        assert count_sizes(make_manifest({})).empty


@pytest.mark.parametrize(
    ("severities", "words"),
    [
        ([], "the checks found nothing"),
        (["warning"], "the checks found 1 warning"),
        (["warning", "error", "error"], "the checks found 2 errors and 1 warning"),
        (["warning"] * 1200, "the checks found 1,200 warnings"),
    ],
)
def test_describe_findings(severities, words):
    assert describe_findings(pd.DataFrame({"severity": severities})) == words


@pytest.mark.parametrize(
    ("share", "words"), [(1, "100 %"), (0.012345, "1.23 %"), (1 / 4096**2, "0.00000596 %")]
)
def test_percent(share, words):
    assert percent(share) == words


def test_a_mask_of_another_size_is_refused():
    picture, mask = np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8)
    with pytest.raises(ValueError, match=r"a\.png: expected an image and a mask of one size"):
        Sample("a.png", "test", "dent", picture, mask)
