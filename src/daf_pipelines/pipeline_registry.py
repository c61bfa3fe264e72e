"""The registered pipelines; ``__default__`` is the whole experiment."""

import importlib
import pkgutil

from kedro.pipeline import Pipeline

from daf_pipelines.errors import DAFError

PACKAGE = "daf_pipelines.pipelines"
EXPERIMENT = (
    "data_ingestion",
    "outlier_synthesis",
    "teacher_student_training",
    "decoder_training",
    "evaluation",
)
BASELINE = ("data_ingestion", "outlier_synthesis", "baseline_training", "evaluation")


def register_pipelines() -> dict[str, Pipeline]:
    """Every folder of ``pipelines/``, and the experiments from images to report.

    Raises:
        DAFError: the folder is not importable, as in a checkout without symbolic links.
    """
    try:
        # Kedro's find_pipelines would find none, without an error.
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        raise DAFError(
            "The pipelines were not found: src/daf_pipelines/pipelines must be a link to the "
            "folder pipelines/. Check out with symbolic links (git config core.symlinks true; "
            "git checkout -- src/daf_pipelines/pipelines)."
        ) from error
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg]
    return {name: _create(name) for name in names} | {
        "__default__": experiment(),
        "baseline": baseline_experiment(),
    }


def experiment() -> Pipeline:
    """From images to report."""
    return sum(map(_create, EXPERIMENT), Pipeline([]))


def baseline_experiment() -> Pipeline:
    """The same with another method than DAF."""
    return sum(map(_create, BASELINE), Pipeline([]))


def _create(name: str) -> Pipeline:
    pipeline: Pipeline = importlib.import_module(f"{PACKAGE}.{name}").create_pipeline()
    return pipeline
