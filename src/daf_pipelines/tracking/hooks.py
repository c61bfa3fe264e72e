"""Kedro hooks that record every experiment as one MLflow run.

A run is opened where training starts: what was made before is copied into it. Its id is kept beside
the networks, so that the stages of ``dvc repro``, one process each, go on in the same run. Neither
synthesis alone nor inference make a run, nor do images that are refused; ingestion alone records
the dataset in an experiment of its own, and a comparison of runs is in one of its own, too.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from daf_pipelines.errors import StaleArtifactError, WeightsError
from daf_pipelines.methods import DAF_METHOD, method_of
from daf_pipelines.run_parameters import RunParameters

LOG = logging.getLogger(__name__)
MODELS = ("student", "trained_model", "detector")
SHARED = {"train_images", "synthetic_validation", *MODELS, "metrics"}  # by all of a folder's runs
OF_DATASETS = {"manifest", "strategy_gallery"}  # what is recorded of a dataset alone
TRACKING_STORE = "tracking_store"
PICTURE = "validation_outliers"
HISTORIES = {
    "student_history": "teacher_student",
    "decoder_history": "decoder",
    "baseline_history": "baseline",
}


class TrackingHooks:
    """One MLflow run an experiment."""

    _run: Any = None  # an ExperimentRun while one is open; MLflow is imported only then
    _outbox: Any = None  # through which all is recorded while it is open

    def __init__(self) -> None:
        self._held = ExitStack()  # what a run holds: the lock of its folder, the curves' observer

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's configuration."""
        self._context = context

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Find a store that cannot be reached, and a folder that another run works in.

        A comparison is told where runs are recorded.
        """
        self.abandon()
        self._catalog = catalog
        if pipeline.all_outputs() & {*MODELS, *OF_DATASETS}:
            from daf_pipelines.tracking.run import check_store

            check_store(self._config)
        if TRACKING_STORE in pipeline.inputs():
            catalog[TRACKING_STORE] = MemoryDataset(self._config)
        if pipeline.all_outputs() & SHARED:
            self._reserve(Path(self._context.project_path) / self._parameters.data_dir)

    def _reserve(self, folder: Path) -> None:
        """Keep other runs off the folder: each would train on what the other has prepared."""
        from daf_pipelines.errors import ParameterError
        from daf_pipelines.locks import locked

        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(folder / "run.lock", f"The folder {folder}"))
        except OSError as error:
            raise ParameterError(
                f"data_dir: nothing can be written to {folder}: {error.strerror}. Make it "
                "writable, or name another folder: --params data_dir=FOLDER."
            ) from error

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Open the experiment's run where the first model is about to be made."""
        if self._run is None and set(node.outputs) & set(MODELS):
            name = "train_images" if "train_images" in inputs else "calibration_images"
            self._open(node, inputs[name].dataset, _method(inputs))
        if "student" in inputs:
            self._watch(inputs)

    def _open(self, node: Node, dataset: dict[str, Any], method: str) -> None:
        from daf_pipelines.parameters import fingerprint
        from daf_pipelines.tracking.outbox import Outbox
        from daf_pipelines.tracking.run import RECORD, ExperimentRun, tracking_uri
        from daf_pipelines.training.checkpoints import check_folder
        from daf_pipelines.training.observers import observed

        parameters = self._parameters.experiment(method)
        key = fingerprint(parameters, dataset["data_hash"])
        # Where the run is recorded until its experiment has been evaluated.
        self._unfinished = dataset_path(self._catalog["checkpoints"]) / f"run-{key}.json"
        check_folder(self._unfinished.parent)
        marker = self._unfinished.with_suffix(".missing")
        self._outbox = Outbox(marker, tracking_uri(self._config))
        # The model that the node starts from says best which run it belongs to.
        models = [name for name in (*node.inputs, *node.outputs) if name in MODELS]
        records = [dataset_path(self._catalog[name]) / RECORD for name in models]
        self._run = ExperimentRun.open(
            self._config,
            Path(self._context.project_path),
            parameters,
            key,
            name=f"{dataset['source']}-{dataset['category']}",
            candidates=[*records, self._unfinished],
            restart=not set(node.inputs) & set(MODELS),
            tags=self._parameters.tags,
        )
        self._run.record.write(self._unfinished.parent, self._unfinished.name)
        self._held.enter_context(observed(self._record_curves))
        if self._run.is_new or self._outbox.owes:
            self._log_earlier_outputs(node, method)

    def _watch(self, inputs: dict[str, Any]) -> None:
        """Have validation outliers drawn while the decoder is trained, which is in place.

        They are read here, not by the node: what is held out stays out of training's reach.
        """
        from daf_pipelines.training.observers import observed
        from daf_pipelines.training.pictures import OutlierPictures

        held_out = self._catalog["synthetic_validation"]
        if not held_out.exists():
            return
        try:
            outliers, record = held_out.load(), inputs["synthesis_record"]
        except Exception as error:  # the node does without it
            LOG.warning("No pictures while the decoder is trained (%s).", error)
            return
        if outliers.dataset == record["dataset"]:
            model, scoring = inputs["student"].model, self._parameters.scoring
            pictures = OutlierPictures(model, outliers, scoring, self._show_outliers)
            self._held.enter_context(observed(pictures))

    def _show_outliers(self, figure: Any) -> None:
        self._catalog[PICTURE].save(figure)
        self._record(PICTURE)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Record what a node made."""
        if self._run is None:
            return
        self._record(dataset_name)
        if dataset_name in MODELS:
            self._run.record.write(dataset_path(self._catalog[dataset_name]))

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Register the evaluated detector and close the run."""
        with self._held:
            made = pipeline.all_outputs()
            if "comparison" in made:
                self._log_comparison(made)
            if "study_page" in made:
                self._log_study(made)
            if self._run is None:
                if made & OF_DATASETS:
                    self._log_dataset(made)
                return
            # A study would fill the registry, and the disk, with models that nobody chose.
            if "metrics" in made and "study" not in self._parameters.tags:
                self._outbox.send("the registered model", self._register)
            recorded = self._close("FINISHED")
            if "metrics" in made and recorded:
                self._forget_checkpoints()

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the run: training it again goes on in it. A refused one never was."""
        with self._held:
            if self._run is None:
                return
            run = self._run
            self._close(_status(error))
            if run.is_new and isinstance(error, StaleArtifactError | WeightsError):
                self._outbox.send("that it was refused", run.discard)
                for suffix in (".json", ".missing"):
                    self._unfinished.with_suffix(suffix).unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close what an interrupt has left open, which Kedro does not tell its hooks of."""
        with self._held:
            if self._run is not None:
                self._close("KILLED")

    @property
    def _parameters(self) -> RunParameters:
        return RunParameters.of(self._context.config_loader["parameters"])

    @property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = self._context.config_loader["tracking"]["tracking"]
        return config

    def _log_dataset(self, made: set[str]) -> None:
        """Record what is about a dataset only: its card, and all strategies on its images."""
        from daf_pipelines.tracking.run import ExperimentRun

        summary = self._catalog["dataset_summary"].load()
        open_run = partial(ExperimentRun.of_dataset, self._config, summary)
        self._log_apart("the dataset", open_run, made)

    def _log_comparison(self, made: set[str]) -> None:
        from daf_pipelines.tracking.run import ExperimentRun

        table = self._catalog["comparison"].load()
        names = {name for name in made if self._folder(name) == "comparison"}
        open_run = partial(ExperimentRun.of_comparison, self._config, table)
        self._log_apart("the comparison", open_run, names)

    def _log_study(self, made: set[str]) -> None:
        from daf_pipelines.tracking.run import ExperimentRun

        study = self._parameters.study.folder.name
        names = {name for name in made if self._folder(name) == "study"}
        open_run = partial(ExperimentRun.of_study, self._config, study)
        self._log_apart("the study", open_run, names)

    def _log_apart(self, what: str, open_run: Callable[[], Any], names: set[str]) -> None:
        """Record outputs in a run that is no experiment's.

        Where MLflow refuses, that is only told: all the work is done, and its files are there.
        """
        from daf_pipelines.errors import ParameterError
        from daf_pipelines.tracking.outbox import FAILURES

        run = None
        try:
            run = open_run()
            for name in sorted(names):
                self._log(name, run)
            run.close("FINISHED")
        except (ParameterError, *FAILURES) as error:
            LOG.warning("MLflow has not recorded %s, which lies in its files: %s", what, error)
            if run is not None:
                with suppress(ParameterError, *FAILURES):
                    run.close("FAILED")

    def _log_earlier_outputs(self, node: Node, method: str) -> None:
        """Copy into the run what earlier nodes have left on disk."""
        from daf_pipelines.pipeline_registry import baseline_experiment, experiment

        whole = experiment() if method == DAF_METHOD else baseline_experiment()
        for name in sorted(whole.all_outputs() - whole.from_nodes(node.name).all_outputs()):
            if name in self._catalog and self._catalog[name].exists():
                self._record(name)

    def _record(self, name: str) -> None:
        self._outbox.send(name, partial(self._log, name, self._run))

    def _record_curves(self, phase: str, history: Any) -> None:
        curves = partial(self._run.log_history, phase.replace("-", "_"), history)
        self._outbox.send(f"the curves of {phase}", curves)

    def _log(self, name: str, run: Any) -> None:
        dataset, folder = self._catalog[name], self._folder(name)
        if folder:
            run.log_file(dataset_path(dataset), folder)
        if name in HISTORIES:
            run.log_history(HISTORIES[name], dataset.load())
        if name == "dataset_summary":
            run.log_dataset(self._catalog["manifest"].load(), dataset.load())
        if name == "synthesis_record":
            medians = {k: v["q50"] for k, v in dataset.load()["masks"].items()}
            run.log_metrics({f"synthesis/{k}_median": v for k, v in medians.items()})
        if name == "metrics":
            from daf_pipelines.tracking.results import by_section, describe_results

            run.log_metrics(by_section(dataset.load()))
            run.tag(**{"mlflow.note.content": describe_results(dataset.load())})
        if name == "defect_type_metrics":
            from daf_pipelines.tracking.results import by_defect_type

            run.log_metrics(by_defect_type(dataset.load()))

    def _folder(self, name: str) -> str | None:
        """Where the catalog puts an output among a run's artifacts."""
        metadata = getattr(self._catalog[name], "metadata", None) or {}
        return metadata.get("mlflow")

    def _register(self) -> None:
        from daf_pipelines.tracking.registry import model_name, register

        method = method_of(self._catalog["detector"].load().metadata["identity"])
        register(
            self._run,
            dataset_path(self._catalog["detector"]),
            method,
            model_name(method, self._catalog["dataset_summary"].load()),
            self._config["alias"],
            self._catalog["train_images"].load().images[0],
        )

    def _close(self, status: str) -> bool:
        """Whether all is recorded; otherwise the run is not finished, and gone on with later."""

        def close(whole: bool) -> None:
            self._run.close(status if whole or status != "FINISHED" else "FAILED")

        try:
            recorded: bool = self._outbox.close(close)
        finally:
            self._run = None
        return recorded

    def _forget_checkpoints(self) -> None:
        """The experiment is complete: the next one of these parameters starts anew."""
        from daf_pipelines.training.experiment import checkpoint_fingerprints

        self._unfinished.unlink(missing_ok=True)
        identity = self._catalog["detector"].load().metadata["identity"]
        for key in checkpoint_fingerprints(identity):
            for file in dataset_path(self._catalog["checkpoints"]).glob(f"*-{key}.*"):
                file.unlink()


def _method(inputs: dict[str, Any]) -> str:
    """Of the model that a node makes: the one asked for, or that of the model it starts from."""
    if "params:baseline" in inputs:
        return str(inputs["params:baseline"].method)
    return method_of(inputs["trained_model"].identity) if "trained_model" in inputs else DAF_METHOD


def _status(error: Exception) -> str:
    from daf_pipelines.training.interruption import TrainingInterruptedError

    return "KILLED" if isinstance(error, TrainingInterruptedError) else "FAILED"


def dataset_path(dataset: AbstractDataset[Any, Any]) -> Path:
    """Where a dataset of the catalog lies."""
    return Path(getattr(dataset, "path", None) or str(getattr(dataset, "_filepath")))  # noqa: B009
