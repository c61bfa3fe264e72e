"""The working tree in a folder of its own, under git and DVC, with a few real cells."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image, ImageOps

from daf_pipelines.study.plan import merged

ROOT = Path(__file__).parents[1]
PARAMETERS = "conf/base/parameters.yml"


@dataclass(frozen=True)
class ProjectCopy:
    """A copy of the project under git and DVC, with a few cells as its data."""

    folder: Path

    @property
    def cells(self) -> Path:
        return self.folder / "data/01_raw/cells"

    def execute(self, *command: str, expect: int = 0) -> str:
        """Run a command in the copy, with the copy's code and nobody's settings."""
        removed = ("MLFLOW_", "DVC_", "KEDRO_", "GIT_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(removed)}
        environment = kept | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.folder / "src"),
            "OMP_NUM_THREADS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(self.folder.parent / "dvc-global"),
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "dvc-site"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        result = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == expect, result.stdout + result.stderr
        return result.stdout + result.stderr if expect else result.stdout

    def dvc(self, *arguments: str, expect: int = 0) -> str:
        return self.execute(sys.executable, "-m", "dvc", *arguments, expect=expect)

    def reproduce(self, *arguments: str) -> list[str]:
        """``dvc repro``, or another command that runs stages; returns those that ran."""
        output = self.dvc(*(arguments or ("repro",)))
        return re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)

    def shown(self, *arguments: str) -> Any:
        return json.loads(self.dvc(*arguments, "--json"))

    def commit(self) -> list[str]:
        """Commit what git sees; returns the files."""
        self.execute("git", "add", "--all")
        self.execute("git", "commit", "--quiet", "--message", "A commit")
        return self.execute("git", "show", "--name-only", "--format=").splitlines()

    def set(self, changes: dict[str, Any]) -> None:
        file = self.folder / PARAMETERS
        params = merged(yaml.safe_load(file.read_text(encoding="utf-8")), changes)
        file.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def metrics(self) -> dict[str, Any]:
        text = (self.folder / "data/08_reporting/metrics.json").read_text(encoding="utf-8")
        metrics: dict[str, Any] = json.loads(text)
        return metrics

    def runs(self) -> list[Run]:
        client = MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("daf")
        return list(client.search_runs([experiment.experiment_id]))


def copy_project(folder: Path, cells: Path, store: Path) -> ProjectCopy:
    """The working tree as git sees it, in a new git repository that holds nothing yet."""
    copy = ProjectCopy(folder)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if os.path.lexists(ROOT / name) and not name.endswith((".dvc", "dvc.lock")):
            (copy.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy.folder / name, follow_symlinks=False)
    shutil.copy(store, copy.folder / "mlflow.db")
    shutil.copytree(cells, copy.cells)
    copy.execute("git", "init", "--quiet")
    for key in ("user.name", "user.email"):
        copy.execute("git", "config", key, "test")
    return copy


def invert(image: Path) -> None:
    with Image.open(image) as opened:
        inverted = ImageOps.invert(opened.convert("L"))
    inverted.save(image)
