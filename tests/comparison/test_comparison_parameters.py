"""What `comparison.` may be set to."""

import pytest
from pydantic import ValidationError

from daf_pipelines.parameters import ComparisonParams


class TestRuns:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (None, None),
            ("abc", ("abc",)),
            ("abc  some-name", ("abc", "some-name")),
            (12345678, ("12345678",)),  # an id that the command line takes for a number
            (["a name", 7], ("a name", "7")),
        ],
    )
    def test_as_given(self, given, expected):
        assert ComparisonParams(runs=given).runs == expected

    @pytest.mark.parametrize("given", [[], "", [""], {"a": 1}])
    def test_refused(self, given):
        with pytest.raises(ValidationError):
            ComparisonParams(runs=given)

    def test_either_runs_or_filter(self):
        with pytest.raises(ValidationError, match="either `runs` or `filter`"):
            ComparisonParams(runs=["a"], filter="tags.strategy = 'nsa'")
