from daf_pipelines.scoring.footprint import REPEATS, WARM_UP, footprint


class TestFootprint:
    def test_size_is_that_of_the_saved_weights(self, make_detector, tmp_path):
        detector = make_detector()
        detector.save(tmp_path / "d")
        saved = (tmp_path / "d" / "model.safetensors").stat().st_size / 2**20
        assert 0.95 * saved < footprint(detector)["model_mib"] < saved  # less the file's header

    def test_latency_is_of_one_image(self, make_detector, monkeypatch):
        detector, shapes = make_detector(), []
        score = detector.score_batch
        monkeypatch.setattr(detector, "score_batch", lambda x: shapes.append(x.shape) or score(x))
        assert footprint(detector)["latency_ms"] > 0
        assert shapes == [(1, 96, 96, 3)] * (WARM_UP + REPEATS)
