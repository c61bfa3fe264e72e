"""Training beside other processes: how long waiting threads spin before they sleep.

A process trains the first phase of conf/base on images of noise, on all cores, then scores single
images, beside none or as many busy processes as there are cores; OpenMP's default and the limit
that ``daf_pipelines/settings.py`` sets in turn.

    python benchmarks/contention.py     # 10 minutes on two cores that are idle otherwise
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONF = Path(__file__).parents[1] / "conf/base/parameters.yml"
POLICIES: dict[str, dict[str, str]] = {"default": {}, "limited": {"GOMP_SPINCOUNT": "20000"}}


def train(seconds: float, folder: Path) -> tuple[float, float]:
    """Images a second in the last of ever longer trainings, and the latency in ms."""
    import torch
    import yaml

    from daf_pipelines.parameters import (
        ModelParams,
        ScoringParams,
        SynthesisParams,
        TeacherStudentTrainingParams,
    )
    from daf_pipelines.scoring.detector import Detector
    from daf_pipelines.scoring.footprint import footprint
    from daf_pipelines.training import TrainingData, initialise, train_student

    conf = yaml.safe_load(CONF.read_text())
    size = conf["dataset"]["image_size"]
    images = torch.randint(0, 256, (32, 3, size, size), dtype=torch.uint8)
    model = initialise(ModelParams(**conf["model"]), images, seed=0)
    synthesis = SynthesisParams(**conf["synthesis"])
    steps, took = 1, 0.0
    while took < seconds:
        section = conf["teacher_student_training"] | {"length": steps}
        params = TeacherStudentTrainingParams(**section)
        data = TrainingData(images, None, synthesis, 0, str(steps), folder)
        took = train_student(model, data, params).seconds
        rate = steps * params.batch_size / took
        steps *= 2
    detector = Detector(model.eval(), ScoringParams(**conf["scoring"]), size)
    return rate, footprint(detector)["latency_ms"]


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that take what processor time they get."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(policy: str, seconds: float) -> tuple[float, float]:
    """The same of a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds)]
    output = subprocess.run(
        command, env=environment | POLICIES[policy], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    rate, latency = output.splitlines()[-1].split()
    return float(rate), float(latency)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="of a training, at least")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            print(*train(options.seconds, Path(folder)))
        return
    print("| busy processes | spinning | images/s in training | latency, ms |")
    print("|---|---|---|---|")
    for count in (0, os.cpu_count() or 1):
        found: dict[str, list[tuple[float, float]]] = {policy: [] for policy in POLICIES}
        with busy(count):
            for _ in range(options.repetitions):
                for policy, measured in found.items():
                    measured.append(measure(policy, options.seconds))
        for policy, measured in found.items():
            rate, latency = (statistics.median(values) for values in zip(*measured, strict=True))
            print(f"| {count} | {policy} | {rate:.1f} | {latency:.1f} |", flush=True)


if __name__ == "__main__":
    main()
