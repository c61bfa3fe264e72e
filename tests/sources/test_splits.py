import json
from collections import Counter
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daf_pipelines.sources.splits import decide_splits, describe_split, draw


def listed(*rows: tuple[str | None, int | None, str | None]) -> pd.DataFrame:
    """Readable images as (split, label, group); content differs from row to row."""
    table = pd.DataFrame(rows, columns=["split", "label", "group"])
    return table.assign(
        split=table["split"].astype("str"),
        group=table["group"].astype("str"),
        label=table["label"].astype("Int64"),
        defect_type=["good" if row[1] == 0 else "scratch" for row in rows],
        path=[f"{i:03}.png" for i in range(len(rows))],
        content_hash=[f"{hash((i, 7)) % 2**64:x}" for i in range(len(rows))],
        mask_coverage=float("nan"),
    )


def decided(table: pd.DataFrame, test: float = 0.25, seed: int = 0) -> pd.DataFrame:
    return decide_splits(table, test, 0.1, seed)


def counts(table: pd.DataFrame) -> dict[tuple[str, int], int]:
    return dict(Counter(zip(table["split"], table["label"], strict=True)))


class TestOfficialSplit:
    def test_is_kept_and_calibration_comes_out_of_train(self) -> None:
        table = decided(listed(*[("train", 0, None)] * 20, ("test", 0, None), ("test", 1, None)))
        assert counts(table) == {
            ("train", 0): 18,
            ("calibration", 0): 2,
            ("test", 0): 1,
            ("test", 1): 1,
        }

    def test_official_calibration_is_kept(self) -> None:
        rows = [("train", 0, None)] * 20 + [("calibration", 0, None)] * 3
        assert counts(decided(listed(*rows))) == {("train", 0): 20, ("calibration", 0): 3}

    def test_defects_in_train_and_calibration_are_excluded(self) -> None:
        rows = [("train", 0, None)] * 4 + [("train", 1, None), ("calibration", 1, None)]
        assert counts(decided(listed(*rows))) == {
            ("train", 0): 3,
            ("calibration", 0): 1,
            ("excluded", 1): 2,
        }

    def test_undecided_images_stay_undecided(self) -> None:
        table = decided(listed(*[("train", 0, None)] * 4, ("excluded", None, None)))
        assert table["label"].isna().tolist() == [False] * 4 + [True]


class TestMaskDecides:
    def test_label_and_type_follow_the_mask(self) -> None:
        table = listed(*[("train", None, None)] * 4, ("test", None, None), ("test", None, None))
        table["mask_coverage"] = [0.0, 0.0, 0.0, 0.2, 0.0, 0.3]
        table = decided(table)
        assert table["label"].tolist() == [0, 0, 0, 1, 0, 1]
        assert table["defect_type"].tolist() == ["good"] * 3 + ["scratch", "good", "scratch"]
        assert table["split"].tolist()[3:] == ["excluded", "test", "test"]


class TestDrawnSplit:
    def test_a_share_of_the_normals_and_all_defects_are_tested(self) -> None:
        table = decided(listed(*[(None, 0, None)] * 40, *[(None, 1, None)] * 7), test=0.2)
        assert counts(table) == {
            ("test", 0): 8,
            ("test", 1): 7,
            ("train", 0): 29,
            ("calibration", 0): 3,
        }

    def test_seed_decides(self) -> None:
        table = listed(*[(None, 0, None)] * 40)
        drawn = [tuple(decided(table, seed=seed)["split"]) for seed in (0, 0, 1)]
        assert drawn[0] == drawn[1] != drawn[2]

    @pytest.mark.parametrize(("normals", "tested"), [(2, 0), (3, 1), (4, 1)])
    def test_two_normals_at_least_are_left_for_training(self, normals: int, tested: int) -> None:
        table = decided(listed(*[(None, 0, None)] * normals), test=0.9 if normals == 3 else 0.25)
        assert (table["split"] == "test").sum() == tested
        assert {"train", "calibration"} <= set(table["split"])

    def test_defects_of_trained_groups_are_excluded(self) -> None:
        """As KolektorSDD: every group has a defect."""
        rows = [(None, int(i == 0), f"g{g}") for g in range(8) for i in range(5)]
        table = decided(listed(*rows))
        tested = set(table.loc[table["split"] == "test", "group"])
        assert len(tested) == 2
        assert counts(table)["test", 1] == 2
        assert counts(table)["excluded", 1] == 6

    def test_groups_with_defects_are_tested_first(self) -> None:
        rows = [(None, int(i == 0 and g < 2), f"g{g}") for g in range(10) for i in range(10)]
        table = decided(listed(*rows))
        assert counts(table)["test", 1] == 2
        assert ("excluded", 1) not in counts(table)

    def test_one_group_of_all_is_parted(self) -> None:
        table = decided(listed(*[(None, 0, "lot")] * 20))
        assert counts(table) == {("test", 0): 5, ("train", 0): 13, ("calibration", 0): 2}

    @settings(max_examples=60, deadline=None)
    @given(
        groups=st.lists(
            st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()), min_size=1, max_size=12
        ),
        share=st.floats(0.05, 0.9),
        seed=st.integers(0, 99),
    )
    def test_no_group_is_on_both_sides(
        self, groups: list[tuple[int, int, bool]], share: float, seed: int
    ) -> None:
        rows = [
            (None, label, f"g{g}" if grouped else None)
            for g, (normal, anomalous, grouped) in enumerate(groups)
            for label in [0] * normal + [1] * anomalous
        ]
        if not rows:
            return
        table = decided(listed(*rows), share, seed)
        assert table["split"].isin(["train", "calibration", "test", "excluded"]).all()
        anomalous = table["label"] == 1
        assert table.loc[anomalous, "split"].isin(["test", "excluded"]).all()
        assert table.loc[~anomalous, "split"].isin(["train", "calibration", "test"]).all()
        if len(set(table["group"])) > 1:
            sides = table[table["split"] != "excluded"].dropna(subset="group")
            tested = sides["split"].eq("test").groupby(sides["group"]).nunique()
            assert (tested == 1).all()
        if (~anomalous).sum() >= 2 and table["group"].isna().all():
            assert {"train", "calibration"} <= set(table["split"])
        shuffled = listed(*rows).sample(frac=1, random_state=seed)
        pd.testing.assert_series_equal(
            decided(shuffled, share, seed)["split"].sort_index(), table["split"]
        )


