"""Training and scoring: the straightforward formulation against the project's, with equal results.

Setting: the networks and the recipe of conf/paper (ResNet-18 twice, SSIM, width 256), 256 px,
batches of 8 real images (the packaged ELPV cells; noise where they are not installed) with their
outliers. The teacher has random weights, its batch norms the statistics of these images: the
published ones cannot be had without a network, and neither time nor equality depends on them.

The straightforward formulation is ``plain_training.py``: modules of its own, with the same weights.
The project's step is what ``train_decoder`` runs, the batch given; its scoring is
``Detector.score_batch``. Before anything is timed, losses, discrepancy maps and probabilities have
to agree within 1e-4 of the largest value with the straightforward formulation in double precision
(which in single precision is itself off by about as much: ``plain_relative_error``), and after the
steps anomaly maps and scores with it in single precision.

Then all ways run in turn, in one process. Speed-ups are medians of ratios of wall-clock time, and
``*_processor`` those of processor time, which say more on a machine that others use. Also measured:

* scoring by means that exist in torch without a change to the library: batch norm folded, bfloat16,
  torch.compile, AOTInductor; and ONNX Runtime, in float32 and with convolutions in int8, where it
  is installed. Each with its largest error relative to the largest
  value, and what image AUROC and pixel AP of 8 normal images and their outliers change by. Of those
  within 0.002, the fastest in reduced precision or through a runtime is ``speedup_score_reduced``;
* the peak memory (VmHWM) of each way in a process of its own;
* the floor of each figure: the operations of matrix products and convolutions that this way does
  (torch.utils.flop_counter), over the rate that this machine reaches in a 2048 x 2048 product. The
  rate is taken from processor time, so that other processes do not lower it; that of bfloat16 is
  at least that of float32, which emulation can fall back to.

    pip install -c constraints.txt -e ".[samples]"
    pip install onnx onnxruntime onnxscript    # optional
    python benchmarks/training.py
    python benchmarks/training.py --quick      # without torch.compile, AOTInductor and ONNX Runtime

bfloat16 is fast only where the processor has its instructions (``bfloat16_in_hardware``); elsewhere
it is emulated. It takes 4 minutes on two idle cores, and 15 on two that four other processes want.
"""

import argparse
import copy
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Threads that wait sleep: otherwise they are taken for work, and in the way of other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import timm
import torch
import yaml
from numpy.typing import NDArray
from plain_training import Plain
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.flop_counter import FlopCounterMode

from daf_pipelines.models import DAF
from daf_pipelines.parameters import (
    DecoderTrainingParams,
    ModelParams,
    ScoringParams,
    SynthesisParams,
)
from daf_pipelines.resources import machine, peak_rss_mib
from daf_pipelines.scoring.detector import Detector, Prediction
from daf_pipelines.sources.elpv import ELPV, read_labels
from daf_pipelines.sources.images import fit_image, read_image
from daf_pipelines.training import TrainingData, initialise, phases
from daf_pipelines.training.batches import Batch, TeacherCache
from daf_pipelines.training.precision import has_bfloat16

PAPER = Path(__file__).parents[1] / "conf/paper/parameters.yml"
SIZE, IMAGES, SCORED = 256, 32, 4
TOLERANCE = 1e-4
QUALITY_TOLERANCE = 0.002
CPU = torch.device("cpu")
STEPS = ("plain", "ours", "ours_bf16")
MEMORY = (*(f"step_{way}" for way in STEPS), "score_plain", "score_ours")
REDUCED = ("bfloat16", "compiled", "aot", "onnx")  # how names begin of what is not plain float32

Way = Callable[[], object]
Images = NDArray[np.uint8]


# --- Setting ----------------------------------------------------------------------------------


