import pickle

import pytest
import torch
from pydantic import ValidationError

from daf_pipelines.synthesis import STRATEGIES, Operator, Sources
from daf_pipelines.synthesis.blending import BLENDINGS, opacity_blending
from daf_pipelines.synthesis.contents import CONTENTS
from daf_pipelines.synthesis.masks import MASKS, perlin_mask
from daf_pipelines.synthesis.operators import parameters_of

FUNCTIONS = MASKS | CONTENTS | BLENDINGS


class TestOperator:
    def test_is_the_function_with_its_parameters(self):
        def scaled(images, draws, *, factor: float = 2.0):
            return factor * images + len(draws)

        images = torch.ones(1, 1, 2, 2)
        assert Operator(scaled)(images, [None])[0, 0, 0, 0] == 3
        assert Operator(scaled, factor=5)(images, [None])[0, 0, 0, 0] == 6

    def test_shows_what_was_set(self):
        assert repr(Operator(perlin_mask)) == "Operator(perlin_mask)"
        assert repr(Operator(perlin_mask, threshold=0.4)) == "Operator(perlin_mask, threshold=0.4)"

    def test_describes_all(self):
        described = Operator(opacity_blending, image_share=(0.1, 0.2)).describe()
        assert described == {"name": "opacity", "image_share": [0.1, 0.2]}

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"thresh": 0.4}, "thresh"),
            ({"threshold": "high"}, "valid number"),
            ({"scales": []}, "scales"),
        ],
    )
    def test_refuses_what_the_function_cannot_take(self, parameters, message):
        with pytest.raises(ValidationError, match=message):
            Operator(perlin_mask, **parameters)

    @pytest.mark.parametrize("name", sorted(FUNCTIONS))
    def test_every_function_has_typed_parameters_and_says_where_it_comes_from(self, name):
        function = FUNCTIONS[name]
        Operator(function)
        for parameter in parameters_of(function).values():
            assert parameter.annotation is not parameter.empty
            assert f"{parameter.name}: " in function.__doc__
        assert "Returns:" in function.__doc__

    @pytest.mark.parametrize("name", sorted(STRATEGIES))
    def test_strategies_travel_to_other_processes(self, name):
        copied = pickle.loads(pickle.dumps(STRATEGIES[name]))
        assert copied.describe() == STRATEGIES[name].describe()
        assert isinstance(copied, type(STRATEGIES[name]))


class TestSources:
    def test_of_some_rows(self):
        sources = Sources(normals=torch.zeros(4, 3, 8, 8).byte(), own=[3, 1, 2])
        assert sources.of([2, 0]).own == [2, 3]
        assert sources.of([2, 0]).normals is sources.normals
        assert Sources().of([0]).own is None
