"""Training of the other methods: what decides it, and what it makes of it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from daf_pipelines.errors import ParameterError
from daf_pipelines.models.network import Baseline
from daf_pipelines.parameters import SynthesisParams, TeacherParams
from daf_pipelines.sources.image_set import ImageSet

METHODS = ("patchcore", "stfpm", "draem")


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

    def test_the_rate_drops_at_four_and_six_sevenths(self, cells: ImageSet) -> None:
        from daf_pipelines.baselines.training import draem_batches, initialise, train_draem

        network = initialise("draem", TeacherParams(), 0).train()
        nothing = np.empty(0, np.uint8)
        batches = draem_batches(
            cells, nothing, nothing, SynthesisParams(), 2, 0, torch.device("cpu")
        )
        history = train_draem(network, batches, [0.5, 0.6, 0.9])
        assert history["learning_rate"].tolist() == pytest.approx([1e-4, 1e-5, 1e-6])
        assert history["loss"].gt(0).all()