def load_images() -> Tensor:
    """Images of ELPV's functional cells, or noise: uint8 ``(N, 3, H, W)``."""
    try:
        root = ELPV().default_root()
    except Exception as error:  # the package is optional
        print(f"noise in place of images: {error}", flush=True)
        generator = torch.Generator().manual_seed(0)
        shape = (IMAGES, 3, SIZE, SIZE)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    cells = read_labels(root)
    files = [root / path for path in cells[cells["probability"] == 0]["path"]]
    files = files[:: len(files) // IMAGES][:IMAGES]
    images = [fit_image(read_image(file), SIZE, "square") for file in files]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def teacher_weights(images: Tensor) -> dict[str, Tensor]:
    """A random ResNet-18 whose batch norms have the statistics of these images."""
    network = timm.create_model("resnet18", pretrained=False).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.ones_(module.weight)  # timm starts with blocks that do nothing
    network(images[:8].float() / 255)
    return network.state_dict()


@dataclass(frozen=True)
class Step:
    """The two ways to a training step, from equal weights, on one batch."""

    ours: DAF
    plain: Plain
    batch: Batch
    cache: TeacherCache
    params: DecoderTrainingParams
    optimisers: dict[str, torch.optim.Optimizer]

    @classmethod
    def of(cls, model: DAF, images: Tensor, batch: Batch) -> "Step":
        """Both ways, from the weights of ``model``, which is trained."""
        recipe = yaml.safe_load(PAPER.read_text())["decoder_training"]
        params = DecoderTrainingParams(**recipe | {"device": "cpu"})
        plain = Plain(model).train()
        ours = model.to(memory_format=torch.channels_last).train()  # as train_decoder has it
        modules = nn.ModuleDict({"decoder": ours.decoder} | dict(phases._student_modules(ours)))
        options = {"lr": params.learning_rate, "weight_decay": params.weight_decay}
        optimisers: dict[str, torch.optim.Optimizer] = {
            "ours": torch.optim.AdamW(modules.parameters(), **options),
            "plain": torch.optim.AdamW(plain.trainable(), **options),
        }
        return cls(ours, plain, batch, TeacherCache(ours, images), params, optimisers)

    def losses(self, way: str) -> dict[str, Tensor]:
        """The loss terms of the batch."""
        batch = self.batch
        if way == "plain":
            return self.plain.losses(batch.normals, batch.outliers, batch.masks)
        precision = "bfloat16" if way == "ours_bf16" else "float32"
        params = self.params.model_copy(update={"precision": precision})
        with phases._autocast(params, CPU):
            return phases._decoder_losses(self.ours, batch, params, self.cache)

    def run(self, way: str) -> None:
        """A training step."""
        optimiser = self.optimisers["plain" if way == "plain" else "ours"]
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(self.losses(way).values())).sum().backward()
        optimiser.step()


def deployed(weights: dict[str, Tensor]) -> DAF:
    """A model as ``Detector.load`` makes it."""
    params = yaml.safe_load(PAPER.read_text())["model"]
    model = DAF(ModelParams(**params))
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def detector(model: nn.Module) -> Detector:
    scoring = ScoringParams(**yaml.safe_load(PAPER.read_text())["scoring"])
    return Detector(model, scoring, SIZE)  # type: ignore[arg-type]


# --- Equality ---------------------------------------------------------------------------------


def relative(found: Any, expected: Any) -> float:
    """Largest difference over the largest expected value."""
    found, expected = (torch.as_tensor(v).detach().double() for v in (found, expected))
    return float((found - expected).abs().max() / expected.abs().max())


def exact(step: Step) -> tuple[Plain, tuple[Tensor, ...]]:
    """The straightforward way in double precision, and the batch."""
    batch = step.batch
    images = (batch.normals, batch.outliers, batch.masks)
    return copy.deepcopy(step.plain).double(), tuple(x.double() for x in images)


def training_errors(step: Step) -> tuple[dict[str, float], dict[str, float]]:
    """What ours, and the straightforward way in single precision, are off by in a first step."""
    batch, (reference, images) = step.batch, exact(step)
    with torch.no_grad():
        expected = outputs(reference(*images[:2]), reference.losses(*images))
        found = step.plain(batch.normals, batch.outliers)
        plain = outputs(found, step.losses("plain"))
        student = step.ours.student_features(batch.outliers)
        terms = step.ours.discrepancy(student.projected, step.cache(batch))
        maps = [a + b for a, b in terms]
        probability = torch.sigmoid(step.ours.segment(maps, student))
        ours = outputs((None, None, maps, probability), step.losses("ours"))
    return tuple({k: relative(way[k], v) for k, v in expected.items()} for way in (ours, plain))


