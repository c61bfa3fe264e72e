"""Strategies composed by configuration, and the messages about what cannot be composed."""

import pytest
import torch

from daf_pipelines.errors import ParameterError
from daf_pipelines.parameters import SynthesisParams
from daf_pipelines.synthesis import STRATEGIES, Mixture, synthesise
from daf_pipelines.synthesis.blending import BLENDINGS
from daf_pipelines.synthesis.configured import configured_strategy
from daf_pipelines.synthesis.contents import CONTENTS
from daf_pipelines.synthesis.masks import MASKS
from daf_pipelines.synthesis.presets import STRATEGIES as PRESETS

PLAIN = {"mask": "perlin", "content": "plain_colour"}


def configured(name="mine", **strategies):
    return configured_strategy(SynthesisParams(strategy=name, strategies=strategies))


class TestPresets:
    @pytest.mark.parametrize("name", sorted(PRESETS))
    def test_by_name(self, name):
        assert configured_strategy(SynthesisParams(strategy=name)) is STRATEGIES[name]

    @pytest.mark.parametrize("name", sorted(PRESETS))
    def test_on_the_object(self, name):
        strategy = configured_strategy(SynthesisParams(strategy=name, foreground="object"))
        assert strategy.needs_object
        everywhere = configured_strategy(SynthesisParams(strategy=name, foreground="none"))
        assert not everywhere.needs_object


class TestOwn:
    def test_operators_by_name_and_with_parameters(self):
        strategy = configured(
            mine={
                "mask": {"name": "perlin", "threshold": 0.4},
                "content": "plain_colour",
                "blending": {"name": "opacity", "image_share": [0.1, 0.2]},
                "foreground": "object",
                "repeats": 3,
                "area": [0.01, 0.3],
                "tolerance": 2,
            }
        )
        described = strategy.describe()
        assert described["mask"]["name"] == "perlin"
        assert described["mask"]["threshold"] == 0.4
        assert described["blending"]["image_share"] == [0.1, 0.2]
        rest = {k: described[k] for k in ("foreground", "repeats", "area", "tolerance")}
        assert rest == {
            "foreground": "object",
            "repeats": 3,
            "area": [0.01, 0.3],
            "tolerance": 2.0,
        }

    @pytest.mark.parametrize("mask", sorted(MASKS))
    def test_every_mask(self, mask):
        self.make(configured(mine=PLAIN | {"mask": mask}))

    @pytest.mark.parametrize("content", sorted(CONTENTS))
    def test_every_content(self, content):
        self.make(configured(mine=PLAIN | {"content": content}))

    @pytest.mark.parametrize("blending", sorted(BLENDINGS))
    def test_every_blending(self, blending):
        noise = {"name": "plain_texture", "kinds": ["noise"]}  # flat ones have no gradients
        self.make(configured(mine=PLAIN | {"content": noise, "blending": blending}))

    def make(self, strategy):
        noise = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
        images = 0.4 + noise / 50
        outliers = synthesise(images, strategy, [1, 2])
        assert (outliers.images != images).flatten(1).any(dim=1).all()

    @pytest.mark.parametrize("name", sorted(PRESETS))
    def test_what_describes_a_preset_configures_it(self, name):
        described = STRATEGIES[name].describe()
        for part in described.get("parts", {name: described}).values():
            assert configured(mine=part).describe() == part

    def test_mixture_of_presets_and_own(self):
        strategy = configured("both", mine=PLAIN, both={"mixture": {"mine": 1, "cutpaste": 3}})
        assert isinstance(strategy, Mixture)
        assert strategy.weights == {"mine": 1, "cutpaste": 3}
        assert strategy.parts["cutpaste"] is STRATEGIES["cutpaste"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("own", "expected"),
        [
            (
                PLAIN | {"mask": "perlim"},
                ["strategies.mine.mask: unknown mask 'perlim'; did you mean 'perlin'?", "scar"],
            ),
            (
                PLAIN | {"mask": {"threshold": 1}},
                ["strategies.mine.mask: the name is missing", "perlin"],
            ),
            (PLAIN | {"content": "colour"}, ["unknown content 'colour'", "plain_colour"]),
            (PLAIN | {"blending": "poison"}, ["unknown blending", "did you mean 'poisson'?"]),
            (
                PLAIN | {"mask": {"name": "perlin", "treshold": 1}},
                ["strategies.mine.mask: unknown parameter 'treshold'", "name,", "threshold"],
            ),
            (
                PLAIN | {"mask": {"name": "perlin", "threshold": "high"}},
                ["strategies.mine.mask: threshold:", "number", "'high'"],
            ),
            (
                PLAIN | {"blending": {"name": "opacity", "image_share": [0.8, 0.2]}},
                ["strategies.mine.blending: image_share:", "a lower and an upper bound", "0.8"],
            ),
            ({"mixture": {"mima": 1}}, ["strategies.mine.mixture: unknown strategy 'mima'"]),
            ({"mixture": {"memseg": 1}}, ["'memseg' is a mixture itself", "texture, structure"]),
            (
                PLAIN | {"content": {"name": "own_patch", "jitter": -1}},
                ["strategies.mine.content: jitter:", "greater than or equal to 0", "-1"],
            ),
            (
                PLAIN | {"content": {"name": "plain_texture", "kinds": []}},
                ["strategies.mine.content: kinds:", "at least 1"],
            ),
            (
                PLAIN | {"mask": {"name": "strokes", "width": 3}},
                ["width: expected a list, such as [lower, upper]; got 3"],
            ),
            (
                PLAIN | {"mask": {"name": "strokes", "width": [1, float("inf")]}},
                ["strategies.mine.mask: width:", "finite"],
            ),
        ],
        ids=str,
    )
    def test_message(self, own, expected):
        with pytest.raises(ParameterError) as caught:
            configured(mine=own)
        assert all(part in str(caught.value) for part in expected), caught.value

    def test_unknown_name_lists_own_ones(self):
        with pytest.raises(ParameterError, match=r"did you mean 'mine'\?.* mine,"):
            configured("mime", mine=PLAIN)

    def test_name_of_a_preset(self):
        with pytest.raises(ParameterError, match="'draem' is the name of a preset"):
            configured("draem", draem=PLAIN)
