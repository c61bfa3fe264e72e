from pathlib import Path

import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.base import draw_share
from daf_pipelines.sources.registry import SOURCES, find_source, resolve_root


class TestFindSource:
    def test_every_source_is_found_by_its_name(self) -> None:
        assert {name: find_source(name).name for name in SOURCES} == {
            "elpv": "elpv",
            "mvtec_ad": "mvtec_ad",
        }

    def test_unknown_source_lists_the_known_and_suggests_the_nearest(self) -> None:
        with pytest.raises(ParameterError, match=r"'mvtecad'.*elpv, mvtec_ad.*mean 'mvtec_ad'"):
            find_source("mvtecad")


class TestResolveRoot:
    def test_relative_root_becomes_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "data").mkdir()
        monkeypatch.chdir(tmp_path)
        params = DatasetParams(source="mvtec_ad", root=Path("data"))
        assert resolve_root(params) == tmp_path.resolve() / "data"

    def test_missing_root(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"dataset\.root.*nowhere is not an existing folder"):
            resolve_root(DatasetParams(source="mvtec_ad", root=tmp_path / "nowhere"))

    def test_source_without_data_of_its_own_needs_a_root(self) -> None:
        with pytest.raises(ParameterError, match=r"dataset\.root is not given.*'mvtec_ad'"):
            resolve_root(DatasetParams(source="mvtec_ad"))


class TestDrawShare:
    def test_order_does_not_matter_and_the_salt_does(self) -> None:
        names = [f"n{i}" for i in range(50)]
        drawn = draw_share(names, 20, "a")
        assert drawn == draw_share(reversed(names), 20, "a")
        assert drawn != draw_share(names, 20, "b")
        assert len(drawn) == 20

    def test_a_larger_share_contains_the_smaller(self) -> None:
        names = [f"n{i}" for i in range(50)]
        assert draw_share(names, 5, "a") < draw_share(names, 6, "a")

    def test_every_name_is_drawn_about_as_often(self) -> None:
        names = [f"n{i}" for i in range(20)]
        counts = dict.fromkeys(names, 0)
        for salt in range(400):
            for name in draw_share(names, 5, str(salt)):
                counts[name] += 1
        assert all(60 <= count <= 140 for count in counts.values())  # 100 +- 4.6 deviations
