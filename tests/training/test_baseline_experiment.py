"""What identifies another method's model, and what is refused before it is trained."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
from safetensors.torch import save_file

from daf_pipelines.baselines.parameters import BaselineParams
from daf_pipelines.errors import DAFError, ParameterError
from daf_pipelines.parameters import DatasetParams, SynthesisParams, TeacherParams
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.training.experiment import baseline_identity, check_baseline

IMAGES = ImageSet(pd.DataFrame(), np.empty((0, 64, 64, 3), np.uint8), None, {"seed": 0})


def identity(method: str, strategy: str = "draem", **sections: object) -> dict[str, object]:
    params = BaselineParams(method=method, **sections)
    return baseline_identity(IMAGES, SynthesisParams(strategy=strategy), TeacherParams(), params)


class TestIdentity:
    @pytest.mark.parametrize("method", ["patchcore", "stfpm"])
    def test_no_outliers_where_none_are_used(self, method: str) -> None:
        assert identity(method, "nsa") == identity(method, "draem")
        assert set(identity(method)) == {"dataset", "baseline", "model"}

    def test_no_teacher_where_there_is_none(self) -> None:
        assert identity("draem", "nsa") != identity("draem", "draem")
        assert set(identity("draem")) == {"dataset", "baseline", "synthesis"}

    def test_only_the_method_s_own_section_counts(self) -> None:
        assert identity("patchcore", stfpm={"steps": 1}, device="cpu") == identity("patchcore")
        assert identity("stfpm", stfpm={"steps": 1}) != identity("stfpm")


class TestCheck:
    @pytest.fixture(autouse=True)
    def weights(self, tmp_path: Path) -> None:
        self.file = str(tmp_path / "teacher.safetensors")
        save_file(timm.create_model("test_byobnet").state_dict(), self.file)

    def check(self, method: str = "patchcore", backbone: str = "test_byobnet", **dataset) -> None:
        check_baseline(
            DatasetParams(source="elpv", **dataset),
            SynthesisParams(),
            TeacherParams(backbone=backbone, weights=self.file),
            BaselineParams(method=method),
        )

    def test_padding(self) -> None:
        with pytest.raises(ParameterError, match=r"^dataset\.resize: .*'square'"):
            self.check(resize="pad")

    @pytest.mark.parametrize("method", ["patchcore", "stfpm"])
    def test_teacher(self, method: str) -> None:
        self.check(method)
        with pytest.raises(ParameterError, match="Unknown backbone 'resnet19'"):
            self.check(method, backbone="resnet19")

    def test_size_that_draem_cannot_halve(self) -> None:
        self.check("draem", backbone="resnet19", image_size=64)  # it has no teacher
        with pytest.raises(ParameterError, match=r"multiple of 32; got 80"):
            self.check("draem", image_size=80)

    def test_without_anomalib(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(DAFError, match=r"^The method draem .* not installed: .*baselines\]"):
            self.check("draem")
