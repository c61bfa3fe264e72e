"""dvc.yaml against the Kedro registry, and the experiment reproduced by DVC on a few real cells."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from mlflow.entities import Run

from daf_pipelines.pipeline_registry import EXPERIMENT, experiment, register_pipelines
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.study.plan import merged
from daf_pipelines.tracking.hooks import dataset_path
from project_copy import PARAMETERS, ROOT, ProjectCopy, copy_project, invert
from small_project import TINY

# A run goes on from them; no stage waits for them.
RESUMED = {"checkpoints", "decoded_images"}
# Passed on within a stage only.
IN_MEMORY = {"reading"}
# The library is made of packages, which stages depend on, and of modules, which decide no output;
# nor do baselines, whose networks a detector of this experiment never holds.
LIBRARY = ("metrics", "models", "reporting", "scoring", "sources", "synthesis", "training")
# Imported by the stage, but what they do has reached it through its inputs already.
PASSED_ON = {
    "data_ingestion": {"metrics"},  # the module of the card's pictures draws metrics, too
    "outlier_synthesis": {"metrics"},  # the module of the mask pictures draws metrics, too
    "evaluation": {"synthesis", "training"},  # the comparison of identities
}
# Length and losses of each plot of training.
CURVES = {
    "data/08_reporting/teacher_student_losses.csv": (6, {"kd", "dis"}),
    "data/08_reporting/decoder_losses.csv": (4, {"seg"}),
    "student_in_decoder_training": (4, {"kd", "dis"}),
}
BUDGET = {
    "dataset": {"source": "elpv", "root": "data/01_raw/cells", "category": None},
    "teacher_student_training": {"length": 6},
    "decoder_training": {"length": 4, "train_student": True},
}


@dataclass(frozen=True)
class Stage:
    """What has to be the same in dvc.yaml and in the registry."""

    command: str
    deps: frozenset[str]
    outs: frozenset[str]
    params: frozenset[str]


def described(text: str, folder: Path) -> dict[str, Stage]:
    """The stages of a dvc.yaml as DVC reads them, in its order."""
    (folder / "conf/base").mkdir(parents=True)
    shutil.copy(ROOT / PARAMETERS, folder / PARAMETERS)
    (folder / "dvc.yaml").write_text(text, encoding="utf-8")
    with Repo.init(str(folder), no_scm=True) as repo:
        stages = {stage.name: stage for stage in repo.index.stages}
        names = list(yaml.safe_load(text)["stages"])
        return {name: _stage(stages[name]) for name in names}


def _stage(stage: Any) -> Stage:
    params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    assert {dep.def_path for dep in params} <= {PARAMETERS}
    return Stage(
        stage.cmd,
        frozenset(dep.def_path for dep in stage.deps if dep not in params),
        frozenset(out.def_path for out in stage.outs),
        frozenset(key for dep in params for key in dep.params),
    )


def registered() -> dict[str, Stage]:
    """The stages as the registry, the catalog and the imports have them."""
    conf = str(ROOT / "conf")
    loader = OmegaConfigLoader(conf, base_env="base", default_run_env="base")
    catalog = DataCatalog.from_config(loader["catalog"])
    imports = grimp.build_graph("daf_pipelines", cache_dir=None)
    root = loader["parameters"]["dataset"]["root"]
    stages = {}
    for name in EXPERIMENT:
        pipeline = register_pipelines()[name]
        params = {i.removeprefix("params:") for i in pipeline.inputs() if i.startswith("params:")}
        inputs = {i for i in pipeline.inputs() - RESUMED if not i.startswith("params:")}
        deps = {str(dataset_path(catalog[i])) for i in inputs} | _code(name, imports)
        outs = {
            str(dataset_path(catalog[o]))
            for o in pipeline.all_outputs() - IN_MEMORY
            if o in catalog
        }
        if name == EXPERIMENT[0]:
            deps.add(root)
        stages[name] = Stage(
            f"kedro run --pipelines {name}", frozenset(deps), frozenset(outs), frozenset(params)
        )
    return stages


def _code(name: str, imports: grimp.ImportGraph) -> set[str]:
    """The pipeline, and the parts of the library that its nodes import, however indirectly."""
    modules = imports.find_upstream_modules(f"daf_pipelines.pipelines.{name}.nodes")
    parts = {m.split(".")[1] for m in modules} & set(LIBRARY) - PASSED_ON.get(name, set())
    code = {f"src/daf_pipelines/{part}" for part in parts}
    if name != EXPERIMENT[0]:  # The others read what it has prepared.
        code.remove("src/daf_pipelines/sources")
        code.add("src/daf_pipelines/sources/image_set.py")
    return code | {f"pipelines/{name}"}


def dvc_yaml() -> str:
    return (ROOT / "dvc.yaml").read_text(encoding="utf-8")


class TestOneGraphDescribedTwice:
    def test_dvc_yaml_and_the_registry_agree(self, tmp_path: Path) -> None:
        stages = described(dvc_yaml(), tmp_path)
        assert list(stages) == ["raw_data", *EXPERIMENT]
        for name, stage in registered().items():
            assert stages[name] == stage, name

    @pytest.mark.parametrize(
        ("line", "drifted"),
        [
            ("kedro run --pipelines decoder_training", "kedro run --pipelines evaluation"),
            ("      - data/06_models/student\n    params", "    params"),
            ("      - src/daf_pipelines/scoring\n", ""),
            ("      - pipelines/outlier_synthesis\n", ""),
            ("      - ${dataset.root}\n", ""),
            ("      - data/08_reporting/image_roc.csv\n", ""),
            ("data/04_feature/textures.npy", "data/04_feature/texture.npy"),
            ("          - threshold\n", ""),
            ("          - scoring\n", "          - scoring\n          - synthesis\n"),
        ],
    )
    def test_drift_is_found(self, line: str, drifted: str, tmp_path: Path) -> None:
        assert line in dvc_yaml()
        stages = described(dvc_yaml().replace(line, drifted), tmp_path)
        assert {name: stages[name] for name in EXPERIMENT} != registered()

    def test_every_output_of_the_experiment_is_versioned(self) -> None:
        """What a node makes and the catalog does not keep, no later stage could read."""
        outs = set().union(*(stage.outs for stage in registered().values()))
        assert len(outs) == len(experiment().all_outputs() - IN_MEMORY)

    def test_raw_data_unpacks_the_default_images(self, tmp_path: Path) -> None:
        stage = described(dvc_yaml(), tmp_path)["raw_data"]
        root = yaml.safe_load((ROOT / PARAMETERS).read_text(encoding="utf-8"))["dataset"]["root"]
        assert stage.outs == {root}
        assert stage.command == f"python -m daf_pipelines.sources.elpv {root}"

    def test_every_parameter_is_written_out(self) -> None:
        """A default that changes in the code would change results behind DVC's back."""
        written = yaml.safe_load((ROOT / PARAMETERS).read_text(encoding="utf-8"))
        complete = RunParameters.of(written).model_dump(mode="json", exclude={"data_dir"})
        assert _keys(written) == _keys(complete)


