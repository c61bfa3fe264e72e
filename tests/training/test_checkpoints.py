import contextlib
import errno
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from daf_pipelines import locks
from daf_pipelines.locks import LockedError
from daf_pipelines.training import checkpoints
from daf_pipelines.training.checkpoints import (
    BackgroundWriter,
    Checkpoint,
    CheckpointError,
    check_folder,
    snapshot,
)


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint.of(tmp_path / "checkpoints", "decoder", "0123abcd")


def test_name_carries_phase_and_fingerprint(checkpoint, tmp_path):
    assert checkpoint.path == tmp_path / "checkpoints" / "decoder-0123abcd.pt"


def test_round_trip(checkpoint):
    state = {
        "modules": {"w": torch.rand(3)},
        "step": 7,
        "rows": [{"step": 0, "loss": 0.1}],
        "seconds": 1.5,
    }
    checkpoint.save(state)
    loaded = checkpoint.load()
    assert torch.equal(loaded["modules"].pop("w"), state["modules"].pop("w"))
    assert loaded == state


def test_none_yet(checkpoint):
    assert checkpoint.load() is None


def test_of_another_experiment_or_phase_is_not_found(checkpoint, tmp_path):
    checkpoint.save({"step": 1})
    for phase, fingerprint in [("decoder", "0123abce"), ("teacher-student", "0123abcd")]:
        assert Checkpoint.of(tmp_path / "checkpoints", phase, fingerprint).load() is None


def test_replaced_in_one_step(checkpoint):
    checkpoint.save({"step": 1})
    checkpoint.save({"step": 2})
    assert checkpoint.load() == {"step": 2}
    assert [p.name for p in checkpoint.path.parent.iterdir()] == [checkpoint.path.name]


FULL = """
import resource, sys
from pathlib import Path
import torch
from daf_pipelines.training.checkpoints import Checkpoint, CheckpointError

checkpoint = Checkpoint(Path(sys.argv[1]))
checkpoint.save({"step": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
try:
    checkpoint.save({"step": 2, "weights": torch.ones(2**20)})
except CheckpointError as error:
    print(error)
"""


