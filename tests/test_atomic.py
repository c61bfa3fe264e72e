from pathlib import Path

import pytest

from daf_pipelines.atomic import written_whole


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_replaces_the_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    for name in ("old", "new"):
        with written_whole(target) as partial:
            (partial / name).touch()
    assert listing(target) == ["new"]
    assert listing(target.parent) == ["target"]


def test_failure_leaves_the_previous_folder_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with written_whole(target) as partial:
        (partial / "old").touch()

    def fail() -> None:
        with written_whole(target) as partial:
            (partial / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert listing(target) == ["old"]
    assert listing(tmp_path) == ["target"]


def test_litter_of_a_killed_process_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".target.partial").mkdir()
    (tmp_path / ".target.partial" / "half").touch()
    with written_whole(tmp_path / "target") as partial:
        (partial / "new").touch()
    assert listing(tmp_path / "target") == ["new"]
    assert listing(tmp_path) == ["target"]
