"""A study at work: DVC says which cells are to be run; processes run them side by side."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from daf_pipelines.errors import DAFError
from daf_pipelines.locks import locked
from daf_pipelines.study.cell import WORK
from daf_pipelines.study.plan import Cell, Study
from daf_pipelines.study.processes import handled, start

LOG = logging.getLogger(__name__)
MOST_WORKERS = 4  # by default; each takes up to 2.5 GiB
LOOK_EVERY = 0.5  # seconds
ATTEMPTS = 2
STOPPING = signal.SIGINT, signal.SIGTERM, signal.SIGHUP  # the last: a closed terminal
DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")  # or a finished cell might be lost


class StudyError(DAFError):
    """Cells have failed, or the study was stopped."""


def unfinished(folder: Path, study: Study) -> list[Cell]:
    """The cells of a study that DVC does not know as finished, in their order.

    Raises:
        StudyError: DVC cannot tell.
    """
    command = [*DVC, "status", "--json", "dvc.yaml"]
    status = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if status.returncode:
        raise StudyError(f"dvc status of {folder} failed: {status.stderr.strip()}")
    stale = set(json.loads(status.stdout))
    return [cell for cell in study.cells() if cell.stage in stale]


@dataclass
class _Job:
    cell: Cell
    slot: int
    process: "subprocess.Popen[str]"
    began: float = field(default_factory=time.monotonic)


class Runner:
    """Runs the cells of a study that DVC does not know as finished.

    Args:
        folder: of the study.
        study: what is declared there.
        workers: processes at once; ``None``: one a GPU, or else one a core, four at most.
    """

    def __init__(self, folder: Path, study: Study, workers: int | None = None) -> None:
        self._folder, self._study = folder, study
        self._slots = _slots(workers)
        self._running: list[_Job] = []
        self._attempts: dict[Cell, int] = {}
        self._done, self._took = 0, 0.0
        self._stopped: signal.Signals | None = None

    def run(self, limit: int | None = None) -> None:
        """Run cells side by side; one that fails is tried once more, after the others.

        Those of a dataset that is not there, or has errors, are left out.

        Args:
            limit: Run so many; None: all that are not finished.

        Raises:
            LockedError: the study is being run.
            StudyError: a signal of :data:`STOPPING` asked for the end, cells failed twice, or
                were left out; what has been finished is kept.
        """
        lock = self._log("run").with_suffix(".lock")
        what = f"The study {self._study.name}"
        with locked(lock, what, otherwise=""), handled(STOPPING, self._stop):
            absent = self._look_at_all()
            cells = [] if self._stopped else unfinished(self._folder, self._study)
            there = [cell for cell in cells if cell.dataset not in absent]
            left_out = {cell.dataset for cell in cells} & absent.keys()
            self._run(there[:limit], [f"{name}: {absent[name]}" for name in sorted(left_out)])

    def _run(self, cells: Sequence[Cell], left_out: Sequence[str]) -> None:
        total = len(cells)
        LOG.info("%s: %d cells to run, %d at once", self._study.name, total, len(self._slots))
        queue, failed = deque(cells), []
        while (queue and not self._stopped) or self._running:
            self._fill(queue)
            time.sleep(LOOK_EVERY)
            for job in self._ended():
                if job.process.returncode == 0:
                    self._tell(job, total)
                elif self._stopped:
                    continue
                elif self._attempts[job.cell] < ATTEMPTS:
                    LOG.warning("%s failed, and is tried again later", job.cell.name)
                    queue.append(job.cell)
                else:
                    failed.append(job.cell)
        stopped = self._stopped and (
            f"Stopped by {self._stopped.name}; {self._done} of {total} cells were finished. "
            "The same command goes on."
        )
        told = [text for text in (stopped, failed and self._failures(failed)) if text]
        told += [f"Left out are the cells of {why}" for why in left_out]
        if told:
            raise StudyError("\n".join(told))

    def _look_at_all(self) -> dict[str, str]:
        """Let DVC see whether datasets have changed; why it cannot, by dataset."""
        absent = {}
        for name in self._study.grid.dataset:
            if not self._stopped and (why := self._look_at(name)):
                absent[name] = why
        return absent

    def _look_at(self, dataset: str) -> str:
        with self._log(dataset).open("w", encoding="utf-8") as log:
            command = self._repro(f"data@{dataset}")
            status = subprocess.call(command, stdout=log, stderr=log, cwd=self._folder)
        if not status:
            return ""
        why = _last_line(self._log(dataset))
        LOG.warning("The cells of %s are left out: %s", dataset, why)
        return why

    def _fill(self, queue: deque[Cell]) -> None:
        """Give free slots a cell each."""
        taken = {job.slot for job in self._running}
        for slot in range(len(self._slots)):
            if slot in taken or not queue or self._stopped:
                continue
            cell = queue.popleft()
            self._attempts[cell] = self._attempts.get(cell, 0) + 1
            with self._log(cell.name).open("w", encoding="utf-8") as log:
                process = start(self._repro(cell.stage), log, self._folder, self._slots[slot])
            self._running.append(_Job(cell, slot, process))
            if self._stopped:  # while it was started
                self._interrupt()

    def _ended(self) -> list[_Job]:
        ended = [job for job in self._running if job.process.poll() is not None]
        self._running = [job for job in self._running if job not in ended]
        return ended

    def _tell(self, job: _Job, total: int) -> None:
        seconds = time.monotonic() - job.began
        self._done, self._took = self._done + 1, self._took + seconds
        left = (total - self._done) * self._took / self._done / len(self._slots)
        LOG.info(
            "%d of %d: %s in %.0f s; about %s left",
            *(self._done, total, job.cell.name, seconds, _duration(left)),
        )

    def _failures(self, failed: Sequence[Cell]) -> str:
        lines = [f"  - {cell.name}: {_last_line(self._log(cell.name))}" for cell in failed]
        count = "1 cell" if len(failed) == 1 else f"{len(failed)} cells"
        return (
            f"{count} failed twice; the others are finished. Mend what their logs in "
            f"{WORK / self._study.name} tell, and give the same command:\n" + "\n".join(lines)
        )

    def _log(self, name: str) -> Path:
        log = WORK / self._study.name / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return log

    def _repro(self, stage: str) -> list[str]:
        return [*DVC, "repro", "--single-item", stage]

    def _interrupt(self) -> None:
        for job in self._running:
            with suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGINT)

    def _stop(self, number: int) -> None:
        """End the cells at work, which save their state."""
        if self._stopped is None:
            LOG.info("Stopping: the cells at work save their state ...")
        self._stopped = signal.Signals(number)
        self._interrupt()


def _slots(workers: int | None) -> list[Mapping[str, str]]:
    """What tells each of the processes where to work: its GPU, or its share of the cores."""
    import torch

    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = workers or gpus or min(cores or 1, MOST_WORKERS)
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(k) for k in range(gpus)]
        return [{"CUDA_VISIBLE_DEVICES": names[k % gpus]} for k in range(count)]
    return [{"OMP_NUM_THREADS": str(max(1, (cores or 1) // count))}] * count


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error:")]
    return (errors or lines or ["(no output)"])[-1].removeprefix("Error: ")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
