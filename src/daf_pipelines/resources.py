"""What a run costs, and on what machine."""

import hashlib
import platform
import re
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

CODE = "src", "pipelines", "conf", "studies/*/study.yml", "pyproject.toml", "constraints.txt"
STATUS, CPU = Path("/proc/self/status"), Path("/proc/cpuinfo")


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    # On Linux, getrusage also counts the process that started this one, which may be larger.
    own = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text()) if STATUS.is_file() else None
    if own:
        return int(own[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def machine() -> dict[str, str]:
    """What this process runs on: processor, cores that it may use, torch."""
    import torch

    processor = platform.processor() or platform.machine()
    with suppress(OSError):  # Linux
        named = re.search(r"model name\s*: (.+)", CPU.read_text(encoding="utf-8"))
        processor = named[1] if named else processor
    return {
        "processor": processor,
        "threads": str(torch.get_num_threads()),
        "system": platform.system(),
        "torch": torch.__version__,
    }


def code_hash(*names: str) -> str:
    """Hash of code of this library: packages and files, such as "models", "sources/images.py"."""
    package = Path(__file__).parent
    files = sorted(
        file
        for name in names
        for file in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
    )
    parts = (part for f in files for part in (str(f.relative_to(package)).encode(), f.read_bytes()))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def git_commit(folder: Path) -> str:
    """Hash of the commit that is checked out there; "unknown" where there is none.

    With "-dirty" where tracked files of the code or its configuration differ from it.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return f"{commit}-dirty" if commit and changed else commit or "unknown"


def _git(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # git is not installed
        return ""
    return result.stdout.strip()
