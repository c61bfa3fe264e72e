"""The registered model: self-contained, loadable where this project is not installed."""

import importlib.metadata
import io
import logging
import re
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from numpy.typing import NDArray
from PIL import Image

import daf_pipelines
from daf_pipelines.methods import DAF_METHOD
from daf_pipelines.tracking.run import ExperimentRun

LOG = logging.getLogger(__name__)
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "kornia",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "pillow",
    "pydantic",
)
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema(
        [
            ColSpec(DataType.double, "score"),
            ColSpec(DataType.long, "label"),
            ColSpec(DataType.double, "anomalous_area"),
            ColSpec(DataType.double, "raw_score"),
        ]
    ),
    params=ParamSchema([ParamSpec("anomaly_map", DataType.boolean, False)]),
)


def model_name(method: str, summary: dict[str, Any]) -> str:
    """Name of a method's registered model of a dataset's category, with what MLflow takes in it."""
    return re.sub("[/:]", "_", f"{method}-{summary['source']}-{summary['category']}")


def register(
    run: ExperimentRun,
    detector: Path,
    method: str,
    name: str,
    alias: str,
    example: NDArray[Any],
) -> str:
    """Log a saved detector to its run and register it as the newest version of ``name``.

    Args:
        run: the experiment's run.
        detector: folder of the saved detector.
        method: of the detector.
        name: of the registered model.
        alias: moved to the new version.
        example: an image ``(H, W, 3)`` uint8, kept as the input example.

    Returns:
        The new version.
    """
    uri = run.client.tracking_uri
    mlflow.set_tracking_uri(uri)
    buffer = io.BytesIO()
    Image.fromarray(example).save(buffer, "PNG")
    with mlflow.start_run(run_id=run.record.run_id):
        info = mlflow.pyfunc.log_model(
            name="detector",
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"detector": str(detector)},
            code_paths=[str(Path(daf_pipelines.__file__).parent)],
            signature=SIGNATURE,
            input_example=pd.DataFrame({"image": [buffer.getvalue()]}),
            pip_requirements=_requirements(method),
            registered_model_name=name,
        )
    version = str(info.registered_model_version)
    run.client.set_registered_model_alias(name, alias, version)
    LOG.info("Registered %s version %s (alias %s)", name, version, alias)
    return version


def _requirements(method: str) -> list[str]:
    packages = PACKAGES if method == DAF_METHOD else (*PACKAGES, "anomalib")
    # A local build tag such as +cpu exists on no registry.
    versions = {p: importlib.metadata.version(p).split("+")[0] for p in packages}
    return [f"mlflow=={mlflow.__version__}", *(f"{p}=={v}" for p, v in versions.items())]
