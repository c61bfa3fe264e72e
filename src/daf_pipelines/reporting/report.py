"""The report of an evaluation as a page: one HTML file that needs nothing else."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from daf_pipelines.metrics import IMAGE_METRICS, METRICS
from daf_pipelines.metrics.bootstrap import FEW_IMAGES, is_too_short, units_drawn
from daf_pipelines.metrics.decisions import ORACLE
from daf_pipelines.reporting.charts import intervals
from daf_pipelines.reporting.dataset_overview import percent
from daf_pipelines.reporting.embedding import page_template
from daf_pipelines.reporting.evaluation import SHORT, Evaluation, reason_of
from daf_pipelines.reporting.report_charts import curve_charts, localisation, score_histograms
from daf_pipelines.reporting.report_pictures import choose_images, embed_pairs, heat_colours
from daf_pipelines.reporting.table import NAMES
from daf_pipelines.reporting.words import (
    as_yaml,
    duration,
    finite,
    or_dash,
    score_text,
    share_text,
    words,
)

RULES = {
    "normals": "from held-out normal images, at a chosen rate of false alarms",
    "synthetic": "best F1 on synthetic outliers",
    "fixed": "given",
    ORACLE: "best F1 with the test's own labels: for information, nobody has it in production",
}
RATES = {
    "false_positive_rate": "false positives",
    "recall": "recall",
    "precision": "precision",
    "marked_normals": "normal images marked",
}
REPEATS = {
    "within_test": "test images with the pixels of another",
    "of_train": "test images that look like copies of training or held-out images",
    "groups_in_train": "groups on both sides of the split",
}
MAX_TYPES_LISTED = 100


def report_page(evaluation: Evaluation) -> str:
    """Writes what a person should see of an evaluation, as a web page.

    Args:
        evaluation: What was found. Numbers that are None or NaN show their reason, out of
            ``not_available`` of the metrics.

    Returns:
        HTML that encodes as UTF-8 whatever the names hold, below 5 MB.
    """
    metrics, scores = evaluation.metrics, evaluation.image_scores
    choices = choose_images(scores)
    pairs = embed_pairs(
        choices,
        scores,
        evaluation.images,
        evaluation.maps,
        evaluation.masks,
        evaluation.heat_of,
    )
    return page_template("report.html").render(
        title=evaluation.title,
        experiment=metrics.get("experiment"),
        verdict=_verdict(scores),
        synthetic=_synthetic(metrics),
        headline=_headline(metrics, scores),
        metrics=_metrics(metrics, scores),
        curves=curve_charts(evaluation),
        histograms=score_histograms(evaluation),
        thresholds=_thresholds(evaluation.thresholds),
        types=_types(evaluation),
        sheets=list(zip(choices, pairs, strict=True)),
        ratio=_ratio(pairs),
        heat={"colours": heat_colours(), "range": [f"{end:.2f}" for end in evaluation.heat_range]},
        localisation=localisation(evaluation),
        split=_split(metrics.get("split") or {}, int(metrics.get("n_excluded") or 0)),
        facts={
            heading: {name.replace("_", " "): words(value) for name, value in group.items()}
            for heading, group in (dict(evaluation.facts) | _costs(metrics)).items()
            if group
        },
        parameters=as_yaml(evaluation.parameters),
        commands=list(evaluation.commands),
    )


def _verdict(scores: pd.DataFrame) -> str:
    """The labels in use in one sentence."""
    counts = _counts(scores)
    if not len(scores):
        return "There are no test images: nothing could be measured."
    defects = f"{counts['anomalous']:,} with a defect, {counts['missed']:,} of them missed"
    normals = f"{counts['normal']:,} normal, {counts['alarms']:,} of them flagged wrongly"
    parts = [
        defects if counts["anomalous"] else "none with a defect",
        normals if counts["normal"] else "none normal",
    ]
    return f"{len(scores):,} test images: {'; '.join(parts)}."


def _synthetic(metrics: Mapping[str, Any]) -> str:
    """What is known without a real defect, in one sentence; "" where nothing is."""
    found, auroc = (finite(metrics.get(f"synthetic_{name}")) for name in ("recall", "image_auroc"))
    if found is None or auroc is None:
        return ""
    return (
        f"Of the synthetic outliers of held-out normal images {share_text(found)} are flagged, "
        f"with an image AUROC of {score_text(auroc)}: that says little of real defects."
    )


def _counts(scores: pd.DataFrame) -> dict[str, int]:
    anomalous, flagged = scores["label"] == 1, scores["predicted"] == 1
    return {
        "anomalous": int(anomalous.sum()),
        "normal": int((~anomalous).sum()),
        "missed": int((anomalous & ~flagged).sum()),
        "alarms": int((~anomalous & flagged).sum()),
    }


def _headline(metrics: Mapping[str, Any], scores: pd.DataFrame) -> list[dict[str, str]]:
    """The numbers that come first: name, value ("" where there is none) and what is said of it."""
    counts = _counts(scores)
    absent = {
        "recall": "" if counts["anomalous"] else "there is no test image with a defect",
        "false_positive_rate": "" if counts["normal"] else "there is no normal test image",
    }
    found = f"{counts['anomalous'] - counts['missed']:,} of {counts['anomalous']:,} with a defect"
    cards = [
        ("image AUROC", "image_auroc", score_text, _ends_text(metrics, "image_auroc")),
        ("AUPRO, ≤ 30 %", "aupro_030", score_text, _ends_text(metrics, "aupro_030")),
        ("defects found", "recall", share_text, found),
        ("false alarms", "false_positive_rate", share_text,
         f"{counts['alarms']:,} of {counts['normal']:,} normal"),
        ("latency", "latency_ms", "{:.3g} ms".format, "for one image alone"),
        ("model size", "model_mib", "{:.3g} MiB".format, ""),
    ]  # fmt: skip
    shown = []
    for name, key, form, note in cards:
        value = finite(metrics.get(key))
        if value is None:
            shown.append(
                {"name": name, "value": "", "note": reason_of(metrics, key, absent.get(key))}
            )
        else:
            shown.append({"name": name, "value": form(value), "note": note})
    return shown


def _metrics(metrics: Mapping[str, Any], scores: pd.DataFrame) -> dict[str, Any]:
    """The table of metrics: rows, and all intervals on one scale."""
    ends = metrics.get("intervals") or {}
    values = {key: finite(metrics.get(key)) for key in METRICS}
    drawn = units_drawn(scores["label"], scores["group"].tolist())
    rows = [
        {
            "key": key,
            "name": NAMES[key],
            "value": "" if (value := values[key]) is None else score_text(value),
            "interval": _ends_text(metrics, key),
            "short": value is not None and _is_short(drawn, key, value),
            "reason": reason_of(metrics, key),
        }
        for key in METRICS
    ]
    scale = intervals({k: (v, *(ends.get(k) or (None, None))) for k, v in values.items()})
    return {
        "rows": rows,
        "scale": scale,
        "any": any(v is not None for v in values.values()),
        "few": FEW_IMAGES,
        "grouped": scores["group"].notna().any(),
        "any_short": any(row["short"] for row in rows),
    }


def _is_short(drawn: tuple[int, int], name: str, value: float) -> bool:
    """Whether to distrust an interval; pixels make many values between those of images."""
    return is_too_short(value if name in IMAGE_METRICS else 0.0, *drawn)


def _thresholds(thresholds: pd.DataFrame) -> dict[str, Any]:
    """The tables of thresholds by level."""
    levels: dict[str, Any] = {}
    for level, rows in thresholds.groupby("level", sort=False):
        rates = {n: name for n, name in RATES.items() if n in rows and _applies(n, rows[n])}
        levels[str(level)] = {
            "rates": list(rates.values()),
            "oracle": bool(rows["rule"].eq(ORACLE).any()),
            "rows": [
                {
                    "rule": row["rule"],
                    "note": RULES.get(row["rule"], ""),
                    "promise": _promise(row),
                    "in_use": bool(row["in_use"]),
                    "oracle": row["rule"] == ORACLE,
                    "threshold": or_dash(row["threshold"], "{:.4g}".format),
                    "score": or_dash(row["score"], "{:.3f}".format),
                    "rates": [or_dash(row[n], share_text) for n in rates],
                    "f1": or_dash(row["f1"], score_text),
                }
                for row in rows.to_dict(orient="records")
            ],
        }
    return levels


def _promise(row: Mapping[Hashable, Any]) -> str:
    promised = finite(row.get("promised"))
    if promised is None:
        return ""
    what = "of good images flagged" if row["level"] == "image" else "of good images marked anywhere"
    return f"promises at most {share_text(promised)} {what}"


def _applies(name: str, values: "pd.Series[float]") -> bool:
    """Whether a column is shown: that of marked images only where there are numbers."""
    return name != "marked_normals" or bool(values.notna().any())


def _types(evaluation: Evaluation) -> dict[str, Any]:
    """The table of defect types, hardest first, with those metrics that any of them has."""
    table = evaluation.defect_types
    macro = evaluation.metrics.get("macro") or {}
    names = [n for n in SHORT if n in table.columns and table[n].notna().any()]
    if names:
        table = table.sort_values(names[0], kind="stable")
    scores = evaluation.image_scores
    anomalous = scores[scores["label"] == 1]
    # Not grouped by pandas, whose indices cannot hold names that are not UTF-8.
    found = Counter(anomalous.loc[anomalous["predicted"] == 1, "defect_type"].tolist())
    rows = [
        {
            "name": str(row["defect_type"]),
            "count": int(row["count"]),
            "found": found[row["defect_type"]],
            "values": [or_dash(row[n], score_text) for n in names],
        }
        for row in table.head(MAX_TYPES_LISTED).to_dict(orient="records")
    ]
    return {
        "metrics": [SHORT[n] for n in names],
        "rows": rows,
        "left_out": len(table) - len(rows),
        "several": len(table) > 1,
        "macro": [or_dash(macro.get(n), score_text) for n in names],
        "all": [or_dash(evaluation.metrics.get(n), score_text) for n in names],
        "count": len(anomalous),
        "found": found.total(),
    }


def _split(split: Mapping[str, Any], excluded: int) -> dict[str, Any]:
    """What the test split is: sentences, sizes and repeats."""
    sizes, repeats = dict(split.get("sizes") or {}), dict(split.get("repeats") or {})
    if excluded:
        sizes["excluded, not used"] = excluded
    return {
        "origin": _origin(split),
        "sizes": {name.replace("_", " "): f"{number:,}" for name, number in sizes.items()},
        "repeats": {
            words_of: f"{repeats[name]:,}" for name, words_of in REPEATS.items() if name in repeats
        },
        "data_hash": str(split.get("data_hash") or ""),
    }


def _origin(split: Mapping[str, Any]) -> str:
    """Where the test split comes from, in a sentence."""
    origin = split.get("origin")
    if not origin:
        return ""
    if "drawn" not in origin:
        return f"The split is {origin}."
    share = finite(split.get("test_share"))
    parts = [
        f"The test images are {origin} at random",
        "" if share is None else f", {percent(share)} of the normal ones",
        "" if split.get("seed") is None else f", with seed {split['seed']}",
        "; images of one group stay together." if split.get("by_group") else ".",
    ]
    return "".join(parts)


def _costs(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    forms = {
        "train_seconds": ("training", duration),
        "peak_rss_mib": ("peak memory", "{:,.0f} MiB".format),
        "latency_ms": ("latency, one image", "{:.3g} ms".format),
        "model_mib": ("model size", "{:.3g} MiB".format),
    }
    values = {key: finite(metrics.get(key)) for key in forms}
    return {"cost": {forms[k][0]: forms[k][1](v) for k, v in values.items() if v is not None}}


def _ratio(pairs: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    """Width by height of the frames of all pictures, that of the median picture within reason."""
    ratios = [item["ratio"] for group in pairs for item in group]
    return round(float(np.clip(np.median(ratios), 0.5, 3)), 3) if ratios else 1.0


def _ends_text(metrics: Mapping[str, Any], name: str) -> str:
    """The ends of an interval, "" where there is none."""
    ends = [finite(end) for end in (metrics.get("intervals") or {}).get(name) or ()]
    low, high = ends if len(ends) == 2 else (None, None)
    return "" if low is None or high is None else f"{score_text(low)} to {score_text(high)}"
