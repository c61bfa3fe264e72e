import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import plain_daf
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import (
    DecoderTrainingParams,
    SynthesisParams,
    TeacherStudentTrainingParams,
    fingerprint,
)
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.training import (
    TrainingData,
    TrainingDivergedError,
    TrainingMemoryError,
    initialise,
    phases,
    train_decoder,
    train_student,
)
from daf_pipelines.training.checkpoints import Checkpoint

pytestmark = pytest.mark.usefixtures("every_checkpoint")
FIRST_STEP = {"length": 1, "batch_size": 3, "learning_rate": 2e-4, "weight_decay": 1e-5}
CPU = {"device": "cpu", "batch_size": 4, "schedule": "constant", "learning_rate": 1e-3}


def student_params(**values):
    return TeacherStudentTrainingParams(**(CPU | {"length": 4} | values))


def decoder_params(**values):
    return DecoderTrainingParams(**(CPU | {"length": 4} | values))


def state(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(module, before):
    return all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def changed_parameters(module, before):
    """Whether each of the trainable tensors changed."""
    return {k: not torch.equal(p.detach(), before[k]) for k, p in module.named_parameters()}


def parts(model):
    return {name: state(getattr(model, name)) for name in PARTS}


PARTS = ("teacher", "student", "projections", "heads", "decoder")


class TestInitialise:
    def test_follows_the_seed_and_leaves_the_random_state_alone(self, model_params, normals):
        torch.manual_seed(7)
        first, again, other = (initialise(model_params(), normals, s) for s in (0, 0, 1))
        found = torch.rand(1)
        torch.manual_seed(7)
        assert torch.equal(found, torch.rand(1))
        assert same(first, state(again))
        assert same(first.teacher, state(other.teacher))
        assert not same(first.student, state(other.student))
        assert not same(first.decoder, state(other.decoder))

    @pytest.mark.parametrize("normalise", ["none", "channel"])
    def test_channel_statistics_only_where_asked(self, model_params, normals, normalise):
        discrepancy = {"structure": "squared", "normalise": normalise}
        model = initialise(model_params(discrepancy=discrepancy), normals, 0)
        trivial = not model.discrepancy.mean_0.any()
        assert trivial == (normalise == "none")


class TestTrainStudent:
    def test_learns_to_match_the_teacher(self, model_params, training_data, normals):
        model = initialise(model_params(discrepancy={"structure": "squared"}), normals, 0)
        history = train_student(model, training_data(), student_params(length=30)).history
        assert list(history.columns) == ["step", "epoch", "learning_rate", "kd", "dis"]
        assert history["kd"][-5:].mean() < 0.7 * history["kd"][:5].mean()
        assert history["dis"][-5:].mean() < history["dis"][:5].mean()

    def test_trains_student_projections_and_heads_only(self, model_params, training_data, normals):
        model = initialise(model_params(), normals, 0)
        before = parts(model)
        train_student(model, training_data(), student_params())
        assert same(model.teacher, before["teacher"])
        assert same(model.decoder, before["decoder"])
        for name in ("student", "projections", "heads"):
            assert all(changed_parameters(getattr(model, name), before[name]).values()), name

    @pytest.mark.parametrize(
        "discrepancy", [{"structure": "none"}, {"structure": "squared", "cosine": False}]
    )
    def test_learns_from_one_term_of_the_discrepancy(
        self, model_params, training_data, normals, discrepancy
    ):
        model = initialise(model_params(discrepancy=discrepancy), normals, 0)
        before = parts(model)
        history = train_student(model, training_data(), student_params(length=30)).history
        assert history["kd"][-5:].mean() < 0.8 * history["kd"][:5].mean()
        for name in ("student", "projections"):
            assert all(changed_parameters(getattr(model, name), before[name]).values()), name

    def test_without_heads_there_is_no_such_loss(self, model_params, training_data, normals):
        model = initialise(model_params(auxiliary_heads=False), normals, 0)
        history = train_student(model, training_data(), student_params(length=1)).history
        assert list(history.columns) == ["step", "epoch", "learning_rate", "kd"]

    def test_length_0_leaves_everything_as_it_was(self, model_params, training_data, normals):
        model = initialise(model_params(), normals, 0)
        before = state(model)
        history = train_student(model, training_data(), student_params(length=0)).history
        assert same(model, before)
        assert len(history) == 0
        assert "step" in history


class TestTrainDecoder:
    @pytest.mark.parametrize("teacher_sees", ["normal", "outlier"])
    def test_frozen_student_stays_bit_identical(
        self, model_params, training_data, normals, teacher_sees
    ):
        model = initialise(model_params(), normals, 0)
        before = parts(model)
        params = decoder_params(train_student=False, teacher_sees=teacher_sees)
        history = train_decoder(model, training_data(), params).history
        assert list(history.columns) == ["step", "epoch", "learning_rate", "seg"]
        # With the running statistics of the batch norms.
        for name in ("teacher", "student", "projections", "heads"):
            assert same(getattr(model, name), before[name]), name
        assert all(changed_parameters(model.decoder, before["decoder"]).values())

    def test_learns_to_segment(self, model_params, training_data, normals):
        model = initialise(model_params(), normals, 0)
        history = train_decoder(model, training_data(), decoder_params(length=30)).history
        assert history["seg"][-5:].mean() < 0.92 * history["seg"][:5].mean()

    @pytest.mark.parametrize("teacher_sees", ["normal", "outlier"])
    def test_joint_training_trains_everything_but_the_teacher(
        self, model_params, training_data, normals, teacher_sees
    ):
        model = initialise(model_params(), normals, 0)
        train_student(model, training_data(), student_params(length=0))
        before = parts(model)
        params = decoder_params(train_student=True, teacher_sees=teacher_sees)
        history = train_decoder(model, training_data(), params).history
        assert list(history.columns) == ["step", "epoch", "learning_rate", "seg", "kd", "dis"]
        assert same(model.teacher, before["teacher"])
        for name in ("student", "projections", "heads", "decoder"):
            assert all(changed_parameters(getattr(model, name), before[name]).values()), name

    def test_the_teachers_view_decides_the_cue(self, model_params, training_data, normals):
        losses = []
        for teacher_sees in ("normal", "outlier"):
            model = initialise(model_params(), normals, 0)
            params = decoder_params(length=1, teacher_sees=teacher_sees)
            data = training_data(fingerprint=teacher_sees)
            losses.append(train_decoder(model, data, params).history["seg"][0])
        assert losses[0] != losses[1]

    @pytest.mark.parametrize("teacher_sees", ["normal", "outlier"])
    def test_without_a_cue_nor_a_student_to_train_the_teacher_is_not_asked(
        self, model_params, training_data, normals, monkeypatch, teacher_sees
    ):
        model = initialise(model_params(decoder={"width": 16, "cue": "none"}), normals, 0)
        monkeypatch.setattr(model.teacher, "forward", None)
        before = state(model.decoder)
        params = decoder_params(teacher_sees=teacher_sees)
        train_decoder(model, training_data(), params)
        assert all(changed_parameters(model.decoder, before).values())

    def test_without_a_cue_a_student_is_trained_on_the_normals(
        self, model_params, training_data, normals, monkeypatch
    ):
        histories, asked = [], []
        for cue in ("discrepancy", "none"):
            model = initialise(model_params(decoder={"width": 16, "cue": cue}), normals, 0)
            teach = model.teacher_features
            counted = lambda x, t=teach: asked.append(len(x)) or t(x)  # noqa: E731
            monkeypatch.setattr(model, "teacher_features", counted)
            params = decoder_params(length=1, train_student=True, teacher_sees="outlier")
            data = training_data(fingerprint=cue)
            histories.append(train_decoder(model, data, params).history)
        assert asked == [1, 6, 4, 1, 6]  # a first and all normals once; outliers for a cue only
        assert histories[0]["kd"][0] == histories[1]["kd"][0]
        assert histories[0]["seg"][0] != histories[1]["seg"][0]

    def test_length_0_leaves_everything_as_it_was(self, model_params, training_data, normals):
        model = initialise(model_params(), normals, 0)
        before = state(model)
        history = train_decoder(model, training_data(), decoder_params(length=0)).history
        assert same(model, before)
        assert list(history.columns) == ["step", "epoch", "learning_rate"]
        assert len(history) == 0

    def test_phases_see_different_outliers(self, model_params, training_data, normals, monkeypatch):
        seen = []
        run_phase = phases.run_phase

        def watch(name, modules, batches, *rest):
            seen.append((name, batches[0].outliers))
            return run_phase(name, modules, batches, *rest)

        monkeypatch.setattr(phases, "run_phase", watch)
        model = initialise(model_params(), normals, 0)
        train_student(model, training_data(), student_params(length=1))
        train_decoder(model, training_data(), decoder_params(length=1))
        assert [name for name, _ in seen] == ["teacher-student", "decoder"]
        assert not torch.equal(seen[0][1], seen[1][1])

    def test_bfloat16(self, model_params, training_data, normals):
        histories = []
        for precision in ("float32", "bfloat16"):
            model = initialise(model_params("test_byobnet"), normals, 0)
            params = decoder_params(length=2, train_student=True, precision=precision)
            data = training_data(fingerprint=precision)
            histories.append(train_decoder(model, data, params).history)
            assert {p.dtype for p in model.parameters()} == {torch.float32}
        terms = [h[["seg", "kd", "dis"]].to_numpy() for h in histories]
        np.testing.assert_allclose(terms[1], terms[0], rtol=0.05)
        assert not np.array_equal(*terms)


class TestFirstStep:
    """The losses in single precision against the plain equations."""

    @pytest.fixture(scope="class")
    @classmethod
    def big(cls):
        generator = torch.Generator().manual_seed(3)
        coarse = torch.rand(4, 3, 12, 12, generator=generator)
        images = torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic")
        return (255 * images.clamp(0, 1)).to(torch.uint8)

    @pytest.fixture
    def model(self, model_params, big):
        sections = {"discrepancy": {"structure": "ssim", "normalise": "none"}}
        return initialise(model_params("test_byobnet", **sections), big, 0)

    def plain_losses(self, model, data, phase, params, teacher_sees="normal"):
        batch = data.batches(phase, params, torch.device("cpu"))[0]
        return plain_daf.training_losses(
            model, batch.normals, batch.outliers, batch.masks, teacher_sees
        )

    def assert_equal(self, history, losses):
        for name, loss in losses.items():
            assert history.loc[0, name] == pytest.approx(loss.item(), rel=1e-4), name

    def test_teacher_student_losses(self, model, training_data, big):
        plain, data = copy.deepcopy(model).train(), training_data(images=big)
        params = student_params(**FIRST_STEP)
        history = train_student(model, data, params).history
        losses = self.plain_losses(plain, data, 0, params)
        self.assert_equal(history, {name: losses[name] for name in ("kd", "dis")})

    @pytest.mark.parametrize("teacher_sees", ["normal", "outlier"])
    def test_joint_losses(self, model, training_data, big, teacher_sees):
        # L_kd has the teacher on x, whatever the decoder's cue is.
        plain, data = copy.deepcopy(model).train(), training_data(images=big)
        params = decoder_params(train_student=True, teacher_sees=teacher_sees, **FIRST_STEP)
        history = train_decoder(model, data, params).history
        self.assert_equal(history, self.plain_losses(plain, data, 1, params, teacher_sees))


class TestResume:
    def stop_after(self, monkeypatch, steps):
        synthesise = phases.Batches.__getitem__

        def stop(batches, step):
            if step == steps:
                raise KeyboardInterrupt
            return synthesise(batches, step)

        monkeypatch.setattr(phases.Batches, "__getitem__", stop)

    @pytest.mark.parametrize("phase", ["teacher-student", "decoder", "joint"])
    def test_stopped_training_ends_where_an_undisturbed_one_does(
        self, model_params, training_data, normals, tmp_path, monkeypatch, phase
    ):
        def train(data):
            model = initialise(model_params(), normals, 0)
            options = {"length": 7, "checkpoint_every": 2}
            if phase == "teacher-student":
                return model, train_student(model, data, student_params(**options))
            options["train_student"] = phase == "joint"
            return model, train_decoder(model, data, decoder_params(**options))

        undisturbed, expected = train(training_data(checkpoints=tmp_path / "a"))
        with monkeypatch.context() as patch:
            self.stop_after(patch, 5)
            with pytest.raises(KeyboardInterrupt):
                train(training_data())
        (file,) = (tmp_path / "checkpoints").iterdir()
        assert Checkpoint(file).load()["step"] == 4
        resumed, result = train(training_data())
        assert same(resumed, state(undisturbed))
        pd.testing.assert_frame_equal(result.history, expected.history, check_exact=True)

    def test_checkpoint_of_another_fingerprint_is_not_used(
        self, model_params, training_data, normals, tmp_path
    ):
        model = initialise(model_params(), normals, 0)
        train_decoder(model, training_data(), decoder_params())
        other = initialise(model_params(), normals, 0)
        expected = initialise(model_params(), normals, 0)
        changed = training_data(seed=5, fingerprint="f1")
        train_decoder(other, changed, decoder_params())
        elsewhere = training_data(seed=5, fingerprint="f1", checkpoints=tmp_path / "else")
        train_decoder(expected, elsewhere, decoder_params())
        assert same(other, state(expected))
        assert not same(other.decoder, state(model.decoder))
        names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
        assert names == ["decoder-f0.pt", "decoder-f1.pt"]

    @pytest.mark.parametrize("moment", ["training", "writing"])
    def test_killed_process(self, model_params, training_data, normals, tmp_path, moment):
        params = decoder_params(length=30, checkpoint_every=3, train_student=True)
        torch.save(normals, tmp_path / "images.pt")
        (tmp_path / "model.json").write_text(model_params().model_dump_json())
        (tmp_path / "training.json").write_text(params.model_dump_json())
        data = training_data()
        checkpoint = Checkpoint.of(data.checkpoints, "decoder", "f0")
        reached = {"training": checkpoint.path, "writing": tmp_path / "writing"}[moment]
        arguments = [str(tmp_path), str(data.checkpoints), str(torch.get_num_threads()), moment]
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            deadline = time.monotonic() + 120
            while not reached.exists():
                assert process.poll() is None, "the training ended by itself"
                assert time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL
        assert 0 < checkpoint.load()["step"] < 30
        if moment == "writing":
            assert list(data.checkpoints.glob("*.tmp"))

        resumed = initialise(model_params(), normals, 0)
        history = train_decoder(resumed, data, params).history
        undisturbed = initialise(model_params(), normals, 0)
        elsewhere = training_data(checkpoints=tmp_path / "else")
        expected = train_decoder(undisturbed, elsewhere, params).history
        assert same(resumed, state(undisturbed))
        pd.testing.assert_frame_equal(history, expected, check_exact=True)
        assert list(data.checkpoints.iterdir()) == [checkpoint.path]


CHILD = """
import os, sys, time
from pathlib import Path
import torch
from daf_pipelines.parameters import DecoderTrainingParams, ModelParams, SynthesisParams
from daf_pipelines.training import TrainingData, initialise, train_decoder
from daf_pipelines.training.checkpoints import BackgroundWriter

folder, checkpoints, threads, moment = sys.argv[1:]
folder, synced, fsync = Path(folder), [], os.fsync

def hang(descriptor):
    synced.append(fsync(descriptor))
    if len(synced) == 2:
        (folder / "writing").touch()
        time.sleep(600)

if moment == "writing":
    os.fsync = hang
BackgroundWriter.ready = True
torch.set_num_threads(int(threads))
images = torch.load(folder / "images.pt")
params = ModelParams.model_validate_json((folder / "model.json").read_text())
synthesis = SynthesisParams(strategy="simple_texture")
data = TrainingData(images, None, synthesis, 0, "f0", Path(checkpoints))
phase = DecoderTrainingParams.model_validate_json((folder / "training.json").read_text())
train_decoder(initialise(params, images, 0), data, phase)
"""


class TestDivergence:
    def test_absurd_learning_rate(self, model_params, training_data, normals):
        model = initialise(model_params(), normals, 0)
        params = student_params(learning_rate=1e30, length=20)
        with pytest.raises(TrainingDivergedError, match=r"teacher-student: the loss .*not finite"):
            train_student(model, training_data(), params)


class TestMemory:
    def test_without_a_message(self, model_params, training_data, normals, monkeypatch):
        def full(self, outliers):
            raise torch.OutOfMemoryError

        model = initialise(model_params(), normals, 0)
        monkeypatch.setattr(type(model), "student_features", full)
        with pytest.raises(TrainingMemoryError, match=r"no details\. Lower the phase's batch_size"):
            train_student(model, training_data(), student_params())

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_names_the_settings_that_help(
        self, model_params, training_data, normals, monkeypatch, precision
    ):
        def full(self, outliers):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nMore")

        model = initialise(model_params(), normals, 0)
        monkeypatch.setattr(type(model), "student_features", full)
        for train, params in ((train_student, student_params), (train_decoder, decoder_params)):
            with pytest.raises(TrainingMemoryError) as caught:
                train(model, training_data(), params(precision=precision))
            text = str(caught.value)
            assert f"in {train.__name__} with batch_size 4, image size 64 and {precision}" in text
            assert "Tried to allocate 20 GiB. Lower the phase's batch_size or" in text
            assert "dataset.image_size" in text
            assert ("precision: bfloat16" in text) == (precision == "float32")


NO_TEXTURES = np.zeros((0, 3, 8, 8), np.uint8)
NO_OBJECTS = np.zeros((0, 32, 32), np.bool_)


class TestTrainingData:
    def image_set(self):
        images = np.arange(2 * 32 * 32 * 3, dtype=np.int64).reshape(2, 32, 32, 3) % 256
        table = pd.DataFrame({"path": ["a", "b"]})
        return ImageSet(table, images.astype(np.uint8), None, {})

    def test_of_prepared_images(self, tmp_path):
        images = self.image_set()
        identity = {"seed": 3}
        data = TrainingData.of(
            images, NO_TEXTURES, NO_OBJECTS, SynthesisParams(), 3, identity, tmp_path
        )
        assert data.images.shape == (2, 3, 32, 32)
        assert data.images[1, 2, 5, 7] == images.images[1, 5, 7, 2]
        assert data.textures is None
        assert data.foregrounds is None
        assert data.fingerprint == fingerprint(identity)
        assert data.seed == 3
        assert data.boxes == [(0, 0, 32, 32)] * 2

    def test_outliers_of_padded_images(self, tmp_path):
        images = self.image_set()
        images.table[["width", "height"]] = 40, 10
        images.dataset["resize"] = "pad"
        data = TrainingData.of(images, NO_TEXTURES, NO_OBJECTS, SynthesisParams(), 0, {}, tmp_path)
        batches = data.batches(0, decoder_params(batch_size=2), torch.device("cpu"))
        masks = torch.cat([batches[step].masks for step in range(5)])[:, 0].bool()
        assert masks.any(dim=(1, 2)).all()
        assert not masks[:, :12].any()
        assert not masks[:, 20:].any()

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_shuffling_is_passed_on(self, training_data, shuffle):
        batches = training_data().batches(0, decoder_params(shuffle=shuffle), torch.device("cpu"))
        assert batches.shuffle == shuffle

    def test_textures_are_passed_on(self, tmp_path):
        bank = np.ones((2, 3, 8, 8), np.uint8)
        data = TrainingData.of(
            self.image_set(), bank, NO_OBJECTS, SynthesisParams(), 0, {}, tmp_path
        )
        batches = data.batches(1, decoder_params(batch_size=2), torch.device("cpu"))
        assert torch.equal(batches.sources.textures, torch.from_numpy(bank))
        assert (batches.phase, batches.batch_size, batches.steps_per_epoch) == (1, 2, 1)

    def test_outliers_on_the_object(self, tmp_path):
        objects = np.zeros((2, 32, 32), np.bool_)
        objects[0, :16] = objects[1, 16:] = True
        synthesis = SynthesisParams(foreground="object")
        data = TrainingData.of(self.image_set(), NO_TEXTURES, objects, synthesis, 0, {}, tmp_path)
        batches = data.batches(0, decoder_params(batch_size=2), torch.device("cpu"))
        for step in range(5):
            batch = batches[step]
            for index, mask in zip(batch.indices.tolist(), batch.masks[:, 0] > 0, strict=True):
                assert mask.any()
                assert not (mask & ~torch.from_numpy(objects[index])).any()

    def test_patches_come_from_the_other_images(self, tmp_path):
        images = self.image_set()
        images.images[0], images.images[1] = 60, 200
        own = {"mask": "cutpaste_rectangle", "content": "normal_patch", "blending": "hard"}
        synthesis = SynthesisParams(strategy="swap", strategies={"swap": own})
        data = TrainingData.of(images, NO_TEXTURES, NO_OBJECTS, synthesis, 0, {}, tmp_path)
        batch = data.batches(0, decoder_params(batch_size=2), torch.device("cpu"))[0]
        inside = (batch.masks > 0).expand_as(batch.outliers)
        for i, index in enumerate(batch.indices.tolist()):
            values = (255 * batch.outliers[i][inside[i]]).round().unique().tolist()
            assert values == [[200.0], [60.0]][index]


def test_trained_model_is_scored_as_it_was_after_a_round_trip(
    model_params, training_data, normals, tmp_path
):
    model = initialise(model_params(), normals, 0)
    train_decoder(model, training_data(), decoder_params(train_student=True))
    TrainedModel(model, {}, 0.0, 0.0).save(tmp_path / "m")
    loaded = TrainedModel.load(Path(tmp_path / "m")).model
    assert same(loaded, state(model))
    with torch.no_grad():
        pairs = zip(model.eval()(normals / 255), loaded.eval()(normals / 255), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
