from pathlib import Path

import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.base import draw_share
from daf_pipelines.sources.registry import (
    SOURCES,
    find_source,
    identify,
    resolve_dataset,
    resolve_root,
    unpack,
)


class TestFindSource:
    def test_every_source_is_found_by_its_name(self) -> None:
        found = {name: find_source(DatasetParams(source=name)).name for name in SOURCES}
        assert found == {name: name for name in SOURCES}

    def test_the_plain_folder_is_tried_last(self) -> None:
        assert list(SOURCES)[-1] == "folder"

    def test_unknown_source_lists_the_known_and_suggests_the_nearest(self) -> None:
        with pytest.raises(ParameterError, match=r"'mvtecad'.*elpv, .*mvtec_ad.*mean 'mvtec_ad'"):
            find_source(DatasetParams(source="mvtecad"))


class TestAuto:
    def test_layout_of_the_root_decides(self, mvtec_root: Path, elpv_root: Path) -> None:
        found = {find_source(DatasetParams(root=root)).name for root in (mvtec_root, elpv_root)}
        assert found == {"mvtec_ad", "elpv"}

    def test_no_root_is_the_packaged_data(self) -> None:
        assert find_source(DatasetParams()).name == "elpv"

    def test_only_an_absent_folder_of_that_name_is_unpacked_into(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A mistyped root must not end in training on other images."""
        unpacked: list[Path] = []
        monkeypatch.setattr(type(SOURCES["elpv"]), "unpack", lambda _, root: unpacked.append(root))
        unpack(DatasetParams(root=tmp_path / "elpv"))
        assert unpacked == [tmp_path / "elpv"]
        for source in ("auto", "elpv"):
            params = DatasetParams(source=source, root=tmp_path / "my-prats")
            with pytest.raises(DataError, match="my-prats is not an existing folder"):
                resolve_root(params)
        assert len(unpacked) == 1

    def test_unknown_layout(self, tmp_path: Path) -> None:
        (tmp_path / "notes").mkdir()
        with pytest.raises(DataError, match=r"none of the known layouts.*found notes.*/good"):
            find_source(DatasetParams(root=tmp_path))

    def test_absent_raw_data_leave_the_names_open(self, tmp_path: Path) -> None:
        assert identify(DatasetParams(root=tmp_path / "gone")) == (None, None)
        params = DatasetParams(root=tmp_path / "gone", source="mvtec_ad", category="nut")
        assert identify(params) == ("mvtec_ad", "nut")


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

    def test_file_of_a_table_stands_for_its_folder(self, tmp_path: Path) -> None:
        (tmp_path / "cache").touch()
        (tmp_path / "parts").mkdir()
        table = tmp_path / "parts" / "lot7.csv"
        table.symlink_to(tmp_path / "cache")  # as DVC may check it out
        params = DatasetParams(source="table", root=table)
        assert resolve_dataset(params) == table.parent.resolve() / "lot7.csv"
        assert resolve_root(params) == table.parent.resolve()

    def test_file_is_no_root_of_a_tree(self, tmp_path: Path) -> None:
        (tmp_path / "lot7.csv").touch()
        for source in ("mvtec_ad", "folder", "elpv"):
            with pytest.raises(DataError, match=r"lot7\.csv is not an existing folder"):
                resolve_root(DatasetParams(source=source, root=tmp_path / "lot7.csv"))

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