def outputs(forward: tuple[Any, ...], losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """By name: maps, probability and losses."""
    *_, maps, probability = forward
    named = {f"map_{level}": x for level, x in enumerate(maps)} | {"probability": probability}
    return named | {f"loss_{name}": loss for name, loss in losses.items()}


def gradient_errors(step: Step) -> tuple[float, float]:
    """Norm of what all gradients are off by over their norm: ours and the straightforward ones."""
    reference, images = exact(step)
    sum(reference.losses(*images).values()).backward()
    sum(step.losses("plain").values()).backward()
    sum(step.losses("ours").values()).backward()
    expected = {n: p.grad for n, p in reference.named_parameters() if p.grad is not None}
    plain = {n: p.grad for n, p in step.plain.named_parameters()}
    ours = {
        n.replace("student.network", "student").replace("convolutions.0", "convolution"): p.grad
        for n, p in step.ours.named_parameters()
    }
    total = sum(float(g.square().sum()) for g in expected.values())

    def error(found: dict[str, Tensor]) -> float:
        off = sum(float((found[n] - g).square().sum()) for n, g in expected.items())
        return (off / total) ** 0.5

    return error(ours), error(plain)


def check(errors: dict[str, float]) -> None:
    wrong = {name: error for name, error in errors.items() if not error <= TOLERANCE}
    if wrong:
        raise SystemExit(f"More than {TOLERANCE} off: {wrong}")


# --- Time and memory --------------------------------------------------------------------------


def in_turn(
    ways: dict[str, Way], repetitions: int, warm: bool = False
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of wall-clock and of processor time of each call, after a first one unless warm."""
    for way in () if warm else ways.values():
        way()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            spent = time.perf_counter() - wall, time.process_time() - processor
            times[name].append(spent)
    return times


def median(times: list[tuple[float, float]], clock: int) -> float:
    return statistics.median(t[clock] for t in times)


def speedup(slow: list[tuple[float, float]], fast: list[tuple[float, float]], clock: int) -> float:
    return statistics.median(s[clock] / f[clock] for s, f in zip(slow, fast, strict=True))


def operations(way: Way) -> float:
    """Floating-point operations of the products and convolutions of a call, in units of 1e9."""
    with FlopCounterMode(display=False) as counter:
        way()
    return counter.get_total_flops() / 1e9


def matrix_rate(dtype: torch.dtype, seconds: float = 3.0) -> float:
    """Best rate of a 2048 x 2048 product, all threads at work, in 1e9 operations a second."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.process_time()
        a @ b
        best = min(best, time.process_time() - began)
    return 2 * 2048**3 * torch.get_num_threads() / best / 1e9


def peak_memory(state: Path, way: str) -> float:
    """Peak of a process that only does one thing, MiB."""
    command = [sys.executable, __file__, "--child", way, "--state", str(state)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(output.splitlines()[-1])


def child(way: str, state: Path) -> None:
    """Do one thing, and print this process's peak memory."""
    saved = torch.load(state, weights_only=True)
    model, (kind, _, name) = deployed(saved["weights"]), way.partition("_")
    if kind == "step":
        for module in (model.student, model.decoder, model.heads):
            module.requires_grad_(True)
        step = Step.of(model, saved["images"], Batch(*saved["batch"]))
        for _ in range(2):
            step.run(name)
    else:
        images = pixels(saved["batch"][2])[:1]
        score = Plain(model).eval().score if name == "plain" else detector(model).score_batch
        for _ in range(3):
            score(images)
    print(peak_rss_mib())


# --- Other ways to score ----------------------------------------------------------------------


class Runtime(nn.Module):
    """Stands for the model in a detector: the same two outputs from another runtime."""

    def __init__(self, model: DAF, run: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.teacher = model.teacher  # a detector asks it for its device
        self.run = run

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As the model's."""
        return self.run(images)


class Shift(nn.Module):
    """What is left of a batch norm whose scale went into a convolution."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias.view(1, -1, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shifted channels."""
        return x + self.bias


@torch.no_grad()
def folded(model: DAF) -> DAF:
    """Without batch norms: each is part of the convolution that stands before it.

    The decoder's norm1 stands behind an upsampling, with which both commute.
    """
    model = copy.deepcopy(model)
    convolution: Any = None
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                convolution = module
            elif name == "convolutions":  # of the fusion, which takes its weight only
                (convolution,) = module.children()
            elif isinstance(module, nn.BatchNorm2d):
                _fold(parent, name, convolution, module)
    return model.requires_grad_(False)


def _fold(parent: nn.Module, name: str, convolution: Any, norm: Any) -> None:
    convolution.weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        *(norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias),
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )
    if hasattr(parent, "convolutions") or name == "norm3":  # of these only the weight is used
        setattr(parent, name, Shift(bias))
    else:
        convolution.bias = bias
        setattr(parent, name, nn.Identity())


def under_autocast(run: Callable[[Tensor], Any]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def cast(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            discrepancy, probability = run(images)
        return discrepancy.float(), probability.float()

    return cast


def compiled(model: DAF) -> Any:
    """By torch.compile, weights as constants."""
    return torch.compile(model, options={"freezing": True})


def ahead_of_time(model: DAF, folder: Path) -> Any:
    """By torch.export and AOTInductor: a library without Python."""
    example = torch.rand(1, 3, SIZE, SIZE)
    program = torch.export.export(model, (example,))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "m.pt2"))
    run = torch._inductor.aoti_load_package(package)
    return lambda images: run(images.contiguous())  # the example's strides are taken for granted


def onnx(model: DAF, folder: Path, calibration: Tensor | None = None) -> Any:
    """ONNX Runtime, in float32 or, calibrated on some images, with convolutions in int8."""
    import onnxruntime

    file, example = folder / "model.onnx", torch.rand(1, 3, SIZE, SIZE)
    if not file.is_file():
        # Optimising takes the 1e-10 of a peak for 0, and channels that are 0 for NaN.
        options: dict[str, Any] = {"optimize": False, "verbose": False}
        torch.onnx.export(model, (example,), file, input_names=["images"], **options)
    if calibration is not None:
        file = _quantised(file, calibration)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as OpenMP above
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, ...]:
        outputs = session.run(None, {"images": images.contiguous().numpy()})
        return tuple(torch.from_numpy(output) for output in outputs)

    return run


def _quantised(file: Path, calibration: Tensor) -> Path:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        batches = iter([{"images": image[None].numpy()} for image in calibration])

        def get_next(self) -> Any:
            return next(self.batches, None)

    target = file.with_name("int8.onnx")
    quantization.quantize_static(
        file, target, Reader(), op_types_to_quantize=["Conv"], per_channel=True
    )
    return target


def candidates(
    model: DAF, folder: Path, calibration: Tensor, quick: bool
) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Names of the ways, and what makes the model of each."""
    plain = folded(model)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # as detectors have it
    yield "folded", lambda: last
    yield "bfloat16", lambda: Runtime(last, under_autocast(last))
    if not quick:
        yield "compiled", lambda: Runtime(last, compiled(last))
        if has_bfloat16():
            yield "compiled_bfloat16", lambda: Runtime(last, under_autocast(compiled(last)))
        yield "aot_inductor", lambda: Runtime(last, ahead_of_time(last, folder))
        yield "onnx", lambda: Runtime(plain, onnx(plain, folder))
        yield "onnx_int8", lambda: Runtime(plain, onnx(plain, folder, calibration))


def build(
    model: DAF, folder: Path, calibration: Tensor, images: Images, quick: bool
) -> tuple[dict[str, Detector], dict[str, str]]:
    """Detectors that work, and why others do not."""
    working: dict[str, Detector] = {"ours": detector(model)}
    left_out: dict[str, str] = {}
    for name, make in candidates(model, folder, calibration, quick):
        began = time.perf_counter()
        try:
            working[name] = detector(make())
            working[name].score_batch(images[:1])
            print(f"{name}: ready in {time.perf_counter() - began:.0f} s", flush=True)
        except Exception as error:  # each runtime has its own
            working.pop(name, None)
            left_out[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            print(f"{name}: left out, {left_out[name]}", flush=True)
    return working, left_out


# --- Measures ---------------------------------------------------------------------------------


def pixels(images: Tensor) -> Images:
    """Images in [0, 1] as those that a detector takes."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def one_by_one(score: Callable[[Images], Any], images: Images) -> Prediction:
    found = [score(images[k : k + 1]) for k in range(len(images))]
    return Prediction(*(np.concatenate(part) for part in zip(*found, strict=True)))


def quality(prediction: Prediction, masks: Tensor) -> tuple[float, float]:
    """Image AUROC and pixel AP of outliers, then normals."""
    labels = np.repeat([1, 0], len(masks))
    truth = np.concatenate([masks[:, 0].numpy(), np.zeros_like(masks[:, 0])])
    return (
        float(roc_auc_score(labels, prediction.scores)),
        float(average_precision_score(truth.ravel(), prediction.maps.ravel())),
    )


def measure_steps(step: Step, repetitions: int, rates: dict[str, float]) -> dict[str, Any]:
    """Seconds a step, and the floors."""
    work_of = {way: operations(lambda way=way: step.run(way)) for way in STEPS[:2]}
    ways: dict[str, Way] = {way: lambda way=way: step.run(way) for way in STEPS}
    times = in_turn(ways, repetitions, warm=True)
    result: dict[str, Any] = {}
    for way in STEPS:
        work = work_of[way.removesuffix("_bf16")]
        result[f"step_{way}_seconds"] = median(times[way], 0)
        result[f"step_{way}_processor_seconds"] = median(times[way], 1)
        result[f"step_{way}_gflop"] = work
        rate = max(rates.values()) if way == "ours_bf16" else rates["fp32"]
        result[f"step_{way}_floor_seconds"] = work / rate
    for way, key in (("ours", "speedup_step_fp32"), ("ours_bf16", "speedup_step_bf16")):
        result[key] = speedup(times["plain"], times[way], 0)
        result[f"{key}_processor"] = speedup(times["plain"], times[way], 1)
    return result


def measure_scoring(
    plain: Plain, working: dict[str, Detector], batch: Batch, repetitions: int, rate: float
) -> dict[str, Any]:
    """Milliseconds an image, errors and what detection loses, of each way."""
    images = pixels(torch.cat([batch.outliers, batch.normals]))
    predictions = {name: one_by_one(d.score_batch, images) for name, d in working.items()}
    expected = one_by_one(plain.score, images[:SCORED])
    ours = Prediction(*(part[:SCORED] for part in predictions["ours"]))
    errors = {
        "anomaly_map": relative(ours.maps, expected.maps),
        "image_score": relative(ours.scores, expected.scores),
    }
    check(errors)

    first = images[:1]
    ways: dict[str, Way] = {"plain": lambda: plain.score(first)}
    ways |= {name: lambda d=d: d.score_batch(first) for name, d in working.items()}
    times = in_turn(ways, repetitions)
    reference = quality(predictions["ours"], batch.masks)
    ways_found: dict[str, dict[str, float]] = {}
    for name, prediction in predictions.items():
        auroc, ap = quality(prediction, batch.masks)
        ways_found[name] = {
            "ms": 1000 * median(times[name], 0),
            "speedup": speedup(times["plain"], times[name], 0),
            "speedup_processor": speedup(times["plain"], times[name], 1),
            "map_error": relative(prediction.maps, predictions["ours"].maps),
            "score_error": relative(prediction.scores, predictions["ours"].scores),
            "image_auroc_change": auroc - reference[0],
            "pixel_ap_change": ap - reference[1],
        }
        print(name, {k: float(f"{v:.3g}") for k, v in ways_found[name].items()}, flush=True)
    best = best_reduced(ways_found)
    work = {"plain": operations(ways["plain"]), "ours": operations(ways["ours"])}
    return {
        "errors": errors,
        "speedup_score_fp32": ways_found["ours"]["speedup"],
        "speedup_score_fp32_processor": ways_found["ours"]["speedup_processor"],
        "speedup_score_reduced": ways_found[best]["speedup"] if best else None,
        "speedup_score_reduced_processor": ways_found[best]["speedup_processor"] if best else None,
        "score_reduced_way": best,
        "score_plain_ms": 1000 * median(times["plain"], 0),
        "score_ours_ms": ways_found["ours"]["ms"],
        **{f"score_{way}_gflop": value for way, value in work.items()},
        **{f"score_{way}_floor_ms": 1000 * value / rate for way, value in work.items()},
        "image_auroc": reference[0],
        "pixel_ap": reference[1],
        "scoring": ways_found,
    }


def best_reduced(ways: dict[str, dict[str, float]]) -> str | None:
    """The fastest way in reduced precision or through a runtime that detects as well."""
    changes = ("image_auroc_change", "pixel_ap_change")
    fit = [
        name
        for name, found in ways.items()
        if name.startswith(REDUCED) and all(abs(found[c]) <= QUALITY_TOLERANCE for c in changes)
    ]
    return max(fit, key=lambda name: ways[name]["speedup_processor"], default=None)


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """Measure, and print a JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="no compilers, no other runtimes")
    parser.add_argument("--steps", type=int, default=4, help="timed training steps a way")
    parser.add_argument("--scorings", type=int, default=11, help="timed scorings a way")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=MEMORY, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        child(options.child, options.state)
        return
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(rounded(measure(Path(folder), options))))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All measures."""
    began = time.perf_counter()
    recipe = yaml.safe_load(PAPER.read_text())
    torch.manual_seed(0)
    images = load_images()
    recipe["model"]["teacher"]["weights"] = str(folder / "teacher.pth")
    torch.save(teacher_weights(images), folder / "teacher.pth")
    model = initialise(ModelParams(**recipe["model"]), images, seed=0)
    synthesis = SynthesisParams(**recipe["synthesis"])
    data = TrainingData(images, None, synthesis, 0, "benchmark", folder)
    params = DecoderTrainingParams(**recipe["decoder_training"] | {"device": "cpu"})
    batch = data.batches(1, params, CPU)[0]
    rates = {"fp32": matrix_rate(torch.float32), "bf16": matrix_rate(torch.bfloat16)}

    step = Step.of(model, images, batch)
    errors, plain_errors = training_errors(step)
    check(errors)
    print(f"equal: {rounded(errors)}; plain: {rounded(plain_errors)}", flush=True)
    ours, straightforward = gradient_errors(step)
    result: dict[str, Any] = {"gradient_error": ours, "plain_gradient_error": straightforward}
    result["plain_relative_error"] = max(plain_errors.values())
    result |= measure_steps(step, options.steps, rates)
    print(rounded(result), flush=True)

    weights = {name: w.contiguous() for name, w in step.ours.state_dict().items()}
    scored = deployed(weights)
    step.plain.copy(scored)
    plain = step.plain.eval()
    working, left_out = build(scored, folder, batch.outliers, pixels(batch.outliers), options.quick)
    result |= measure_scoring(plain, working, batch, options.scorings, rates["fp32"])
    errors |= result.pop("errors")

    parts = (batch.indices, batch.normals, batch.outliers, batch.masks)
    torch.save({"weights": weights, "images": images, "batch": parts}, folder / "state.pt")
    memory = {f"{way}_peak_mib": peak_memory(folder / "state.pt", way) for way in MEMORY}
    return {
        **result,
        **memory,
        "max_relative_error": max(errors.values()),
        "errors": errors,
        "left_out": left_out,
        "gflops_fp32": rates["fp32"],
        "gflops_bf16": rates["bf16"],
        "bfloat16_in_hardware": has_bfloat16(),
        "machine": machine(),
        "seconds": time.perf_counter() - began,
    }


if __name__ == "__main__":
    main()
