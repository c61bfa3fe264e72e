"""An evaluation under the names that MLflow gets."""

import numpy as np
import pandas as pd
import pytest
from mlflow.utils.validation import _validate_metric_name

from daf_pipelines.metrics import METRICS
from daf_pipelines.tracking.results import by_defect_type, by_section, describe_results
from small_project import SmallProject


def test_metrics_of_a_real_run(mvtec_project: SmallProject) -> None:
    (run,) = mvtec_project.runs()
    found, metrics = run.data.metrics, mvtec_project.metrics()
    assert {name: found[name] for name in METRICS} == pytest.approx(
        {name: metrics[name] for name in METRICS}
    )
    assert found["decision/recall"] == metrics["recall"]
    assert found["cost/latency_ms"] == pytest.approx(metrics["latency_ms"])
    assert found["test/n_test_anomalous"] == 5
    table = pd.read_csv(mvtec_project.path("08_reporting/defect_types.csv"))
    expected = pytest.approx(table.loc[0, "aupro_030"])
    assert found["defect_type/defective/aupro_030"] == expected


def test_description_of_a_real_run(mvtec_project: SmallProject) -> None:
    (run,) = mvtec_project.runs()
    text = run.data.tags["mlflow.note.content"]
    metrics = mvtec_project.metrics()
    low, high = metrics["intervals"]["image_auroc"]
    line = f"| image_auroc | {metrics['image_auroc']:.4f} | {low:.4f} to {high:.4f} |"
    assert line in text
    assert not [name for name in run.data.metrics if name.startswith("macro/")]  # of one type
    assert "3 normal, 5 anomalous images" in text


def test_metrics_that_are_not_available_have_a_reason(elpv_project: SmallProject) -> None:
    metrics = elpv_project.metrics()
    assert "aupro_030" not in {k for k, v in by_section(metrics).items() if v is not None}
    assert "not available: not every anomalous test image has a mask" in describe_results(metrics)


def test_names_that_mlflow_would_refuse() -> None:
    table = pd.DataFrame(
        {
            "defect_type": ["a/b", "Kratzer (groß)", "划痕", "a(b"],
            "count": [1, 2, 3, 1],
            "image_auroc": [0.1, 0.2, 0.3, 0.2],
            "aupro_030": [np.nan, 0.5, np.nan, np.nan],
        }
    )
    for name in set(METRICS) - set(table.columns):
        table[name] = np.nan
    assert by_defect_type(table) == {
        "macro/image_auroc": pytest.approx(0.2),
        "macro/aupro_030": 0.5,
        "defect_type/划痕/image_auroc": 0.3,
        "defect_type/Kratzer _groß_/image_auroc": 0.2,
        "defect_type/Kratzer _groß_/aupro_030": 0.5,
        "defect_type/a_b/image_auroc": 0.1,
        "defect_type/a_b 2/image_auroc": 0.2,
    }
    for name in by_defect_type(table):
        _validate_metric_name(name)
