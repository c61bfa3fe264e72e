"""Study files, their cells and the parameters of each."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from daf_pipelines.errors import DAFError, ParameterError
from daf_pipelines.pipeline_registry import EXPERIMENT
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.scoring.transfer import other_strategies
from daf_pipelines.study import plan
from daf_pipelines.study.plan import Cell, Study, merged

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.parent for path in (ROOT / "studies").glob("*/study.yml"))
BASE: dict[str, Any] = {
    "name": "small",
    "grid": {
        "dataset": ["parts"],
        "strategy": ["draem", "on_object"],
        "method": ["daf", "bare"],
        "reference": ["patchcore"],
        "seed": [0, 1],
    },
    "datasets": {"parts": {"root": "$PARTS/good", "image_size": 64}},
    "strategies": {"draem": {}, "on_object": {"strategy": "draem", "foreground": "object"}},
    "methods": {
        "daf": {},
        "bare": {"model": {"decoder": {"cue": "none"}}},
        "patchcore": {
            "baseline": {"method": "patchcore"},
            "dataset": {"resize": "square"},
            "scoring": {"blur_sigma": 2},
        },
    },
    "recipe": {
        "dataset": {"image_size": 96, "resize": "pad"},
        "model": {"decoder": {"width": 32}, "discrepancy": {"structure": "squared"}},
        "decoder_training": {"length": 7},
    },
}


def read(folder: Path, changes: dict[str, Any] | None = None) -> Study:
    text = yaml.safe_dump(merged(BASE, changes or {}))
    small = folder / "small"
    small.mkdir(exist_ok=True)
    (small / "study.yml").write_text(text, encoding="utf-8")
    return Study.read(small)


class TestCells:
    def test_methods_are_crossed_with_strategies_and_references_are_not(
        self, tmp_path: Path
    ) -> None:
        names = {cell.name for cell in read(tmp_path).cells()}
        assert len(names) == 2 * 2 * 2 + 2
        assert {"parts-draem-daf-0", "parts-on_object-bare-1", "parts-patchcore-1"} <= names

    def test_turns_come_one_after_the_other(self, tmp_path: Path) -> None:
        order = [{"method": ["bare"], "seed": [1]}, {"seed": [1]}]
        cells = read(tmp_path, {"order": order}).cells()
        turns = [(cell.method == "bare", cell.seed) for cell in cells]
        assert turns[:2] == [(True, 1)] * 2
        assert {seed for _, seed in turns[2:5]} == {1}
        assert {seed for _, seed in turns[5:]} == {0}

    def test_the_stages_are_those_that_dvc_makes(self) -> None:
        assert Cell("elpv", "nsa", "daf", 2).stage == "cell@elpv-nsa-daf-2"
        assert Cell("elpv", None, "stfpm", 0).stage == "reference@elpv-stfpm-0"

    def test_a_name_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match=r"small has no cell 'parts-daf'.*parts-draem-daf"):
            read(tmp_path).cell("parts-daf")


class TestParameters:
    @pytest.mark.parametrize("value", [None, ""])
    def test_a_variable_that_is_not_set(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
    ) -> None:
        monkeypatch.delenv("PARTS", raising=False)
        if value is not None:
            monkeypatch.setenv("PARTS", value)
        with pytest.raises(ParameterError, match=r"parts\.root.*variable PARTS, which is"):
            read(tmp_path).dataset_params("parts")

    def test_what_is_nearer_takes_precedence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PARTS", "/shelf")
        params = read(tmp_path).parameters(Cell("parts", "on_object", "bare", 1))
        assert params.seed == 1
        assert params.dataset.root == Path("/shelf/good")
        assert (params.dataset.image_size, params.dataset.resize) == (64, "pad")
        assert (params.synthesis.strategy, params.synthesis.foreground) == ("draem", "object")
        assert (params.model.decoder.width, params.model.decoder.cue) == (32, "none")
        assert params.decoder_training.length == 7

    def test_every_cell_is_tried_on_the_outliers_of_all_strategies(self, tmp_path: Path) -> None:
        study = read(tmp_path)
        for cell in study.cells():
            assert list(study.parameters(cell).transfer.strategies) == ["draem", "on_object"]

    def test_what_a_strategy_changes_is_not_in_the_outliers_of_others(self, tmp_path: Path) -> None:
        study = read(tmp_path, {"recipe": {"synthesis": {"match_grey": False}}})
        params = study.parameters(Cell("parts", "on_object", "daf", 0))
        assert params.synthesis.foreground == "object"
        found = other_strategies(params.synthesis, params.transfer.strategies, 1)
        assert found["on_object"].foreground == "object"
        assert found["draem"].foreground != "object"
        assert not found["draem"].match_grey

    def test_tags_tell_the_study_and_the_names_in_it(self, tmp_path: Path) -> None:
        study = read(tmp_path)
        tags = study.parameters(study.cell("parts-on_object-bare-0")).tags
        assert tags == {
            "study": "small",
            "cell": "parts-on_object-bare-0",
            "method": "bare",
            "strategy": "on_object",
        }
        assert study.parameters(study.cell("parts-patchcore-0")).tags["strategy"] == "none"

    def test_they_are_complete(self, tmp_path: Path) -> None:
        """Or conf/base, and conf/local, would decide about the rest."""
        study = read(tmp_path)
        cell = study.cells()[0]
        dumped = study.parameters(cell).model_dump(mode="json")
        assert dumped.keys() == RunParameters.model_fields.keys()
        assert RunParameters.of(dumped) == study.parameters(cell)


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"grid": {"method": ["daf", "dfa"]}}, "methods lacks dfa, which grid names"),
            ({"grid": {"seed": [-1]}}, "grid.seed.0: .* greater than or equal to 0"),
            ({"grid": {"dataset": ["a-b"]}}, "grid.dataset.0"),
            ({"grid": {"sed": [0]}}, "grid.sed: Extra inputs"),
            ({"name": "large"}, "name to be that of its folder, small, .*; got large"),
            ({"grid": {"seed": [0, 1], "strategy": ["draem", "draem"]}}, "grid has draem twice"),
            ({"grid": {"reference": ["daf"]}}, "grid has daf twice"),
            ({"order": [{"method": ["dfa"]}]}, "order has dfa, which grid does not name"),
            ({"order": [{"seed": [7]}]}, "order has the seed 7, which grid does not have"),
            ({"grid": {"seed": [1, 1]}}, "grid has a seed twice"),
            ({"recipe": {"dataset": None}}, "recipe.dataset: Input should be a valid dictionary"),
        ],
    )
    def test_in_what_is_declared(
        self, changes: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ParameterError, match=message) as caught:
            read(tmp_path, changes)
        assert str(tmp_path / "small/study.yml") in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"recipe": {"model": {"decoder": {"widht": 8}}}},
                "study.yml, cell parts-draem-daf-0: .*widht: unknown parameter",
            ),
            ({"methods": {"bare": {"sorcery": {}}}}, "cell parts-draem-bare-0: sorcery"),
            ({"strategies": {"draem": {"texture_root": "nowhere"}}}, "nowhere"),
            ({"strategies": {"draem": {"strategy": "drem"}}}, "drem.*draem"),
        ],
    )
    def test_in_a_cell_before_any_is_run(
        self, changes: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        study = read(tmp_path, changes)
        with pytest.raises(DAFError, match=message):
            study.check(study.cells())

    @pytest.mark.parametrize(
        ("grid", "told"),
        [
            ({"reference": ["patchcore", "daf"], "method": ["bare"]}, "Move it to grid.method"),
            ({"reference": [], "method": ["daf", "patchcore"]}, "Move it to grid.reference"),
        ],
    )
    def test_what_depends_on_the_strategy(
        self, grid: dict[str, list[str]], told: str, tmp_path: Path
    ) -> None:
        study = read(tmp_path, {"grid": grid})
        with pytest.raises(ParameterError, match=told):
            study.check(study.cells())

    @pytest.mark.parametrize(
        ("method", "told"),
        [
            ({"decoder_training": {"device": "cuda:99"}}, "cuda:99"),
            ({"model": {"student": {"backbone": "resnet81"}}}, "resnet81"),
            ({"model": {"teacher": {"weights": "no/such/file.pt"}}}, "no/such/file.pt"),
        ],
    )
    def test_what_cannot_be_trained(
        self, method: dict[str, Any], told: str, tmp_path: Path
    ) -> None:
        study = read(tmp_path, {"methods": {"bare": method}})
        with pytest.raises(DAFError, match=f"study.yml, cell parts-.*-bare-.: .*{told}"):
            study.check(study.cells())

    def test_no_study(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match=r"study.yml not found. Name the folder"):
            Study.read(tmp_path)

    def test_no_yaml(self, tmp_path: Path) -> None:
        (tmp_path / "study.yml").write_text("a: [", encoding="utf-8")
        with pytest.raises(ParameterError, match="not valid YAML"):
            Study.read(tmp_path)


class TestStudiesOfTheProject:
    def test_their_stages_are_described_alike(self) -> None:
        assert len(STUDIES) >= 3
        (text,) = {(folder / "dvc.yaml").read_text(encoding="utf-8") for folder in STUDIES}
        assert "cells" in text

    @pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
    def test_they_can_be_run(self, folder: Path) -> None:
        study = Study.read(folder)
        study.check(study.cells())
        assert study.cells()

    @pytest.mark.parametrize("name", ["robustness", "ablations"])
    def test_the_recipe_is_the_quick_one(self, name: str) -> None:
        base = RunParameters.of(yaml.safe_load((ROOT / "conf/base/parameters.yml").read_text()))
        study = Study.read(ROOT / "studies" / name)
        params = study.parameters(study.cell("elpv-draem-daf-0"))
        for section in (
            "synthesis",
            "model",
            "teacher_student_training",
            "decoder_training",
            "scoring",
            "threshold",
        ):
            assert getattr(params, section) == getattr(base, section), section
        assert params.dataset.image_size == base.dataset.image_size

    def test_cells_run_the_experiment(self) -> None:
        assert plan.EXPERIMENT.split(",") == [*EXPERIMENT, "strategy_transfer"]
