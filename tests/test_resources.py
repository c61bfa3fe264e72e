import os
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