class TestCopiesAndMixedTables:
    def test_copies_stay_on_one_side(self) -> None:
        table = listed(*[(None, 0, None)] * 40)
        table.loc[20:, "content_hash"] = table.loc[:19, "content_hash"].tolist()
        sides = decided(table)["split"].replace("calibration", "train")
        assert sides[:20].tolist() == sides[20:].tolist()
        assert set(sides) == {"train", "test"}

    def test_copies_of_one_image_are_parted_where_there_is_no_other(self) -> None:
        table = listed(*[("train", 0, None)] * 4).assign(content_hash="same")
        assert counts(decided(table)) == {("train", 0): 3, ("calibration", 0): 1}

    def test_images_without_a_split_join_their_group(self) -> None:
        rows = [("test", 0, "lot2"), (None, 0, "lot2"), (None, 1, "lot2"), ("train", 0, "lot1")]
        rows += [(None, 0, "lot1"), (None, 0, "lot1")]
        splits = decided(listed(*rows))["split"].replace("calibration", "train")
        assert splits.tolist() == ["test"] * 3 + ["train"] * 3


class TestDraw:
    @settings(max_examples=80, deadline=None)
    @given(count=st.integers(2, 80), wanted=st.integers(1, 79), salt=st.text(max_size=5))
    def test_single_images_give_the_exact_number(self, count: int, wanted: int, salt: str) -> None:
        units = pd.Series([f"n{i}" for i in range(count)])
        drawn = draw(units, wanted, salt)
        assert len(drawn) == min(wanted, count - 1)
        assert set(draw(units[::-1], wanted, salt)) == set(drawn)

    def test_a_huge_unit_is_passed_over(self) -> None:
        units = pd.Series(["huge"] * 90 + [f"n{i}" for i in range(10)])
        for salt in "abcdef":
            assert set(units[draw(units, 5, salt)]) <= {f"n{i}" for i in range(10)}
            assert len(draw(units, 5, salt)) == 5

    def test_every_unit_is_drawn_about_as_often(self) -> None:
        units = pd.Series([f"n{i}" for i in range(20)])
        drawn = Counter(i for salt in range(400) for i in draw(units, 5, str(salt)))
        assert all(60 <= drawn[i] <= 140 for i in range(20))  # 100 +- 4.6 deviations

    def test_nothing_to_draw(self) -> None:
        assert draw(pd.Series(["a", "b"]), 0, "s").empty
        assert draw(pd.Series(["a"]), 1, "s").empty


def found(*checks: tuple[str, str]) -> pd.DataFrame:
    """Findings as (check, file)."""
    return pd.DataFrame(checks, columns=["check", "file"], dtype="str")


class TestDescribeSplit:
    def describe(self, table: pd.DataFrame, *checks: tuple[str, str]) -> dict[str, Any]:
        return describe_split(decided(table), found(*checks), 0.25, 7)

    def test_official(self) -> None:
        rows = [("train", 0, None)] * 20 + [("test", 0, None), ("test", 1, None)]
        split = self.describe(listed(*rows, ("train", 1, None)))
        assert split["origin"] == "fixed by the source"
        assert (split["test_share"], split["seed"], split["by_group"]) == (None, None, False)
        sizes = {"train": 18, "calibration": 2, "test_normal": 1, "test_anomalous": 1}
        assert split["sizes"] == sizes

    def test_drawn_by_group(self) -> None:
        split = self.describe(listed(*[(None, 0, f"lot-{i // 5}") for i in range(40)]))
        assert split["origin"] == "drawn"
        assert (split["test_share"], split["seed"], split["by_group"]) == (0.25, 7, True)
        assert split["sizes"]["test_normal"] == 10

    def test_partly_drawn(self) -> None:
        rows = [("train", 0, None)] * 10 + [(None, 0, None)] * 10
        assert self.describe(listed(*rows))["origin"] == "partly drawn"

    def test_repeats_are_those_of_test_images(self) -> None:
        rows = [("train", 0, None)] * 10 + [("test", 0, None)] * 5
        checks = [
            ("duplicate", "011.png"),
            ("duplicate", "000.png"),  # in train
            ("near_duplicate", "012.png"),
            ("train_test_duplicate", "013.png"),
            ("group_in_train_and_test", "lot-1"),
            ("empty_mask", "014.png"),
        ]
        assert self.describe(listed(*rows), *checks)["repeats"] == {
            "within_test": 1,
            "of_train": 2,
            "groups_in_train": 1,
        }

    def test_nothing_found(self) -> None:
        split = self.describe(listed(*[("train", 0, None)] * 10))
        assert set(split["repeats"].values()) == {0}
        json.dumps(split)
