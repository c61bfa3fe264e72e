from pathlib import Path

import pytest
from rich.console import Console

from daf_pipelines.reporting.table import results_table

METRICS = {
    "image_auroc": 0.91234,
    "pixel_auroc": None,
    "n_test_normal": 147,
    "train_seconds": 183.4,
    "some_new_metric": 0.5,
    "image_threshold": 5.125,
    "intervals": {"image_auroc": [0.88, 0.95]},
    "not_available": {"pixel_auroc": "not every anomalous test image has a mask"},
}


@pytest.fixture
def lines(capsys):
    """What is printed, and the same rendered again on 200 columns."""
    shown = results_table(
        METRICS, Path("data/[08]/report.html"), "mlflow ui --port 5001", "kedro run X"
    )
    console = Console(width=200)
    with console.capture() as capture:
        console.print(shown)
    return capsys.readouterr().out, capture.get()


def row(text, name):
    (line,) = [line for line in text.splitlines() if name in line]
    return line


class TestResultsTable:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("image AUROC", "0.9123"),
            ("normal test images", "147 "),
            ("training time, s", "183 "),
            ("threshold on the raw image score", "5.1250"),
            ("image AUROC", "0.8800 to 0.9500"),
            ("some new metric", "0.5000"),
        ],
    )
    def test_rows(self, lines, name, value):
        assert value in row(lines[1], name)

    @pytest.mark.parametrize("name", ["not_available", "not available ", "intervals"])
    def test_what_is_nested_is_no_row_of_its_own(self, lines, name):
        assert name not in lines[1]

    def test_paths_and_commands_are_whole_and_verbatim(self, lines):
        assert row(lines[1], "report").split()[-1] == "data/[08]/report.html"
        assert row(lines[1], "mlflow").endswith("mlflow ui --port 5001")
        assert row(lines[1], "use").endswith("kedro run X")

    def test_reasons_once_for_all_that_share_one(self, capsys):
        missing = {"pixel_auroc": None, "aupro_030": None, "recall": None}
        reasons = {"pixel_auroc": "no masks", "aupro_030": "no masks", "recall": "no defects"}
        results_table(METRICS | missing | {"not_available": reasons}, Path("p"), "c", "u")
        text = " ".join(capsys.readouterr().out.split())
        assert "not available: pixel AUROC; AUPRO, false positives ≤ 30 %: no masks" in text
        assert "not available: defects found at the threshold: no defects" in text

    def test_it_is_printed(self, lines):
        assert "0.9123" in row(lines[0], "image AUROC")

    def test_a_long_command_is_not_wrapped(self, capsys):
        command = "mlflow ui --backend-store-uri sqlite:///" + "a" * 200 + ".db"
        results_table(METRICS, Path("p"), command, "u")
        assert command in capsys.readouterr().out
