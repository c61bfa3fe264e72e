"""What messages tell of other errors."""

from typing import Self

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from daf_pipelines.errors import faults_of, first_line


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width < 0:
            raise ValueError("width must not be negative")
        return self


class Whole(BaseModel):
    parts: list[Part]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"parts": [{"width": "x"}]}, "a.parts.0.width: Input should be a valid integer"),
        ({"parts": [{"width": "x"}]}, "; got 'x'"),
        ({"parts": [{"widht": 3}]}, "a.parts.0.widht: Extra inputs are not permitted; got 3"),
        ({"parts": [{"width": -1}]}, "a.parts.0: width must not be negative"),
        ({}, "a.parts: Field required"),
        (None, "a: Input should be a valid dictionary or instance of Whole; got None"),
    ],
)
def test_where_what_and_what_arrived(given: object, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(given)
    text = faults_of(caught.value, "a")
    assert told in text
    assert "Value error" not in text
    assert "{" not in text


def test_all_that_is_wrong_from_the_top() -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate({"parts": [{"width": "x"}, {"widht": 1}]})
    assert faults_of(caught.value).count("; got ") == 2
    assert faults_of(caught.value).startswith("parts.0.width: ")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("not there\nmore"), "not there"),
        (ValueError("\n  of no use\n"), "of no use"),
        (TimeoutError(), "TimeoutError, no details"),
        (RuntimeError(" \n"), "RuntimeError, no details"),
    ],
)
def test_first_line(error: Exception, expected: str) -> None:
    assert first_line(error) == expected
