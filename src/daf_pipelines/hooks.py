"""Kedro hooks: parameters are checked before the first node, results are shown after the last."""

from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from daf_pipelines.methods import kind_of
from daf_pipelines.run_parameters import RunParameters
from daf_pipelines.tracking.hooks import dataset_path


class ParameterHooks:
    """Refuse what cannot work before any time is spent on it."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse unknown parameters and wrong values, in every section."""
        self._params = RunParameters.of(context.config_loader["parameters"])

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Refuse unknown names, unusable weights and devices before the first node."""
        made = pipeline.all_outputs()
        trains = made & {"student", "baseline_history"}
        if trains:
            from daf_pipelines.training.experiment import check_run

            check_run(self._params, is_daf="student" in trains)
        elif made & {"synthetic_validation", "strategy_gallery"}:
            from daf_pipelines.training.experiment import check_strategies

            check_strategies(self._params.synthesis)
        if "transfer" in made:
            from daf_pipelines.scoring.transfer import other_strategies
            from daf_pipelines.training.experiment import check_strategies

            tried = self._params.transfer
            found = other_strategies(self._params.synthesis, tried.strategies, tried.repeats)
            for synthesis in found.values():
                check_strategies(synthesis)
        if {"detector", "predictions"} <= made:  # hours before they are looked for
            from daf_pipelines.scoring.inference import list_images

            list_images(self._params.inference)

    @hook_impl
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Refuse to evaluate a model of other parameters as one of those asked for.

        The nodes of the evaluation do not take the parameters of training.
        """
        if "trained_model" not in inputs:
            return
        from daf_pipelines.models.trained import check_identity
        from daf_pipelines.sources.image_set import check_dataset
        from daf_pipelines.synthesis.validation import set_identity

        params, images = self._params, inputs["calibration_images"]
        check_dataset(images, params.dataset, params.seed)
        found = inputs["trained_model"].identity
        run = "Run kedro run" + (" --pipelines baseline" if "baseline" in found else "")
        check_identity(found, self._identity(found, images), "The trained model", run)
        wanted = images.dataset | set_identity(params.synthesis)
        check_identity(
            inputs["synthetic_validation"].dataset,
            wanted,
            "The synthetic validation set",
            "Run kedro run --pipelines outlier_synthesis",
        )

    def _identity(self, found: dict[str, Any], images: Any) -> dict[str, Any]:
        """What the parameters ask for, of the kind of model that was found."""
        from daf_pipelines.training.experiment import (
            baseline_identity,
            decoder_identity,
            student_identity,
        )

        params = self._params
        if "baseline" in found:
            return baseline_identity(
                images, params.synthesis, params.model.teacher, params.baseline
            )
        student = student_identity(
            images, params.synthesis, params.model, params.teacher_student_training
        )
        return decoder_identity(student, params.decoder_training)


class ReportHooks:
    """Show what a run has led to."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the project's configuration."""
        self._context = context

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the results of an evaluation or of an inference, and where pages are."""
        if "dataset_page" in pipeline.all_outputs():
            page, checks = (dataset_path(catalog[n]) for n in ("dataset_page", "data_checks"))
            click.echo(f"Dataset card: {page}; all findings of the checks: {checks}")
        if "strategy_gallery" in pipeline.all_outputs():
            page = dataset_path(catalog["strategy_gallery_page"])
            click.echo(f"All strategies on your images: {page}")
        if "comparison_page" in pipeline.all_outputs():
            click.echo(_comparison(catalog))
        if "study_page" in pipeline.all_outputs():
            page, summary = (dataset_path(catalog[n]) for n in ("study_page", "study_summary"))
            click.echo(f"{len(catalog['study_table'].load())} cells: {page}; in words: {summary}")
        if "metrics" in pipeline.all_outputs():
            self._show_results(catalog)
        if "predictions" in pipeline.all_outputs():
            click.echo(_predictions(catalog))

    def _show_results(self, catalog: DataCatalog) -> None:
        from daf_pipelines.reporting.table import results_table
        from daf_pipelines.tracking.run import tracking_uri

        uri = tracking_uri(self._context.config_loader["tracking"]["tracking"])
        metrics = catalog["metrics"].load()
        report = dataset_path(catalog["evaluation_report"])
        command = uri if uri.startswith("http") else f"mlflow ui --backend-store-uri {uri}"
        folder = self._context.config_loader.runtime_params.get("data_dir")
        params = (f"data_dir={folder}," if folder else "") + "inference.images=path/to/images"
        use = f"kedro run --pipelines inference --params {params}"
        results_table(metrics, report, command, use)


def _comparison(catalog: DataCatalog) -> str:
    page, table = dataset_path(catalog["comparison_page"]), catalog["comparison"]
    rows = table.load()
    told = f"{rows['run_id'].nunique()} runs compared: {page}; table: {dataset_path(table)}"
    if rows["value"].notna().any():
        return told
    return (
        f"{told}\nNo run has a metric: that takes test images with and without a defect. To choose "
        "a strategy without them: docs/studies.md, 'On your own images'."
    )


def _predictions(catalog: DataCatalog) -> str:
    table, detector = catalog["predictions"].load(), catalog["detector"].load()
    anomalous, unreadable = int((table["label"] == 1).sum()), int(table["error"].notna().sum())
    return (
        f"{len(table)} images: {anomalous} anomalous, {unreadable} unreadable. "
        f"Table: {dataset_path(catalog['predictions'])}; heatmaps beside it. "
        f"Detector: {_trained_on(detector.metadata['identity'])}."
    )


def _trained_on(identity: dict[str, Any]) -> str:
    dataset, kind = identity["dataset"], ", ".join(kind_of(identity))
    name = f"{dataset['source']} {dataset['category']}"
    return f"trained on {name} in {dataset['root']}, {kind}, seed {dataset['seed']}"
