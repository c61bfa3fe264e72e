"""Kedro settings of the project."""

import os

from daf_pipelines.hooks import ParameterHooks, ReportHooks
from daf_pipelines.tracking.hooks import TrackingHooks

# Waiting threads spin for a moment, then sleep; OpenMP reads this when torch is imported. By
# default they spin so long that training hardly moves beside another program on the same cores;
# where they sleep at once, it is slower on idle ones (benchmarks/contention.py, docs/speed.md).
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
# MLflow reads these when it is imported. No run of this project reports its use.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# Seven retries take minutes, in which training would stand still; what fails is tried again later.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

# Hooks run in reverse order: parameters are checked before a run is opened, and the results are
# shown after it is closed.
HOOKS = (ReportHooks(), TrackingHooks(), ParameterHooks())

# Kedro-Viz would write a protocol of every run into the project.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-viz",)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"tracking": ["tracking*"]},
    # conf/paper and conf/local change single values, not whole sections.
    "merge_strategy": {"parameters": "soft", "tracking": "soft"},
}