@contextmanager
def ordinary_user():
    """The rights of a user who is not root, whom everything is writable for."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestFailure:
    def assert_intact(self, checkpoint):
        assert checkpoint.load() == {"step": 1}
        assert [p.name for p in checkpoint.path.parent.iterdir()] == [checkpoint.path.name]

    def test_full_disk(self, small_disk):
        checkpoint = Checkpoint.of(small_disk, "decoder", "0123abcd")
        checkpoint.save({"step": 1})
        with pytest.raises(CheckpointError) as caught:
            checkpoint.save({"step": 2, "weights": torch.ones(2**20)})
        self.assert_intact(checkpoint)
        text = str(caught.value)
        assert f"The checkpoint of step 2 could not be written to {checkpoint.path}" in text
        assert re.search(r"No space left on device \(0\.\d MiB free there\)", text)
        assert "Free space" in text
        assert text.endswith("the same command goes on from step 1.")
        checkpoint.save({"step": 3})

    def test_full_before_the_first_one(self, small_disk):
        checkpoint = Checkpoint.of(small_disk, "decoder", "0123abcd")
        with pytest.raises(CheckpointError, match=r"none was .* the same command starts again"):
            checkpoint.save({"step": 2, "weights": torch.ones(2**20)})
        assert list(small_disk.iterdir()) == []

    def test_file_that_may_not_grow(self, checkpoint):
        command = [sys.executable, "-c", FULL, str(checkpoint.path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        output = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        )
        assert "step 2 could not be written" in output.stdout, output.stderr
        assert "goes on from step 1" in output.stdout
        self.assert_intact(checkpoint)

    def test_other_errors_stay_what_they_are(self, checkpoint, monkeypatch):
        def fail(state, file):
            raise RuntimeError("a bug")

        monkeypatch.setattr(torch, "save", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            checkpoint.save({"step": 2})
        assert list(checkpoint.path.parent.iterdir()) == []


class TestBackgroundWriter:
    @pytest.fixture
    def slow(self, monkeypatch):
        """Holds back all writing until it is set; its list says which steps were begun."""
        event, save = threading.Event(), Checkpoint.save
        event.begun = []

        def wait(checkpoint, state):
            event.begun.append(state["step"])
            assert event.wait(60)
            save(checkpoint, state)

        monkeypatch.setattr(Checkpoint, "save", wait)
        yield event
        event.set()

    def test_writes_the_state_as_it_was(self, checkpoint, slow):
        weights = torch.zeros(3)
        with BackgroundWriter(checkpoint) as writer:
            writer.save({"step": 1, "modules": {"w": weights}})
            weights += 1
            slow.set()
        assert checkpoint.load()["modules"]["w"].tolist() == [0, 0, 0]

    def test_one_at_a_time(self, checkpoint, slow):
        with BackgroundWriter(checkpoint) as writer:
            assert writer.ready
            writer.save({"step": 1})
            assert not writer.ready
            threading.Timer(0.2, slow.set).start()
            writer.save({"step": 2})  # waits
            assert checkpoint.load() == {"step": 1}
            writer.wait()
            assert checkpoint.load() == {"step": 2}

    def test_the_next_one_is_due_after_several_times_its_duration(self, checkpoint, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(Checkpoint, "save", lambda *_: now.__setitem__(0, 102.0))
        with BackgroundWriter(checkpoint) as writer:
            writer.save({"step": 1})
            writer.wait()
            now[0] = 102 + 2 * checkpoints.SPACING - 0.1
            assert not writer.ready
            now[0] += 0.2
            assert writer.ready

    def test_an_error_of_its_block_waits_for_the_writing(self, checkpoint, slow):
        def fail():
            with BackgroundWriter(checkpoint) as writer:
                writer.save({"step": 1})
                threading.Timer(0.2, slow.set).start()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert checkpoint.load() == {"step": 1}

    @pytest.mark.parametrize("how", ["check", "wait", "end", "save"])
    def test_failure_is_reported(self, checkpoint, how):
        checkpoint.path.mkdir(parents=True)  # a folder, where the file should be
        before = threading.active_count()

        def fail():
            with BackgroundWriter(checkpoint) as writer:
                writer.save({"step": 3})
                if how == "check":
                    while not writer._writing.done():
                        time.sleep(0.001)
                    writer.check()
                if how == "wait":
                    writer.wait()
                if how == "save":
                    writer.save({"step": 4})
                if how != "end":
                    pytest.fail("not reported")

        with pytest.raises(CheckpointError, match="checkpoint of step 3 could not be written"):
            fail()
        assert threading.active_count() == before

    def test_check_does_not_wait(self, checkpoint, slow):
        with BackgroundWriter(checkpoint) as writer:
            writer.save({"step": 1})
            writer.check()
            assert not checkpoint.path.exists()
            slow.set()


def test_snapshot_keeps_values_and_layout():
    state = {
        "w": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_(),
        "groups": [{"lr": 0.1, "params": [0, 1]}],
    }
    copied = snapshot(state)
    assert torch.equal(copied["w"], state["w"])
    assert copied["w"].stride() == state["w"].stride()
    assert copied["w"].data_ptr() != state["w"].data_ptr()
    assert not copied["w"].requires_grad
    assert copied["groups"] == state["groups"]
    assert copied["groups"][0]["params"] is not state["groups"][0]["params"]


class TestFolder:
    def test_is_made(self, tmp_path):
        check_folder(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []

    def test_below_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(CheckpointError, match=r"file/checkpoints: Not a directory.*data_dir"):
            check_folder(tmp_path / "file" / "checkpoints")

    def test_read_only(self, tmp_path):
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            folder = Path(name)
            folder.chmod(0o555)
            with (
                ordinary_user(),
                pytest.raises(CheckpointError, match="Permission denied") as caught,
            ):
                check_folder(folder)
            folder.chmod(0o755)
        assert str(folder) in str(caught.value)
        assert "Nothing has been trained yet" in str(caught.value)

    def test_full(self, small_disk):
        with contextlib.suppress(OSError):
            (small_disk / "large").write_bytes(bytes(2**20))
        with pytest.raises(CheckpointError, match="No space left"):
            check_folder(small_disk)
        assert [p.name for p in small_disk.iterdir()] == ["large"]


HOLDER = """
import sys, time
from pathlib import Path
from daf_pipelines.training.checkpoints import Checkpoint

