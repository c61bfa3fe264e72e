"""Every source recognises its own layout, and no other's."""

from pathlib import Path

import pytest
from layouts import LAYOUTS

from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.registry import SOURCES, find_source

CATEGORY_ROOTS = {
    "btad": "02",
    "dagm": "Class10",
    "mvtec_ad": "bolt",
    "mvtec_ad_2": "vial",
    "mvtec_loco": "screw_bag",
}
"""Sources that also read one category's folder, and a category of the tiny layout."""

SPECIFIC = [name for name in SOURCES if name != "folder"]
"""All but the plain folder, which is tried last and takes what the others decline."""


def test_every_source_has_a_tiny_layout() -> None:
    assert set(LAYOUTS) == set(SOURCES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_a_root_decides(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path / "data")
    assert find_source(DatasetParams(root=tmp_path / "data")).name == layout
    if layout in CATEGORY_ROOTS:
        root = tmp_path / "data" / CATEGORY_ROOTS[layout]
        assert find_source(DatasetParams(root=root)).name == layout


@pytest.mark.parametrize("source", SPECIFIC)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_its_own_layout_is_recognised(source: str, layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path / "data")
    assert SOURCES[source].recognises(tmp_path / "data") == (source == layout)


@pytest.mark.parametrize("source", SPECIFIC)
@pytest.mark.parametrize("layout", CATEGORY_ROOTS)
def test_only_its_own_category_is_recognised(source: str, layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    category = tmp_path / CATEGORY_ROOTS[layout]
    assert SOURCES[source].recognises(category) == (source == layout)


@pytest.mark.parametrize("source", SOURCES)
def test_empty_folder_is_not_recognised(source: str, tmp_path: Path) -> None:
    assert not SOURCES[source].recognises(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_name_files_that_exist_and_masks_are_not_listed(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    source = SOURCES[layout]
    for category in source.categories(tmp_path):
        rows = source.list_images(tmp_path, category).rows
        images, masks = {row.path for row in rows}, {row.mask_path for row in rows}
        assert len(images) == len(rows) > 0
        assert all((tmp_path / path).is_file() for path in images)
        assert all((tmp_path / mask).exists() for mask in masks - {None})
        assert not images & masks


@pytest.mark.parametrize("layout", CATEGORY_ROOTS)
def test_category_folder_as_root_gives_the_same_images(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    source, category = SOURCES[layout], CATEGORY_ROOTS[layout]
    whole = source.list_images(tmp_path, category).rows
    own = source.list_images(tmp_path / category, category).rows
    assert source.categories(tmp_path / category) == [category]
    assert [(f"{category}/{row.path}", row.split, row.label, row.defect_type) for row in own] == [
        (row.path, row.split, row.label, row.defect_type) for row in whole
    ]
