"""``kedro run --pipelines comparison`` over runs in a real store, which nobody had to train."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from daf_pipelines.comparison import Selection
from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.metrics import METRICS
from daf_pipelines.parameters import ComparisonParams
from daf_pipelines.tracking.evaluated import read_runs
from made_up_runs import make_images, make_run, record
from small_project import SmallProject

STRATEGIES = ("draem", "nsa", "cutpaste")


class Recorded:
    """A project whose store has three evaluated runs: draem, nsa and cutpaste, the newest."""

    def __init__(self, folder: Path, empty_store: Path) -> None:
        self.project = SmallProject(folder, {"source": "elpv", "root": "unused"}, empty_store)
        self.config = {"uri": self.project.uri, "experiment": "daf", "artifacts": "mlartifacts"}
        location = (folder / "mlartifacts").as_uri()
        self.experiment = self.client.create_experiment("daf", artifact_location=location)
        self.images = make_images()
        self.ids = [self.add(k, strategy=name) for k, name in enumerate(STRATEGIES)]

    @property
    def client(self) -> MlflowClient:
        return self.project.client

    def add(self, number: int, **changes: Any) -> str:
        run = make_run(number, self.images, **changes)
        return record(self.client, self.experiment, run, self.project.folder / f"made-{number}")

    def read(self, **params: Any) -> Selection:
        return read_runs(self.config, ComparisonParams.model_validate(params))

    def names(self, **params: Any) -> list[str]:
        return [run.tags["strategy"] for run in self.read(**params).runs]


@pytest.fixture(scope="module")
def recorded(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Shared: nothing is to be added to it."""
    return Recorded(tmp_path_factory.mktemp("recorded") / "project", empty_store)