def _keys(section: dict[str, Any]) -> dict[str, Any]:
    return {k: _keys(v) if isinstance(v, dict) else None for k, v in section.items()}


@pytest.fixture
def project(elpv_cells: Path, empty_store: Path, tmp_path: Path) -> ProjectCopy:
    """The working tree as git sees it, committed, with tiny budgets; own cells under DVC."""
    copy = copy_project(tmp_path / "project", elpv_cells, empty_store)
    copy.set(merged(TINY, BUDGET))
    copy.dvc("add", "data/01_raw/cells")
    copy.commit()
    return copy


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if isinstance(v, int | float)}


def check_metrics(project: ProjectCopy) -> None:
    shown = project.shown("metrics", "show")[""]["data"]["data/08_reporting/metrics.json"]["data"]
    assert numbers(shown) == numbers(project.metrics())
    assert "image_auroc" in numbers(shown)


def check_plots(project: ProjectCopy) -> None:
    plots = project.shown("plots", "show")["data"]
    entries = yaml.safe_load(dvc_yaml())["plots"]
    assert set(plots) == {e if isinstance(e, str) else next(iter(e)) for e in entries}
    of_pixels = {name for name in plots if "pixel_" in name or name.endswith("pro.csv")}
    assert len(of_pixels) == 3
    assert {name for name in plots if not plots[name]} == of_pixels  # the cells have no masks
    for name, (length, losses) in CURVES.items():
        (curve,) = plots[name]
        values = curve["content"]["data"]["values"]
        assert {int(v["step"]) for v in values} == set(range(length))
        assert {v.get("field", "seg") for v in values} == losses


