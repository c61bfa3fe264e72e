"""Published figures beside those of a study."""

from dataclasses import dataclass

from daf_pipelines.reporting.evaluation import SHORT
from daf_pipelines.reporting.study_tables import Table, data_of, named, of_data
from daf_pipelines.reporting.words import or_dash
from daf_pipelines.study.readout import Readout
from daf_pipelines.study.results import name_of

METRICS = ("image_auroc", "pixel_auroc", "aupro_030", "pixel_ap")
PUBLISHED_IS = (
    "Each published figure, then ours of the same method and strategy, the mean over seeds. They "
    "do not compare one to one: the published ones are means over whole datasets, of larger "
    "images, longer training and other splits. The paper's results for each strategy, and so how "
    "far they spread there, are not among them."
)


@dataclass(frozen=True)
class Published:
    """What others report of a method.

    Attributes:
        method: Ours that it is to be read beside; a name of none where we have none.
        strategy: Of the synthesis, "" without.
        data: What it was measured on.
        source: Of the same images, or of more of them.
        values: By metric.
        note: On where it comes from.
    """

    method: str
    strategy: str
    data: str
    source: str
    values: dict[str, float]
    note: str = ""


PUBLISHED = (
    Published(
        "daf",
        "simple_texture",
        "MVTec AD, mean of 15 categories",
        "mvtec_ad",
        {"image_auroc": 0.975, "pixel_auroc": 0.978, "aupro_030": 0.919, "pixel_ap": 0.622},
        "DAF, from a secondary source",
    ),
    Published(
        "draem",
        "simple_texture",
        "MVTec AD, mean of 15 categories",
        "mvtec_ad",
        {"pixel_auroc": 0.926, "pixel_ap": 0.565},
        "DRAEM, in the DAF paper",
    ),
    Published(
        "nsa",
        "simple_texture",
        "MVTec AD, mean of 15 categories",
        "mvtec_ad",
        {"pixel_auroc": 0.844, "pixel_ap": 0.429},
        "NSA, in the DAF paper; no method here",
    ),
    Published(
        "patchcore",
        "",
        "MVTec AD, mean of 15 categories",
        "mvtec_ad",
        {"image_auroc": 0.992},
        "PatchCore",
    ),
    Published(
        "patchcore",
        "",
        "magnetic tile, 20 % of normals held out, other exposures of them in training",
        "magnetic_tile",
        {"image_auroc": 0.979},
        "PatchCore",
    ),
    Published("patchcore", "", "ELPV, 3:1", "elpv", {"image_auroc": 0.916}, "PatchCore"),
)


def published(readout: Readout) -> Table:
    """Each published figure, then ours of the same method and strategy: the mean over seeds."""
    rows = []
    for known in PUBLISHED:
        rows.append(
            [f"published: {known.note}", known.strategy or "–", known.data]
            + [or_dash(known.values.get(name), "{:.3f}".format) for name in METRICS]
        )
        rows += _ours(readout, known)
    return Table(["source", "strategy", "data", *(SHORT[name] for name in METRICS)], rows)


def _ours(readout: Readout, known: Published) -> list[list[str]]:
    rows = []
    for data in data_of(readout):
        if readout.sources[data[0]] != known.source:
            continue
        part = of_data(readout.table, data)
        part = part[part["method"].eq(known.method) & part["strategy"].eq(known.strategy)]
        if len(part):
            means = part[list(METRICS)].mean()
            numbers = [or_dash(means[name], "{:.3f}".format) for name in METRICS]
            ours = f"here: {named(readout, known.method)}"
            rows.append([ours, known.strategy or "–", name_of(data), *numbers])
    return rows
