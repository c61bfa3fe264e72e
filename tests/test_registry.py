"""The pipelines that Kedro finds."""

import sys
from pathlib import Path

import pytest

from daf_pipelines import pipeline_registry
from daf_pipelines.errors import DAFError
from daf_pipelines.pipeline_registry import BASELINE, EXPERIMENT, register_pipelines


def test_every_folder_is_a_pipeline() -> None:
    folder = Path(__file__).parents[1] / "pipelines"
    names = {p.parent.name for p in folder.glob("*/pipeline.py")}
    assert set(register_pipelines()) == names | {"__default__", "baseline"}
    assert {*EXPERIMENT, *BASELINE} < names


def test_default_is_the_experiment_whatever_a_run_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kedro.framework.project import pipelines

    monkeypatch.setattr(pipelines, "_requested_pipelines", ["evaluation"])
    found = register_pipelines()
    assert len(found["__default__"].nodes) == sum(len(found[name].nodes) for name in EXPERIMENT)


def test_missing_link_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout without symbolic links has a text file in place of the folder."""
    monkeypatch.setattr(pipeline_registry, "PACKAGE", "daf_pipelines.no_such_link")
    with pytest.raises(DAFError, match=r"must be a link .* core\.symlinks true"):
        register_pipelines()


def test_broken_import_in_a_pipeline_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "other_pipelines" / "broken"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pipeline_registry, "PACKAGE", "other_pipelines")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        register_pipelines()
    sys.modules.pop("other_pipelines", None)
