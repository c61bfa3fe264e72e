"""Thumbnails of evaluated runs, as far as MLflow has them."""

import logging
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from daf_pipelines.errors import ParameterError
from daf_pipelines.tracking.evaluated import FOLDER, THUMBNAILS
from daf_pipelines.tracking.run import check_store, tracking_uri

LOG = logging.getLogger(__name__)


def read_thumbnails(config: dict[str, Any], run_ids: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The thumbnails of runs, by id; what cannot be read is left out, and told in a warning.

    Args:
        config: section ``tracking`` of the configuration.
        run_ids: of runs that were evaluated.
    """
    try:
        check_store(config)
    except ParameterError as error:
        LOG.warning("No pictures: %s", error)
        return {}
    client, found, missing = MlflowClient(tracking_uri(config)), {}, []
    for run_id in run_ids:
        try:
            found[run_id] = _read(client, run_id)
        except (MlflowException, OSError, ValueError) as error:
            LOG.debug("No thumbnails of %s: %s", run_id, error)
            missing.append(run_id)
    if missing:
        LOG.warning(
            "The store %s has no thumbnails of %d of %d runs, such as %s: they are not pictured.",
            tracking_uri(config),
            len(missing),
            len(missing) + len(found),
            missing[0],
        )
    return found


def _read(client: MlflowClient, run_id: str) -> pd.DataFrame:
    with TemporaryDirectory() as folder:
        file = client.download_artifacts(run_id, f"{FOLDER}/{THUMBNAILS}", folder)
        return pd.read_parquet(Path(file))