with Checkpoint(Path(sys.argv[1])).reserved():
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(checkpoint):
    """A process that holds the checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(checkpoint.path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class TestReserved:
    def test_by_another_process(self, checkpoint):
        with holder(checkpoint) as process:
            with pytest.raises(LockedError) as caught, checkpoint.reserved():
                pass
            assert f"decoder-0123abcd is already being worked on by process {process.pid}" in str(
                caught.value
            )
            assert "Wait for it" in str(caught.value)
            # Of another phase or experiment: free.
            other = Checkpoint.of(checkpoint.path.parent, "decoder", "0123abce")
            with other.reserved():
                pass

    def test_lock_of_a_killed_process_is_taken_over(self, checkpoint):
        with holder(checkpoint):
            pass
        (left,) = checkpoint.path.parent.iterdir()
        assert left.suffix == ".lock"
        with checkpoint.reserved():
            assert left.read_text() == str(os.getpid())
        assert list(checkpoint.path.parent.iterdir()) == []

    def test_what_a_killed_process_was_writing_is_removed(self, checkpoint):
        other = Checkpoint.of(checkpoint.path.parent, "decoder", "0123abce")
        checkpoint.path.parent.mkdir(parents=True)
        left, kept = (c.path.with_suffix(".77.tmp") for c in (checkpoint, other))
        for file in (left, kept):
            file.touch()
        with checkpoint.reserved():
            assert not left.exists()
            assert kept.exists()

    def test_file_system_without_locks(self, checkpoint, monkeypatch, caplog):
        def fail(*_):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(locks.fcntl, "flock", fail)
        with checkpoint.reserved():
            assert "cannot be locked (No locks available)" in caplog.text

    def test_is_free_after_an_error(self, checkpoint):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), checkpoint.reserved():
                raise ZeroDivisionError
        assert list(checkpoint.path.parent.iterdir()) == []

    def test_lock_that_its_holder_removes_meanwhile(self, checkpoint, monkeypatch):
        opened, first = os.open, []

        def open_old(path, *arguments):
            descriptor = opened(path, *arguments)
            if not first:
                first.append(descriptor)
                Path(path).unlink()
            return descriptor

        monkeypatch.setattr(locks.os, "open", open_old)
        with checkpoint.reserved():
            assert checkpoint.path.with_suffix(".lock").is_file()


def test_code_is_not_run_on_loading(checkpoint):
    checkpoint.path.parent.mkdir(parents=True)
    torch.save({"step": torch.nn.Linear(1, 1)}, checkpoint.path)
    with pytest.raises(CheckpointError, match="UnpicklingError") as caught:
        checkpoint.load()
    assert "Unsupported global" in str(caught.value.__cause__)


class TestUnreadable:
    def refused(self, checkpoint, reason):
        return pytest.raises(
            CheckpointError, match=f"{re.escape(str(checkpoint.path))} cannot be used: {reason}"
        )

    @pytest.mark.parametrize("kept", [0, 1, 0.5])
    def test_cut_off(self, checkpoint, kept):
        checkpoint.save({"step": 1, "weights": torch.zeros(1000)})
        content = checkpoint.path.read_bytes()
        length = kept if isinstance(kept, int) else int(kept * len(content))
        checkpoint.path.write_bytes(content[:length])
        with self.refused(checkpoint, r"it is damaged \(\w+\)\. Remove it"):
            checkpoint.load()

    def test_something_else(self, checkpoint):
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        with self.refused(checkpoint, r"it is damaged \(\w+\)\. Remove it"):
            checkpoint.load()

    def test_of_other_code(self, checkpoint, monkeypatch):
        checkpoint.save({"step": 1})
        monkeypatch.setattr("daf_pipelines.training.checkpoints.CODE", "of an edit")
        with self.refused(checkpoint, "the code of models, synthesis or training has changed"):
            checkpoint.load()

    def test_of_another_version(self, checkpoint):
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"step": 1, "rows": []}, checkpoint.path)
        with self.refused(checkpoint, "another version"):
            checkpoint.load()

    def test_on_a_full_disk_the_disk_is_told_of(self, checkpoint, monkeypatch):
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.path.write_bytes(b"")

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Checkpoint, "_write", full)
        with pytest.raises(CheckpointError, match=r"No space left.*Kept: none.*starts again"):
            checkpoint.save({"step": 7})


def test_what_ends_the_program_does_not_wait_for_a_write(checkpoint, monkeypatch):
    goes_on = threading.Event()
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda *args: (goes_on.wait(), save(*args)))

    def interrupted():
        with BackgroundWriter(checkpoint) as writer:
            writer.save({"step": 1})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert checkpoint.load() is None
    goes_on.set()