def check_one_run(runs: list[Run], metrics: dict[str, Any]) -> None:
    (run,) = runs
    assert run.info.status == "FINISHED"
    assert run.data.metrics["image_auroc"] == metrics["image_auroc"]
    assert {"teacher_student/kd", "decoder/seg"} <= run.data.metrics.keys()


def check_remote(project: ProjectCopy) -> None:
    """To a remote and back: the data and all that was made of them, with nothing to reproduce."""
    project.dvc("remote", "add", "--default", "storage", str(project.folder.parent / "storage"))
    project.commit()
    project.dvc("push")
    raw = sorted(project.cells.rglob("*.png"))
    for folder in (".dvc/cache", "data/01_raw", "data/02_intermediate", "data/03_primary"):
        shutil.rmtree(project.folder / folder)
    for folder in ("04_feature", "05_model_input", "06_models", "07_model_output", "08_reporting"):
        shutil.rmtree(project.folder / "data" / folder)
    project.execute("git", "checkout", "data")  # the pointers and the metrics, as in a new clone
    project.dvc("pull")
    assert sorted(project.cells.rglob("*.png")) == raw
    assert project.shown("status") == {}
    assert project.reproduce() == []


class TestReproduction:
    def test_raw_data_leaves_images_of_others_alone(self, project: ProjectCopy) -> None:
        """DVC removes the outputs of a stage before it runs; these may be somebody's only copy."""
        mine = project.folder / "data/01_raw/elpv/mine.png"
        mine.parent.mkdir()
        mine.write_bytes(b"mine")
        message = project.dvc("repro", "raw_data", expect=255)
        assert "is not a complete copy of the ELPV data" in message
        assert mine.read_bytes() == b"mine"

    def test_an_experiment(self, project: ProjectCopy) -> None:
        assert project.reproduce() == ["raw_data", *EXPERIMENT]
        assert project.reproduce() == []
        assert project.shown("status") == {}
        assert set(project.commit()) == {"dvc.lock", "data/08_reporting/metrics.json"}
        check_one_run(project.runs(), project.metrics())
        check_metrics(project)
        check_plots(project)

        check_remote(project)

        # Only the decoder, trained anew by an experiment of DVC.
        change = f"{PARAMETERS}:decoder_training.length=2"
        ran = project.reproduce("exp", "run", "--name", "shorter", "-S", change)
        assert ran == ["decoder_training", "evaluation"]
        assert len(project.runs()) == 2
        workspace, commit = project.shown("exp", "show")
        (shorter,) = commit["experiments"]
        assert shorter["name"] == "shorter"
        thresholds = []  # AUROC of so few cells may stay as it is
        for shown, length in ((commit, 4), (shorter["revs"][0], 2), (workspace, 2)):
            params = shown["data"]["params"][PARAMETERS]["data"]
            metrics = shown["data"]["metrics"]["data/08_reporting/metrics.json"]["data"]
            assert params["decoder_training"]["length"] == length
            assert 0 <= metrics["image_auroc"] <= 1
            thresholds.append(metrics["image_threshold"])
        assert thresholds[0] != thresholds[1] == thresholds[2]

        # A parameter of the synthesis, which three stages read.
        project.set({"synthesis": {"validation_repeats": 3}})
        assert set(project.shown("status")) == set(EXPERIMENT[1:4])
        project.set({"synthesis": {"validation_repeats": 2}})

        # The threshold alone, which is found without any training.
        project.set({"threshold": {"image": {"false_positive_rate": 0.2}}})
        assert set(project.shown("status")) == {"evaluation"}
        project.set({"threshold": {"image": {"false_positive_rate": 0.05}}})

        # An image.
        pointer = project.folder / "data/01_raw/cells.dvc"
        before = pointer.read_text(encoding="utf-8")
        invert(sorted((project.cells / "images").iterdir())[0])
        assert project.reproduce("repro", "data_ingestion") == ["data_ingestion"]
        assert pointer.read_text(encoding="utf-8") != before
        assert set(project.shown("status")) == set(EXPERIMENT[1:])
