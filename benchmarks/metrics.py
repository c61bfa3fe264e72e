"""Metrics: time and exactness against the public ways, and memory at a thousand maps.

Speed, on 83 maps of 256 px: exact AUPRO 0.30 against the way of the public code (200 thresholds
evenly between the extremes, regions labelled at each of them, the false-positive rates below 0.3
stretched to end at 1), and beside adeval (1,000 bins), pyaupro (PRO on torchmetrics) and anomalib.
torchmetrics itself has no PRO: its exact pixel AUROC and AP are compared with the project's. All in
turn, in one process; figures are medians of seconds of processor time (with CUDA: of wall-clock
time), and speed-ups ratios of medians. What is not installed is left out, with the reason:

    pip install -c constraints.txt -e ".[bench]"    # torchmetrics
    pip install --no-deps adeval pyaupro            # adeval asks for opencv-python: a second cv2
    pip install -c constraints.txt anomalib         # 15 more packages

Exactness, on small maps with and without ties: all nine metrics against a plain reference below,
threshold by threshold and region by region, and what each of the others is off by.

Memory: the peak of a process that evaluates 1,000 maps of 512 px, with intervals and by defect
type, from memory-mapped files. Pages of the files that it has touched count in that peak.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py
    OMP_NUM_THREADS=1 python benchmarks/metrics.py --root path/to/mvtec/toothbrush    # its masks
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn.functional import interpolate

from daf_pipelines.metrics import METRICS, evaluate, rank_pixels
from daf_pipelines.metrics.pixel import EIGHT_NEIGHBOURS
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.resources import peak_rss_mib
from daf_pipelines.sources.ingestion import ingest

SIZE, COUNT = 256, 83
LARGE_SIZE, LARGE_COUNT, CHUNK = 512, 1000, 20
MAX_FPR = 0.3
DEFECTS = ("crack", "hole", "stain")
SPEEDUPS = {"pro_200": "speedup_pro", "pro_200_label_once": "speedup_pro_label_once"}

Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.uint8]
Way = Callable[[Maps, Masks], Any]


# --- Data -------------------------------------------------------------------------------------


def smooth_noise(rng: np.random.Generator, count: int, size: int) -> Maps:
    """Standard normal values, one in 16 pixels each way, interpolated."""
    coarse = rng.standard_normal((count, 1, size // 16 + 1, size // 16 + 1), dtype=np.float32)
    return interpolate(torch.from_numpy(coarse), (size, size), mode="bilinear")[:, 0].numpy()


def make_masks(rng: np.random.Generator, count: int, size: int) -> Masks:
    """Of anomalous images: one to six ellipses each, 0.01 to 0.2 of the width across."""
    masks = np.zeros((count, size, size), dtype=np.uint8)
    for k in range(count):
        for _ in range(rng.integers(1, 7)):
            y, x = rng.integers(0, size, 2)
            height, width = size * np.exp(rng.uniform(np.log(0.005), np.log(0.1), 2))
            rows, columns = np.ogrid[:size, :size]
            masks[k] |= ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
    return masks


def make_maps(rng: np.random.Generator, masks: Masks) -> Maps:
    """A detector's maps: smooth noise, and blurred defects of different strength."""
    count, size, _ = masks.shape
    maps = 0.2 * smooth_noise(rng, count, size)
    maps += 0.05 * rng.standard_normal(maps.shape, dtype=np.float32)
    blurred = masks.astype(np.float32)
    for _ in range(2):
        blurred = ndimage.uniform_filter(blurred, (0, size // 24, size // 24))
    return maps + blurred * rng.uniform(0.2, 2, (count, 1, 1)).astype(np.float32)


def make_set(rng: np.random.Generator, count: int, size: int) -> tuple[Maps, Masks]:
    """Maps and masks of images of which every fourth is normal."""
    masks = make_masks(rng, count, size)
    masks[::4] = 0
    return make_maps(rng, masks), masks


def load_masks(root: Path) -> Masks:
    """The masks of a dataset's test images."""
    with tempfile.TemporaryDirectory() as folder:
        masks = ingest(DatasetParams(root=root, image_size=SIZE), 0, Path(folder))["test"].masks
        if masks is None or not masks.any():
            raise SystemExit(f"--root: the test images of {root} have no masks")
        return np.array(masks)


def image_level(maps: Maps, masks: Masks) -> tuple[list[float], list[int], list[str]]:
    """Scores (the largest of each map), labels and defect types."""
    labels = [int(mask.any()) for mask in masks]
    types = [DEFECTS[k % len(DEFECTS)] if label else "good" for k, label in enumerate(labels)]
    return [float(scores.max()) for scores in maps], labels, types


# --- Ways to the PRO --------------------------------------------------------------------------


def exact(maps: Maps, masks: Masks) -> float:
    """The project's AUPRO."""
    return rank_pixels(maps, masks).aupro(MAX_FPR)


def exact_ranks(maps: Maps, masks: Masks) -> tuple[float, float]:
    """The project's pixel AUROC and AP."""
    ranked = rank_pixels(maps, masks)
    return ranked.auroc(), ranked.ap()


def two_hundred(maps: Maps, masks: Masks, *, label_once: bool = False) -> float:
    """The way of the public code, which labels all masks again at every threshold."""
    labelled = [label(mask) for mask in masks]
    fprs, pros = [], []
    for threshold in np.linspace(maps.min(), maps.max(), 200, endpoint=False):
        flagged = maps > threshold
        overlaps = []
        for k, mask in enumerate(masks):
            regions, count = labelled[k] if label_once else label(mask)
            overlaps += [flagged[k][regions == r].mean() for r in range(1, count + 1)]
        normal = 1 - masks
        fprs.append(np.logical_and(normal, flagged).sum() / normal.sum())
        pros.append(np.mean(overlaps))
    fpr, pro = np.array(fprs[::-1]), np.array(pros[::-1])
    fpr, pro = fpr[fpr < MAX_FPR], pro[fpr < MAX_FPR]
    return float(np.trapezoid(pro, fpr / fpr.max()))


def label(mask: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], int]:
    """The 8-connected regions of a mask, and their number."""
    return ndimage.label(mask, EIGHT_NEIGHBOURS)


def load_adeval() -> Way:
    vars(np).setdefault("trapz", np.trapezoid)  # adeval 1.1 calls it; it left NumPy in 2.4
    import adeval

    return lambda maps, masks: adeval.auroc_aupr_aupro(maps, masks)[2]


def load_pyaupro() -> Way:
    from pyaupro import PerRegionOverlap, auc_compute

    def aupro(maps: Maps, masks: Masks) -> float:
        metric = PerRegionOverlap(thresholds=None)
        metric.update(torch.from_numpy(maps), torch.from_numpy(masks.astype(np.int64)))
        fpr, pro = metric.compute()
        return float(auc_compute(fpr, pro, limit=MAX_FPR, reorder=True))

    return aupro


def load_anomalib() -> Way:
    from anomalib.metrics.aupro import _AUPRO  # AUPRO takes anomalib's own batches

    def aupro(maps: Maps, masks: Masks) -> float:
        metric = _AUPRO(fpr_limit=MAX_FPR)
        metric.update(torch.from_numpy(maps), torch.from_numpy(masks.astype(np.int64)))
        return float(metric.compute())

    return aupro


def load_torchmetrics() -> Way:
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    def auroc_and_ap(maps: Maps, masks: Masks) -> tuple[float, float]:
        # Beyond [0, 1] it would apply a sigmoid in float32, and so make ties.
        scaled = (maps - maps.min()) / (maps.max() - maps.min())
        scores = torch.from_numpy(scaled.ravel())
        labels = torch.from_numpy(masks.astype(np.int64).ravel())
        return tuple(
            float(metric(scores, labels, validate_args=False))
            for metric in (binary_auroc, binary_average_precision)
        )

    return auroc_and_ap


OTHERS = {
    "adeval": load_adeval,
    "pyaupro": load_pyaupro,
    "anomalib": load_anomalib,
    "torchmetrics": load_torchmetrics,
}


def load_others() -> tuple[dict[str, Way], dict[str, str]]:
    """Those that run, and why each of the others does not."""
    ways, reasons = {}, {}
    maps, masks = make_set(np.random.default_rng(0), 4, 32)
    for name, load in OTHERS.items():
        try:
            way = load()
            way(maps, masks)
            ways[name] = way
        except ImportError as error:
            reasons[name] = f"not installed ({error})"
        except Exception as error:  # another release's fault is no reason to stop
            reasons[name] = f"fails: {type(error).__name__}: {error}"
    return ways, reasons


# --- A plain reference ------------------------------------------------------------------------


def counts(scores: npt.NDArray[Any], positive: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """False and true positives at every distinct threshold, from none flagged to all."""
    points = [(0, 0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        flagged = scores >= threshold
        points.append((int((flagged & ~positive).sum()), int((flagged & positive).sum())))
    return points


def area(points: list[tuple[float, float]], limit: float = 1.0) -> float:
    """Trapezoids up to a limit, the last one cut there."""
    total = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        total += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return total


def rank_metrics(scores: npt.NDArray[Any], positive: npt.NDArray[Any]) -> list[float]:
    """AUROC, AP and the largest F1."""
    points = counts(scores, positive)
    n_negative, n_positive = points[-1]
    steps = itertools.pairwise(points)
    return [
        area([(fp / n_negative, tp / n_positive) for fp, tp in points]),
        sum((t1 - t0) / n_positive * t1 / (f1 + t1) for (_, t0), (f1, t1) in steps),
        max(2 * tp / (fp + tp + n_positive) for fp, tp in points),
    ]


def plain_aupro(maps: Maps, masks: Masks, limit: float) -> float:
    """The definition: every distinct threshold, region by region."""
    regions = [(k, part == r) for k, m in enumerate(masks) for part, n in [label(m)]
               for r in range(1, n + 1)]  # fmt: skip
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        flagged = maps >= threshold
        overlap = sum(float(flagged[k][region].mean()) for k, region in regions) / len(regions)
        points.append((float(flagged[masks == 0].mean()), overlap))
    return area(points, limit) / limit


def plain_metrics(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_], maps: Maps, masks: Masks
) -> dict[str, float]:
    """All nine, by definition."""
    n_normal, n_anomalous = int((~labels).sum()), int(labels.sum())
    allowed = [tp for fp, tp in counts(scores, labels) if 20 * fp <= n_normal]
    values = [
        *rank_metrics(scores, labels),
        max(allowed) / n_anomalous,
        *rank_metrics(maps.ravel(), masks.ravel() != 0),
        plain_aupro(maps, masks, 0.3),
        plain_aupro(maps, masks, 0.05),
    ]
    return dict(zip(METRICS, values, strict=True))


def small_sets(count: int) -> list[tuple[Maps, Masks]]:
    """Small maps, every other set with many ties."""
    sets = []
    for seed in range(count):
        maps, masks = make_set(np.random.default_rng(seed), 8, 24)
        sets.append((np.round(maps * 8) / 8 if seed % 2 else maps, masks))
    return sets


def errors_on_small_maps(others: dict[str, Way], count: int) -> dict[str, float]:
    """Largest differences from the plain reference."""
    errors = {"max_abs_error": 0.0, **{f"{name}_small_error": 0.0 for name in others}}
    errors["pro_200_small_error"] = 0.0
    rng = np.random.default_rng(0)
    for maps, masks in small_sets(count):
        labels = masks.any(axis=(1, 2))
        scores = np.round(rng.normal(size=len(maps)) + labels, 1)
        expected = plain_metrics(scores, labels, maps, masks)
        ours = evaluate(
            scores, labels.astype(int), ["defect"] * len(maps), maps, masks, replicates=2
        ).metrics
        found = {"max_abs_error": max(abs(ours[name] - expected[name]) for name in METRICS)}
        found["pro_200_small_error"] = abs(two_hundred(maps, masks) - expected["aupro_030"])
        for name, way in others.items():
            known = (
                [expected["pixel_auroc"], expected["pixel_ap"]]
                if name == "torchmetrics"
                else [expected["aupro_030"]]
            )
            found[f"{name}_small_error"] = float(np.abs(way(maps, masks) - np.array(known)).max())
        errors = {name: max(value, found[name]) for name, value in errors.items()}
    return errors


# --- Time and memory --------------------------------------------------------------------------


def in_turn(
    functions: dict[str, Callable[[], Any]], repetitions: int, clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of each, and what each returns, after a first call of the first one."""
    next(iter(functions.values()))()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    values = {}
    for _ in range(repetitions):
        for name, function in functions.items():
            began = clock()
            values[name] = function()
            seconds[name].append(clock() - began)
    return {name: statistics.median(own) for name, own in seconds.items()}, values


def speed(maps: Maps, masks: Masks, others: dict[str, Way], repetitions: int) -> dict[str, Any]:
    """Of the PRO, and of the pixels' ranking, on the same maps."""
    cpu, wall = time.process_time, time.perf_counter

    def ours() -> float:
        return exact(maps, masks)

    public = {
        "exact": ours,
        "pro_200": lambda: two_hundred(maps, masks),
        "pro_200_label_once": lambda: two_hundred(maps, masks, label_once=True),
    }
    rivals = {
        "exact": ours,
        "torchmetrics_exact": lambda: exact_ranks(maps, masks),
        **{name: lambda way=way: way(maps, masks) for name, way in others.items()},
    }
    rounds = [
        (public, in_turn(public, repetitions, cpu)),
        (rivals, in_turn(rivals, 3 * repetitions, cpu)),
    ]
    if torch.cuda.is_available():
        on_gpu = torch.from_numpy(maps).cuda(), torch.from_numpy(masks).cuda()
        cuda = {"cuda": lambda: exact(*on_gpu), "exact": ours}
        rounds.append((cuda, in_turn(cuda, 3 * repetitions, wall)))
    result: dict[str, Any] = {}
    for functions, (times, values) in rounds:
        for name in functions:
            if "exact" in name:
                continue
            own = "torchmetrics_exact" if name == "torchmetrics" else "exact"
            difference = float(np.abs(np.subtract(values[name], values[own])).max())
            ratio = times[name] / times[own]
            print(f"{name}: {times[name]:.3f} s, {ratio:.1f} x ours, off by {difference:.2g}")
            result |= {f"{name}_seconds": times[name], f"{name}_error": difference}
            result[SPEEDUPS.get(name, f"speedup_vs_{name}")] = ratio
    times, values = rounds[1][1]
    result |= {"aupro_030": values["exact"], "exact_seconds": times["exact"]}
    whole = {"evaluate": lambda: evaluate(*image_level(maps, masks), maps, masks)}
    return result | {"evaluate_seconds_83": in_turn(whole, repetitions, cpu)[0]["evaluate"]}


def make_large(folder: Path, count: int) -> None:
    """Maps and masks as files, a chunk at a time."""
    shape = count, LARGE_SIZE, LARGE_SIZE
    maps, masks = (
        np.lib.format.open_memmap(folder / name, "w+", kind, shape)
        for name, kind in (("maps.npy", np.float32), ("masks.npy", np.uint8))
    )
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        rng = np.random.default_rng([1, start])
        maps[part], masks[part] = make_set(rng, part.stop - start, LARGE_SIZE)


def evaluate_files(folder: Path) -> dict[str, float]:
    """In a process of its own: seconds and the peak."""
    maps, masks = (np.load(folder / name, mmap_mode="r") for name in ("maps.npy", "masks.npy"))
    scores, labels, types = image_level(maps, masks)
    before = peak_rss_mib()
    began, own = time.perf_counter(), time.process_time()
    found = evaluate(scores, labels, types, maps, masks)
    seconds, own = time.perf_counter() - began, time.process_time() - own
    assert None not in [found.metrics[name] for name in METRICS]
    mapped = (maps.nbytes + masks.nbytes) / 2**30
    print(f"{before:.0f} MiB before; up to {mapped:.2f} GiB of the peak are the mapped files'")
    print(
        f"AUPRO 0.30: {found.metrics['aupro_030']:.4f}, {found.metrics['intervals']['aupro_030']}"
    )
    peak = peak_rss_mib() / 1024
    return {"seconds": seconds, "cpu_seconds": own, "peak_gib": peak, "mapped_gib": mapped}


def large(count: int) -> dict[str, float]:
    """Time and memory of `count` maps of 512 px."""
    with tempfile.TemporaryDirectory() as folder:
        make_large(Path(folder), count)
        command = [sys.executable, __file__, "--evaluate", folder]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    *lines, last = output.splitlines()
    print(*lines, sep="\n", flush=True)
    return {f"{k}_{count}_maps_{LARGE_SIZE}": value for k, value in json.loads(last).items()}


def main() -> None:
    """Measure, and print a JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="a dataset with masks; default: made up")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--small-sets", type=int, default=10)
    parser.add_argument("--large", type=int, default=LARGE_COUNT, help="maps of 512 px; 0: skip")
    parser.add_argument("--evaluate", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.evaluate:
        print(json.dumps(evaluate_files(options.evaluate)))
        return
    rng = np.random.default_rng(0)
    if options.root:
        masks = load_masks(options.root)
        maps = make_maps(rng, masks)
    else:
        maps, masks = make_set(rng, COUNT, SIZE)
    regions = sum(label(mask)[1] for mask in masks)
    print(f"{len(maps)} maps of {SIZE} px, {regions} regions, {masks.mean():.2%} defect pixels")

    others, reasons = load_others()
    result: dict[str, Any] = {f"speedup_vs_{name}": None for name in OTHERS}
    result |= speed(maps, masks, others, options.repetitions)
    result |= errors_on_small_maps(others, options.small_sets)
    if options.large:
        result |= large(options.large)
    if not torch.cuda.is_available():
        result["speedup_vs_cuda"] = None
        reasons["cuda"] = "no CUDA device"
    for name, reason in reasons.items():
        print(f"{name}: {reason}")
    result["not_measured"] = reasons
    print(
        json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in result.items()})
    )


if __name__ == "__main__":
    main()
