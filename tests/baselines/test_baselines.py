"""The other methods: their maps and scores against plain formulas, what trains them, and on disk.

In one file, so that one process of the tests loads and trains them.
"""

import copy
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional as F

from daf_pipelines.errors import DAFError, ParameterError
from daf_pipelines.models.network import Baseline
from daf_pipelines.models.trained import TrainedModel
from daf_pipelines.parameters import ScoringParams, SynthesisParams, TeacherParams
from daf_pipelines.scoring.detector import Detector, Prediction
from daf_pipelines.sources.image_set import ImageSet

if importlib.util.find_spec("anomalib") is None:  # which takes ten seconds to import
    pytest.skip("the extra baselines is not installed", allow_module_level=True)

METHODS = ("patchcore", "stfpm", "draem")
SIZE = 64


@pytest.fixture
def images(cells: ImageSet) -> NDArray[np.uint8]:
    """Three cells (3, 64, 64, 3), upside down: of them nothing is known by heart."""
    return cells.images[:3, ::-1].copy()


def scored(network: Baseline, images: NDArray[np.uint8]) -> Prediction:
    return Detector(network, ScoringParams(), SIZE).score(images)


def as_input(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


class TestPatchCore:
    """Roth et al., "Towards Total Recall in Industrial Anomaly Detection", arXiv 2106.08265."""

    @pytest.fixture
    def patches(self, networks: dict[str, Baseline], images: NDArray[np.uint8]) -> Tensor:
        """Locally averaged features at strides 8 and 16, side by side: (3, 8, 8, channels)."""
        network = networks["patchcore"].eval()
        with torch.no_grad():
            _, fine, coarse = network.model.feature_extractor.backbone(as_input(images))
        fine, coarse = (F.avg_pool2d(f, 3, 1, 1) for f in (fine, coarse))
        coarse = F.interpolate(coarse, scale_factor=2, mode="bilinear")
        return torch.cat([fine, coarse], 1).permute(0, 2, 3, 1)

    def test_maps_are_distances_to_the_nearest_patch(
        self, networks: dict[str, Baseline], images: NDArray[np.uint8], patches: Tensor
    ) -> None:
        bank = networks["patchcore"].model.memory_bank
        nearest = cdist(patches.flatten(0, 2), bank).min(axis=1).reshape(3, 8, 8)
        large = nearest.repeat(8, axis=1).repeat(8, axis=2)
        expected = [gaussian_filter(m, 4.0, mode="mirror", truncate=4.0) for m in large]
        found = scored(networks["patchcore"], images).maps
        np.testing.assert_allclose(found, expected, rtol=1e-3)

    def test_scores_are_weighted_by_the_neighbourhood(
        self, networks: dict[str, Baseline], images: NDArray[np.uint8], patches: Tensor
    ) -> None:
        bank = networks["patchcore"].model.memory_bank.numpy()
        expected = []
        for of_image in patches.flatten(1, 2).numpy():
            distances = cdist(of_image, bank)
            worst = distances.min(axis=1).argmax()  # m^test,*
            nearest = distances[worst].argmin()  # m*
            around = cdist(bank[[nearest]], bank)[0].argsort()[:9]  # N_b(m*), m* the first
            weight = 1 - softmax(distances[worst][around])[0]
            expected.append(weight * distances[worst][nearest])
        found = scored(networks["patchcore"], images).scores
        np.testing.assert_allclose(found, expected, rtol=1e-3)


class TestStfpm:
    """Wang et al., "Student-Teacher Feature Pyramid Matching", arXiv 2103.04257."""

    def test_maps_are_products_of_the_levels(
        self, networks: dict[str, Baseline], images: NDArray[np.uint8]
    ) -> None:
        network = networks["stfpm"].eval()
        with torch.no_grad():
            pairs = zip(
                network.teacher(as_input(images)), network.student(as_input(images)), strict=True
            )
        expected = torch.ones(3, 1, SIZE, SIZE)
        for teacher, student in pairs:  # half the squared distance of unit vectors
            distance = 1 - F.cosine_similarity(teacher, student)[:, None]
            expected *= F.interpolate(distance, (SIZE, SIZE), mode="bilinear")
        found = scored(networks["stfpm"], images)
        np.testing.assert_allclose(found.maps, expected[:, 0], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.scores, found.maps.max(axis=(1, 2)))

    def test_the_teacher_stays_as_it_is(self, networks: dict[str, Baseline]) -> None:
        network = networks["stfpm"].train()
        assert not network.teacher.training
        assert not any(p.requires_grad for p in network.teacher.parameters())


class TestDraem:
    """Zavrtanik et al., "DRAEM", arXiv 2108.07610."""

    def test_maps_are_probabilities_and_scores_their_maxima(
        self, networks: dict[str, Baseline], images: NDArray[np.uint8]
    ) -> None:
        found = scored(networks["draem"], images)
        assert found.maps.shape == (3, SIZE, SIZE)
        assert 0 < found.maps.min() < found.maps.max() < 1
        np.testing.assert_array_equal(found.scores, found.maps.max(axis=(1, 2)))


class TestOnDisk:
    @pytest.mark.parametrize("method", METHODS)
    def test_scores_are_the_same_after_loading(
        self,
        method: str,
        networks: dict[str, Baseline],
        images: NDArray[np.uint8],
        tmp_path: Path,
    ) -> None:
        expected = scored(networks[method], images)
        TrainedModel(networks[method], {"a": 1}, 2.0, 3.0).save(tmp_path / "trained")
        model = TrainedModel.load(tmp_path / "trained").model
        Detector(model, ScoringParams(), SIZE).save(tmp_path / "detector")
        for found in (scored(model, images), Detector.load(tmp_path / "detector").score(images)):
            np.testing.assert_array_equal(found.scores, expected.scores)
            np.testing.assert_array_equal(found.maps, expected.maps)

    def test_without_anomalib(
        self, networks: dict[str, Baseline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        TrainedModel(networks["stfpm"], {}, 2.0, 3.0).save(tmp_path)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(DAFError, match=r"^The method stfpm .* not installed: .*baselines\]"):
            TrainedModel.load(tmp_path)


def weights(network: Baseline) -> Tensor:
    tensors = [t.double().flatten() for t in network.state_dict().values()]
    return torch.cat(tensors)


class TestSeed:
    @pytest.mark.parametrize("method", METHODS)
    def test_the_same_seed_leads_to_the_same_weights(
        self, method: str, networks: dict[str, Baseline], train
    ) -> None:
        torch.manual_seed(5)  # the state of the global generator does not matter
        assert torch.equal(weights(train(method)[0]), weights(networks[method]))

    @pytest.mark.parametrize("method", ["patchcore", "stfpm"])
    def test_another_seed_leads_to_others(
        self, method: str, networks: dict[str, Baseline], train
    ) -> None:
        assert not torch.equal(weights(train(method, seed=1)[0]), weights(networks[method]))


class TestPatches:
    @pytest.fixture
    def seen(self, cells: ImageSet, networks: dict[str, Baseline]):
        from daf_pipelines.baselines.training import as_tensor, see_patches

        def see(most: int) -> Tensor:
            return see_patches(networks["patchcore"], as_tensor(cells), most, 0)

        return see

    def test_all_of_them(self, seen, cells: ImageSet, networks: dict[str, Baseline]) -> None:
        inputs = torch.from_numpy(cells.images[:]).permute(0, 3, 1, 2) / 255
        expected = networks["patchcore"].patches(inputs)
        assert len(expected) == len(cells) * 8 * 8
        torch.testing.assert_close(seen(10**6), expected)

    def test_some_of_them(self, seen) -> None:
        every, some = seen(10**6), seen(100)
        assert len(some) == 100
        found = (some[:, None] == every[None]).all(-1).any(1)
        assert found.all()

    def test_the_bank_has_its_share_of_those_drawn(self, networks: dict[str, Baseline]) -> None:
        assert len(networks["patchcore"].model.memory_bank) == 40  # 10 % of 400


class TestCoreset:
    def test_no_cluster_is_left_out(self) -> None:
        """One patch of each of five clusters, however few are in it."""
        from daf_pipelines.baselines.training import choose_coreset

        generator = torch.Generator().manual_seed(0)
        centres = 100 * torch.eye(5, 32)
        sizes = torch.tensor([80, 10, 5, 4, 1])
        patches = centres.repeat_interleave(sizes, 0)
        patches += torch.rand(patches.shape, generator=generator)
        chosen = choose_coreset(patches, 0.05, seed=0)
        assert sorted(torch.cdist(chosen, centres).argmin(1).tolist()) == [0, 1, 2, 3, 4]

    def test_the_choice_is_that_of_anomalib(self) -> None:
        from anomalib.models.components import KCenterGreedy

        from daf_pipelines.baselines.training import Coreset

        patches = torch.rand(300, 40, generator=torch.Generator().manual_seed(0))
        chosen = []
        for sampler in (kind(patches, 0.2) for kind in (KCenterGreedy, Coreset)):
            sampler.model.random_state = np.random.RandomState(0)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                chosen.append(sampler.select_coreset_idxs())
        assert chosen[0] == chosen[1]
        assert len(set(chosen[0])) == 60

    def test_less_than_a_patch(self) -> None:
        from daf_pipelines.baselines.training import choose_coreset

        with pytest.raises(ParameterError, match=r"coreset: 0\.01 of 50 patches"):
            choose_coreset(torch.rand(50, 8), 0.01, seed=0)


class TestSteps:
    def test_the_student_comes_closer(self, cells: ImageSet, train) -> None:
        from daf_pipelines.baselines.training import as_tensor, initialise, train_stfpm

        network = initialise("stfpm", TeacherParams(), 0).train()
        history = train_stfpm(network, as_tensor(cells), len(cells), 0, [0.0] * 6)
        assert history["step"].tolist() == list(range(6))
        assert history["loss"].iloc[-1] < 0.9 * history["loss"].iloc[0]

    def test_the_rate_drops_at_four_and_six_sevenths(
        self, cells: ImageSet, networks: dict[str, Baseline]
    ) -> None:
        from daf_pipelines.baselines.training import draem_batches, train_draem

        network = copy.deepcopy(networks["draem"]).train()  # made in seconds, copied at once
        nothing = np.empty(0, np.uint8)
        batches = draem_batches(
            cells, nothing, nothing, SynthesisParams(), 2, 0, torch.device("cpu")
        )
        history = train_draem(network, batches, [0.5, 0.6, 0.9])
        assert history["learning_rate"].tolist() == pytest.approx([1e-4, 1e-5, 1e-6])
        assert history["loss"].gt(0).all()
