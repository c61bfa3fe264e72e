"""What docs list by name is all there is."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.synthesis import STRATEGIES
from daf_pipelines.synthesis.blending import BLENDINGS
from daf_pipelines.synthesis.contents import CONTENTS
from daf_pipelines.synthesis.masks import MASKS

ROOT = Path(__file__).parents[1]
STRATEGIES_PAGE = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")
METHOD_PAGE = (ROOT / "docs/method.md").read_text(encoding="utf-8")


def rows(text: str, column: str) -> list[str]:
    """The lines of the table whose header starts with `column`."""
    table = text.split(f"| {column} |")[1].split("\n\n", maxsplit=1)[0]
    return table.splitlines()[2:]


def test_presets() -> None:
    names = [row.split("`")[1] for row in rows(STRATEGIES_PAGE, "name")]
    assert names == list(STRATEGIES)


@pytest.mark.parametrize(
    ("kind", "known"), [("mask", MASKS), ("content", CONTENTS), ("blending", BLENDINGS)]
)
def test_operators(kind: str, known: dict[str, object]) -> None:
    (row,) = [row for row in rows(STRATEGIES_PAGE, "part") if row.startswith(f"| {kind} |")]
    assert sorted(row.split("`")[1::2]) == sorted(known)


class TestMethod:
    @pytest.mark.parametrize("row", rows(METHOD_PAGE, "in the paper"))
    def test_every_equation_has_its_code(self, row: str) -> None:
        names = re.findall(r"`([\w.]+)`", row.rpartition(" | ")[2])
        assert names
        for name in names:
            *module, attribute = name.split(".")
            parts = [attribute]
            while module and module[-1][0].isupper():  # a class, of which it is a method
                parts.insert(0, module.pop())
            reduce(getattr, parts, importlib.import_module(".".join(["daf_pipelines", *module])))

    def test_settings_of_the_public_code(self) -> None:
        (given,) = re.findall(r"kedro run --env paper --params (\S+)", METHOD_PAGE)
        loader = OmegaConfigLoader(
            str(ROOT / "conf"),
            base_env="base",
            default_run_env="paper",
            runtime_params=OmegaConf.to_container(OmegaConf.from_dotlist(given.split(","))),
            merge_strategy={"parameters": "soft"},
        )
        public = RunParameters.of(loader["parameters"])
        assert public.model.input.model_dump() == {"channels": "bgr", "normalise": "none"}
        assert not public.decoder_training.shuffle
        assert public.model.teacher.backbone == "resnet18"  # the rest is conf/paper
        assert public.decoder_training.length == 1200