@pytest.fixture
def own(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """One to add to."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Recorded(tmp_path / "project", empty_store)


@pytest.fixture(autouse=True)
def _configured_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


class TestPipeline:
    def test_compares_what_the_store_has(self, recorded: Recorded, tmp_path: Path) -> None:
        project = recorded.project
        project.run("comparison", comparison={"replicates": 100})
        table = pd.read_csv(project.path("08_reporting/comparison.csv"))
        assert table["run_id"].unique().tolist() == recorded.ids[::-1]
        assert set(table["baseline"]) == {recorded.ids[0]}
        assert len(table) == 3 * len(METRICS)
        compared = table[table["run_id"] != recorded.ids[0]]
        assert compared["delta"].notna().all()
        assert compared["p_holm"].between(0, 1).all()
        assert project.path("08_reporting/seeds.csv").is_file()
        page = project.path("08_reporting/comparison.html").read_text(encoding="utf-8")
        assert all(f"{name}-seed0-elpv-mono" in page for name in STRATEGIES)
        assert page.count("heat of ") == 3 * 20

        # A run of its own, beside the compared ones, which it leaves alone.
        assert len(project.runs()) == 3
        experiment = project.client.get_experiment_by_name("daf-comparisons")
        (run,) = project.client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert run.data.tags["compared"].split(", ") == recorded.ids[::-1]
        assert run.data.tags["strategy"] == "cutpaste, draem, nsa"
        folder = Path(project.client.download_artifacts(run.info.run_id, "comparison", tmp_path))
        assert {file.name for file in folder.iterdir()} == {
            "comparison.csv",
            "comparison.html",
            "seeds.csv",
        }

    def test_command_line(self, recorded: Recorded) -> None:
        first, second, _ = recorded.ids
        chosen = {"runs": f"{first[:10]} {second}", "baseline": "nsa-seed0-elpv-mono"}
        result = recorded.project.invoke(
            "--pipelines", "comparison", comparison={**chosen, "replicates": 100}
        )
        assert result.exit_code == 0, result.output
        assert "2 runs compared" in result.output
        assert "No run has" not in result.output
        assert "comparison.html" in result.output
        table = pd.read_csv(recorded.project.path("08_reporting/comparison.csv"))
        assert table["run_id"].unique().tolist() == [first, second]
        assert set(table["baseline"]) == {second}

    @pytest.mark.parametrize("table", ["experiments", "runs"])
    def test_store_that_refuses(
        self, own: Recorded, table: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was compared lies in the files; only its record is missing."""
        own.project.refuse(table)
        result = own.project.invoke("--pipelines", "comparison", comparison={"replicates": 100})
        assert result.exit_code == 0, result.output
        assert "3 runs compared" in result.output
        assert own.project.path("08_reporting/comparison.html").is_file()
        assert "MLflow has not recorded the comparison" in caplog.text

    def test_runs_without_a_metric(self, own: Recorded) -> None:
        measured = {"n_test_normal": 24.0}
        bare = [own.add(k, strategy=f"bare{k}", metrics=measured) for k in (7, 8)]
        chosen = {"runs": " ".join(bare), "replicates": 100}
        result = own.project.invoke("--pipelines", "comparison", comparison=chosen)
        assert result.exit_code == 0, result.output
        assert "2 runs compared" in result.output
        assert "No run has a metric" in " ".join(result.output.split())

    def test_a_mistake_is_one_message(self, recorded: Recorded) -> None:
        result = recorded.project.invoke(
            "--pipelines", "comparison", comparison={"runs": "nsa-seed1-elpv-mono"}
        )
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        assert "has no run 'nsa-seed1-elpv-mono'" in " ".join(result.output.split())


class TestSelection:
    def test_newest_first(self, recorded: Recorded) -> None:
        selection = recorded.read()
        assert [run.run_id for run in selection.runs] == recorded.ids[::-1]
        assert selection.baseline == recorded.ids[0]
        assert recorded.names(limit=2) == ["cutpaste", "nsa"]

    def test_by_filter(self, recorded: Recorded) -> None:
        names = recorded.names(filter="tags.strategy != 'nsa' and metrics.image_auroc > 0.1")
        assert names == ["cutpaste", "draem"]

    def test_by_name_and_id(self, recorded: Recorded) -> None:
        selection = recorded.read(runs=["nsa-seed0-elpv-mono", recorded.ids[0][:12]])
        assert [run.run_id for run in selection.runs] == [recorded.ids[1], recorded.ids[0]]
        assert selection.baseline == recorded.ids[1]

    def test_a_run_twice_is_one(self, recorded: Recorded) -> None:
        assert recorded.names(runs=[recorded.ids[0], "draem-seed0-elpv-mono", recorded.ids[1]]) == [
            "draem",
            "nsa",
        ]

    def test_baseline_joins_the_runs(self, recorded: Recorded) -> None:
        selection = recorded.read(runs=[recorded.ids[0]], baseline=recorded.ids[2])
        assert [run.run_id for run in selection.runs] == [recorded.ids[0], recorded.ids[2]]
        assert selection.baseline == recorded.ids[2]

    def test_an_experiment_counts_once(self, own: Recorded) -> None:
        again = own.add(7, strategy="nsa", tags={"experiment": f"{1:016x}", "strategy": "nsa"})
        assert [run.run_id for run in own.read().runs] == [again, own.ids[2], own.ids[0]]

    def test_only_finished_and_evaluated_ones(self, own: Recorded) -> None:
        failed = own.add(7)
        own.client.set_terminated(failed, "FAILED")
        own.add(8, metrics={"decoder/seg": 0.1})
        assert own.names() == ["cutpaste", "nsa", "draem"]
        assert own.names(runs=[failed, own.ids[0]]) == ["draem", "draem"]

    def test_another_experiment_by_id(self, own: Recorded) -> None:
        elsewhere = own.client.create_experiment("other")
        run = own.client.create_run(elsewhere)
        own.client.log_metric(run.info.run_id, "image_auroc", 0.5)
        selection = own.read(runs=[own.ids[0], run.info.run_id])
        assert selection.runs[1].metrics == {"image_auroc": 0.5}


class TestContents:
    def test_is_what_was_recorded(self, recorded: Recorded) -> None:
        run = recorded.read(runs=recorded.ids[:2]).runs[0]
        made = make_run(0, recorded.images, strategy="draem")
        assert run.parameters == made.parameters
        assert run.tags == made.tags
        assert run.metrics == pytest.approx(made.metrics)
        assert run.intervals == made.intervals
        assert run.missing == ()
        assert made.scores is not None
        assert made.pixel_counts is not None
        pd.testing.assert_frame_equal(run.scores, made.scores)
        pd.testing.assert_frame_equal(run.thumbnails, made.thumbnails)
        for name, values in vars(made.pixel_counts).items():
            assert (getattr(run.pixel_counts, name) == values).all()
        assert {k: len(v) for k, v in run.curves.items()} == {
            k: len(v) for k, v in made.curves.items()
        }

    def test_of_an_older_run(self, own: Recorded) -> None:
        """Recorded before scores were calibrated, with little else."""
        images = own.images
        made = make_run(5, images)
        scores = made.scores.drop(columns="score").rename(columns={"raw_score": "score"})
        own.add(5, scores=scores, pixel_counts=None, thumbnails=None, curves={})
        run = own.read().runs[0]
        assert run.missing == ("calibrated scores", "counts of pixels", "curves", "thumbnails")
        assert run.scores is not None
        assert run.scores["score"].isna().all()
        assert run.scores["raw_score"].tolist() == pytest.approx(scores["score"].tolist())
        own.project.run("comparison", comparison={"replicates": 100})
        table = pd.read_csv(own.project.path("08_reporting/comparison.csv"))
        table = table[table["run_id"] == run.run_id].set_index("metric")
        assert pd.notna(table.loc["image_auroc", "delta"])
        assert "recorded without" in table.loc["pixel_auroc", "reason"]


class TestMistakes:
    def test_no_such_run(self, recorded: Recorded) -> None:
        with pytest.raises(ParameterError, match=r"no run 'nope'.* newest are .*cutpaste"):
            recorded.read(runs=["nope"])
        with pytest.raises(ParameterError, match=r"no run '0{32}'"):
            recorded.read(runs=["0" * 32])

    def test_ambiguous(self, own: Recorded) -> None:
        own.add(7)
        with pytest.raises(ParameterError, match=r"'draem-seed0-elpv-mono' may be any of 2 runs"):
            own.read(runs=["draem-seed0-elpv-mono"])

    def test_not_evaluated(self, own: Recorded) -> None:
        run_id = own.add(7, metrics={"decoder/seg": 0.1})
        with pytest.raises(DataError, match=f"{run_id[:8]} .* has no results on a test split"):
            own.read(runs=[run_id, own.ids[0]])

    def test_bad_filter(self, recorded: Recorded) -> None:
        with pytest.raises(
            ParameterError, match=r"does not understand 'strategy is draem'.*e\.g\."
        ):
            recorded.read(filter="strategy is draem")

    def test_nothing_found(self, recorded: Recorded) -> None:
        with pytest.raises(DataError, match=r"no finished, evaluated run .*takes \(tags\.strategy"):
            recorded.read(filter="tags.strategy = 'none'")

    def test_one_run_only(self, recorded: Recorded) -> None:
        with pytest.raises(DataError, match="needs two evaluated runs"):
            recorded.read(filter="tags.strategy = 'nsa'")

    def test_no_runs_yet(self, empty_store: Path) -> None:
        config = {"uri": f"sqlite:///{empty_store}", "experiment": "none yet"}
        with pytest.raises(DataError, match=r"'none yet' of sqlite.* has no runs yet.*kedro run"):
            read_runs(config, ComparisonParams())

    @pytest.mark.parametrize("name", ["metrics.json", "pixel_counts.npz", "thumbnails.parquet"])
    def test_broken_artifacts(self, own: Recorded, name: str) -> None:
        uri = own.client.get_run(own.ids[0]).info.artifact_uri
        (Path(uri.removeprefix("file://")) / "evaluation" / name).write_bytes(b"{")
        with pytest.raises(DataError, match=r"cannot be read from .*Leave the run out"):
            own.read()

    def test_store_that_mlflow_refuses(self) -> None:
        with pytest.raises(ParameterError, match="ftp://tracking"):
            read_runs({"uri": "ftp://tracking", "experiment": "daf"}, ComparisonParams())
