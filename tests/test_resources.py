import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daf_pipelines import resources

CODE = """
from daf_pipelines.resources import peak_rss_mib
before = peak_rss_mib()
block = b"x" * (200 * 2**20)
during = peak_rss_mib()
del block
print(before, during, peak_rss_mib())
"""


def test_peak_of_this_process_alone():
    # The test process is larger than what it starts.
    ballast = b"x" * (300 * 2**20)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.check_output([sys.executable, "-c", CODE], text=True, env=environment)
    before, during, after = map(float, output.split())
    assert 5 < before < len(ballast) / 2**20 / 2
    assert during - before == pytest.approx(200, abs=5)
    assert after == pytest.approx(during, abs=5)


def test_where_there_is_no_proc(monkeypatch):
    expected = resources.peak_rss_mib()
    monkeypatch.setattr(resources, "STATUS", Path("/nowhere"))
    # The kernel counts pages in batches; a parent may have been larger, never smaller.
    assert resources.peak_rss_mib() >= 0.9 * expected


def test_machine_is_described() -> None:
    import torch

    found = resources.machine()
    assert found["threads"] == str(torch.get_num_threads())
    assert found["torch"] == torch.__version__
    assert all(found.values())


class TestCommit:
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        (tmp_path / "src").mkdir()
        for name in ("src/code.py", "notes.md"):
            (tmp_path / name).write_text("1", encoding="utf-8")
        who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "First"]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        return tmp_path

    def test_of_clean_code(self, repository: Path) -> None:
        (repository / "notes.md").write_text("2", encoding="utf-8")  # no code
        (repository / "src/new.txt").touch()
        assert re.fullmatch("[0-9a-f]{40}", resources.git_commit(repository))

    def test_of_edited_code(self, repository: Path) -> None:
        clean = resources.git_commit(repository)
        (repository / "src/code.py").write_text("2", encoding="utf-8")
        assert resources.git_commit(repository) == f"{clean}-dirty"

    def test_outside_of_git(self, tmp_path: Path) -> None:
        assert resources.git_commit(tmp_path) == "unknown"


def test_hash_of_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "resources.py"))
    for name in ("models/a.py", "models/deep/b.py", "sources/c.py", "sources/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    names = "models", "sources/c.py"
    first = resources.code_hash(*names)
    (tmp_path / "sources/d.py").write_text("of no meaning")
    assert resources.code_hash(*reversed(names)) == first
    found = {first}
    for change in ("models/deep/b.py", "sources/c.py"):
        (tmp_path / change).write_text("other")
        found.add(resources.code_hash(*names))
    (tmp_path / "models/a.py").rename(tmp_path / "models/z.py")
    found.add(resources.code_hash(*names))
    assert len(found) == 4
