"""Synthesis: images per second against the published way, and what share of training it takes.

One core, 256 px: the project's DRAEM outliers, from a bank of textures that is loaded once, against
the way of the public code, image by image (``published_draem.py``), in turn. Figures are medians,
of seconds of processor time, and speed-ups medians of ratios. The published way runs in a process
of its own, which spends half of its time on memory: the system takes numpy's arrays back after each
operation, unless the process has once freed a much larger one. ``kept_heap`` is the published way
in a process that has.

Also measured: NSA's blending against OpenCV (``poisson.py``); all presets; three augmentations of a
texture with Kornia's operations, in floating point, against the project's; and, with two threads
and at 128 px, the share of the synthesis in the steps of the quick default (conf/base), whose two
phases count by their lengths, for DRAEM and for the slowest preset.

    pip install -c constraints.txt -e ".[bench,samples]"
    python benchmarks/synthesis.py --textures path/to/dtd
    python benchmarks/synthesis.py --textures path/to/dtd --root path/to/normals --device cuda

Normals are the packaged ELPV cells unless ``--root`` names a folder of images. With a device other
than the CPU, presets and steps run there, in batches of 32 and in seconds of wall-clock time. On
two cores of an AMD EPYC (Zen 4), without a GPU, all of it takes two minutes.
"""

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import kornia_draem
import numpy as np
import poisson
import torch
import yaml
from published_draem import Published
from torch import Tensor

from daf_pipelines.parameters import (
    DecoderTrainingParams,
    ModelParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
)
from daf_pipelines.sources.elpv import ELPV, read_labels
from daf_pipelines.sources.images import find_images, fit_image, read_image
from daf_pipelines.synthesis import STRATEGIES, Sources, load_textures, outlier_key, synthesise
from daf_pipelines.synthesis.augmentations import augment_textures
from daf_pipelines.synthesis.foreground import object_masks
from daf_pipelines.synthesis.levels import Texture, pixels_of
from daf_pipelines.training import TrainingData, batches, initialise, train_decoder, train_student

BASE = Path(__file__).parents[1] / "conf/base/parameters.yml"
SIZE, TRAINING_SIZE = 256, 128
IMAGES = 64
POISSON_BATCHES = 30
FIRST_STEPS, STEPS = 4, 16  # the first ones are not measured
CPU = torch.device("cpu")


