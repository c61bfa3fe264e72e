from pathlib import Path

import pytest
from rich.console import Console

from daf_pipelines.reporting import results_table

METRICS = {
    "image_auroc": 0.91234,
    "pixel_auroc": None,
    "n_test_normal": 147,
    "train_seconds": 183.4,
    "some_new_metric": 0.5,
    "not_available": {"pixel_auroc": "not every anomalous test image has a mask"},
}


@pytest.fixture
def lines(capsys):
    """Cells of the printed table by row name, and the report as rendered again on 200 columns."""
    report = results_table(METRICS, 0.51234, Path("data/[08]_reporting"), "mlflow ui --port 5001")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(report)
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
            ("threshold on the image score", "0.5123"),
            ("some new metric", "0.5000"),
            ("pixel AUROC", "not available: not every anomalous test image has a mask"),
        ],
    )
    def test_rows(self, lines, name, value):
        assert value in row(lines[1], name)

    def test_reasons_are_no_row_of_their_own(self, lines):
        assert "not_available" not in lines[1]

    def test_paths_and_commands_are_whole_and_verbatim(self, lines):
        assert row(lines[1], "pictures").split()[-1] == "data/[08]_reporting"
        assert row(lines[1], "mlflow").endswith("mlflow ui --port 5001")

    def test_it_is_printed(self, lines):
        assert "0.9123" in row(lines[0], "image AUROC")

    def test_a_long_command_is_not_wrapped(self, capsys):
        command = "mlflow ui --backend-store-uri sqlite:///" + "a" * 200 + ".db"
        results_table(METRICS, 1.0, Path("p"), command)
        assert command in capsys.readouterr().out
