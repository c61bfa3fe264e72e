"""What docs list by name is all there is."""

from pathlib import Path

import pytest

from daf_pipelines.synthesis import STRATEGIES
from daf_pipelines.synthesis.blending import BLENDINGS
from daf_pipelines.synthesis.contents import CONTENTS
from daf_pipelines.synthesis.masks import MASKS

STRATEGIES_PAGE = (Path(__file__).parents[1] / "docs/strategies.md").read_text(encoding="utf-8")


def rows(text: str, column: str) -> list[str]:
    """The lines of the table whose header starts with `column`."""
    table = text.split(f"| {column} |")[1].split("\n\n", maxsplit=1)[0]
    return table.splitlines()[2:]


def test_presets() -> None:
    names = [row.split("`")[1] for row in rows(STRATEGIES_PAGE, "name")]
    assert names == list(STRATEGIES)


@pytest.mark.parametrize(
    ("kind", "known"), [("mask", MASKS), ("content", CONTENTS), ("blending", BLENDINGS)]
)
def test_operators(kind: str, known: dict[str, object]) -> None:
    (row,) = [row for row in rows(STRATEGIES_PAGE, "part") if row.startswith(f"| {kind} |")]
    assert sorted(row.split("`")[1::2]) == sorted(known)