def normal_files(root: Path | None) -> list[Path]:
    """Normal images of a folder, or functional cells of ELPV, taken evenly."""
    if root is None:
        packaged = ELPV().default_root()
        cells = read_labels(packaged)
        files = [packaged / path for path in cells[cells["probability"] == 0]["path"]]
    else:
        files = find_images(root)
    return files[:: max(1, len(files) // IMAGES)][:IMAGES]


def load_normals(files: list[Path], size: int) -> Tensor:
    """Images, uint8 ``(N, 3, size, size)``."""
    images = [fit_image(read_image(file), size, "square") for file in files]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


class Project:
    """Batches of outliers, of the same images again and again but with new keys.

    Args:
        normals: uint8 ``(N, 3, H, W)``.
        bank: Textures, uint8 ``(T, 3, H, W)``.
    """

    def __init__(self, normals: Tensor, bank: Tensor) -> None:
        self.images = normals.float() / 255
        everywhere = torch.ones_like(self.images[:, :1], dtype=torch.bool)
        self.objects = object_masks(self.images, everywhere).to(normals.device)
        self.sources = Sources(bank, normals, foregrounds=self.objects)
        self.counter = itertools.count()

    def seconds(self, name: str, batch: int) -> float:
        """Seconds an image of a preset, in a batch."""
        number = next(self.counter)
        start = number * batch % (len(self.images) - batch + 1)
        rows, part = range(start, start + batch), slice(start, start + batch)
        keys = [outlier_key(0, number, row) for row in rows]
        sources, objects = replace(self.sources, own=rows), self.objects[part]

        def run() -> None:
            synthesise(self.images[part], STRATEGIES[name], keys, sources, foreground=objects)

        return seconds(run, self.images.device) / batch


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """What a call costs: processor time on the CPU, wall-clock time elsewhere."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronise(device)
    began = clock()
    function()
    synchronise(device)
    return clock() - began


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turn(functions: dict[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """What functions that measure something return, after a first call."""
    for function in functions.values():
        function()
    results: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            results[name].append(function())
    return results


def median_ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def against_published(
    project: Project, normals: list[Path], textures: list[Path], repetitions: int
) -> dict[str, float]:
    """DRAEM's outliers in batches of 8 and 32, and the published way."""
    published, kept_heap = (Published(normals, textures, SIZE, kept) for kept in (False, True))
    times = in_turn(
        {
            "published": lambda: published.seconds(16),
            "draem": lambda: statistics.mean(project.seconds("draem", 8) for _ in range(4)),
            "published_kept_heap": lambda: kept_heap.seconds(16),
            "draem_batch_32": lambda: project.seconds("draem", 32),
        },
        repetitions,
    )
    published.close()
    kept_heap.close()
    return {
        "speedup_draem": median_ratio(times["published"], times["draem"]),
        "speedup_draem_batch_32": median_ratio(times["published"], times["draem_batch_32"]),
        "speedup_draem_kept_heap": median_ratio(times["published_kept_heap"], times["draem"]),
        **{f"{name}_ms": 1000 * statistics.median(own) for name, own in times.items()},
    }


def presets(project: Project, batch: int, repetitions: int) -> dict[str, float]:
    """Images per second of every preset."""
    functions = {name: lambda name=name: project.seconds(name, batch) for name in STRATEGIES}
    times = in_turn(functions, repetitions)
    return {name: 1 / statistics.median(own) for name, own in times.items()}


def against_kornia(bank: Tensor, repetitions: int) -> float:
    """How many times longer three augmentations of eight textures take with Kornia."""
    counter = itertools.count()

    def measure(augment: Callable[[list[np.random.Generator]], Tensor]) -> float:
        number = next(counter) // 2  # both draw the same
        return seconds(lambda: augment([np.random.default_rng([number, i]) for i in range(8)]), CPU)

    textures = [Texture(stored) for stored in bank[:8]]
    times = in_turn(
        {
            "kornia": lambda: measure(lambda d: kornia_draem.augment(bank[:8].float() / 255, d)),
            "project": lambda: measure(lambda d: pixels_of(augment_textures(textures, d))),
        },
        repetitions,
    )
    return median_ratio(times["kornia"], times["project"])


@contextmanager
def recorded(device: torch.device) -> Iterator[list[tuple[float, float]]]:
    """When each synthesis of a training began and ended."""
    calls: list[tuple[float, float]] = []
    original = batches.synthesise

    def timed(*arguments: Any, **options: Any) -> Any:
        synchronise(device)
        began = time.perf_counter()
        outliers = original(*arguments, **options)
        synchronise(device)
        calls.append((began, time.perf_counter()))
        return outliers

    batches.synthesise = timed
    try:
        yield calls
    finally:
        batches.synthesise = original


def step_share(name: str, normals: Tensor, bank: Tensor, device: torch.device) -> float:
    """The share of a preset's synthesis in the steps of conf/base."""
    base = yaml.safe_load(BASE.read_text())
    objects = Project(normals, bank).objects[:, 0]
    synthesis, steps = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        chosen = SynthesisParams(strategy=name)
        data = TrainingData(normals, bank, chosen, 0, name, Path(folder), foregrounds=objects)
        model = initialise(ModelParams(**base["model"]), normals, seed=0)
        for section, kind, train in (
            ("teacher_student_training", TeacherStudentTrainingParams, train_student),
            ("decoder_training", DecoderTrainingParams, train_decoder),
        ):
            count = FIRST_STEPS + STEPS + 1
            short = {"length": count, "checkpoint_every": count, "device": str(device)}
            with recorded(device) as calls:
                train(model, data, kind(**base[section] | short))
            pairs = list(itertools.pairwise(calls))[FIRST_STEPS:]
            own = statistics.median(end - began for (began, end), _ in pairs)
            step = statistics.median(following - began for (began, _), (following, _) in pairs)
            print(f"{name}, {section}: {own * 1000:.1f} of {step * 1000:.0f} ms a step", flush=True)
            synthesis += base[section]["length"] * own
            steps += base[section]["length"] * step
    return synthesis / steps


@contextmanager
def one_core() -> Iterator[None]:
    """One core and one thread, also for processes begun here; afterwards two threads."""
    cores = os.sched_getaffinity(0)
    keep_to({max(cores)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        keep_to(cores)
        torch.set_num_threads(2)


def keep_to(cores: set[int]) -> None:
    """Keep all threads of this process to some cores."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def main() -> None:
    """Measure, and print a JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--textures", type=Path, required=True, help="texture photographs: DTD")
    parser.add_argument("--root", type=Path, help="normal images; default: ELPV's")
    parser.add_argument("--device", type=torch.device, default=CPU)
    parser.add_argument("--repetitions", type=int, default=11)
    options = parser.parse_args()
    if not options.textures.is_dir():
        parser.error(f"--textures: {options.textures} is no folder")
    device, repetitions = options.device, options.repetitions

    batch = 8 if device.type == "cpu" else 32
    with one_core():
        began = time.process_time()
        bank = torch.from_numpy(load_textures(options.textures, SIZE))
        result: dict[str, Any] = {"texture_bank_seconds": time.process_time() - began}
        files, textures = normal_files(options.root), find_images(options.textures)
        normals = load_normals(files, SIZE)
        result |= against_published(Project(normals, bank), files, textures, repetitions)
        patches = poisson.load_images(options.root, IMAGES)
        for key, gradients in (("speedup_poisson", "source"), ("speedup_poisson_mixed", "mixed")):
            result[key] = poisson.speed(patches, "rectangle", gradients, POISSON_BATCHES)["speedup"]
        result["kornia_augmentation_ratio"] = against_kornia(bank, repetitions)
        rates = presets(Project(normals.to(device), bank.to(device)), batch, repetitions)
    for name, rate in rates.items():
        print(f"{name}: {rate:.0f} images/s", flush=True)

    normals = load_normals(files, TRAINING_SIZE)
    bank = torch.from_numpy(load_textures(options.textures, TRAINING_SIZE))
    slowest = min(rates, key=rates.__getitem__)
    shares = {name: step_share(name, normals, bank, device) for name in ("draem", slowest)}
    result |= {
        "synthesis_share_of_step": shares["draem"],
        "synthesis_share_of_step_slowest": shares[slowest],
        "slowest": slowest,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "device": str(device),
        "batch_size": batch,
    }
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}))


if __name__ == "__main__":
    main()
