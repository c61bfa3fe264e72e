"""A registered model in a process that has nothing else of this project."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from small_project import ROOT, SmallProject

# Takes the source folder, the database and image files; knows nothing else of this project.
SCRIPT = """
import json, sys
from pathlib import Path

source, uri, model, *files = sys.argv[1:]
sys.path[:] = [p for p in sys.path if not Path(p or ".").resolve().is_relative_to(source)]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f)]
try:
    import daf_pipelines
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the project is importable")


brought = {"kedro", "dvc"} | ({"rich"} if "/daf-" in model else set())  # anomalib needs rich


class Absent:  # what other tools have brought here, and a model's requirements do not
    def find_spec(self, name, *_):
        if name in brought:
            raise ModuleNotFoundError(f"No module named '{name}'")


sys.meta_path.insert(0, Absent())

import mlflow
import pandas as pd

mlflow.set_tracking_uri(uri)
loaded = mlflow.pyfunc.load_model(model)
images = pd.DataFrame({"image": [Path(f).read_bytes() for f in files]})
table = loaded.predict(images)
with_maps = loaded.predict(images[:1], params={"anomaly_map": True})
import daf_pipelines
print(json.dumps({
    "library": daf_pipelines.__file__,
    "table": table.to_dict("list"),
    "maps": with_maps["anomaly_map"].tolist(),
}))
"""


def predict(project: SmallProject, name: str, folder: Path) -> dict[str, Any]:
    """What a clean process in ``folder`` predicts for a project's test images."""
    root = Path(project.params["dataset"]["root"])
    files = [str(root / path) for path in project.scores()["path"]]
    model = f"models:/{name}@candidate"
    environment = project.environment
    del environment["PYTHONPATH"], environment["MLFLOW_TRACKING_URI"]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "src"), project.uri, model, *files],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer
