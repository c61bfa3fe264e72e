"""What masks, contents and blendings have in common: random draws, sources, parameters.

An operator is a function on a batch, of one of three kinds:

- mask: ``(images, draws) -> masks``, where an outlier lies;
- content: ``(images, masks, draws, sources) -> contents``, what it looks like;
- blending: ``(images, contents, masks, draws) -> blended``, how it is put in.

Images, contents and blended images are ``(B, C, H, W)`` float32 in [0, 1] with C up to 3, masks
``(B, 1, H, W)`` bool, none empty. Parameters are keyword-only, with the published values as
defaults, and annotated: the annotation is what configuration is checked against. Image i draws from
generator i alone, and tensor operations are element-wise or exact, so that an outlier does not
depend on the rest of its batch. ``Operator`` is the module of any such function.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic_core import to_jsonable_python
from torch import Tensor, nn

from daf_pipelines.sources.images import Box

Draws = Sequence[np.random.Generator]
"""One generator per image of the batch."""

MaskFunction = Callable[..., Tensor]
"""``(images, draws, **parameters) -> masks``"""

ContentFunction = Callable[..., Tensor]
"""``(images, masks, draws, sources, **parameters) -> contents``"""

BlendingFunction = Callable[..., Tensor]
"""``(images, contents, masks, draws, **parameters) -> blended``"""


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("expected a lower and an upper bound, in this order")
    return bounds


_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_PositiveShare = Annotated[float, Field(gt=0, le=1)]
_PositiveInt = Annotated[int, Field(ge=1)]

PositiveRange = Annotated[tuple[_Positive, _Positive], AfterValidator(_ordered)]
"""Lower and upper bound of a uniform draw."""
ShareRange = Annotated[tuple[_Share, _Share], AfterValidator(_ordered)]
AreaRange = Annotated[tuple[_PositiveShare, _PositiveShare], AfterValidator(_ordered)]
"""Bounds of an area, fractions of the image."""
CountRange = Annotated[tuple[_PositiveInt, _PositiveInt], AfterValidator(_ordered)]
"""Smallest and largest number, both included."""


@dataclass(frozen=True)
class Sources:
    """What contents are made of, beside the image itself.

    Attributes:
        textures: Bank of texture photographs, uint8 ``(T, 3, h, w)``; None: procedural plain
            textures in their place.
        normals: Normal images to take patches from, uint8 ``(N, C, H, W)`` of the images' size;
            None: the images of the batch themselves, each for itself.
        own: Which of ``normals`` each image of the batch is, so that it is not taken for another
            one; None: none of them.
        boxes: The part of each of ``normals`` that is not padding; None: all of it.
        foregrounds: Where the object is in each of ``normals``, bool ``(N, 1, H, W)``; None: not
            asked for.
    """

    textures: Tensor | None = None
    normals: Tensor | None = None
    own: Sequence[int] | None = None
    boxes: Sequence[Box] | None = None
    foregrounds: Tensor | None = None

    def of(self, rows: Sequence[int]) -> "Sources":
        """The same for some images of the batch."""
        own = None if self.own is None else [self.own[i] for i in rows]
        return replace(self, own=own)


_NAMES: dict[Callable[..., Tensor], str] = {}


class Operator(nn.Module):
    """An operator's function together with its parameters.

    Args:
        function: A mask, content or blending function.
        parameters: Its keyword-only parameters; what is left out keeps its default.

    Raises:
        pydantic.ValidationError: A parameter that the function does not have, or a bad value.

    Example:
        >>> from daf_pipelines.synthesis.masks import rectangle_mask
        >>> Operator(rectangle_mask)
        Operator(rectangle_mask)
    """

    def __init__(self, function: Callable[..., Tensor], **parameters: Any) -> None:
        super().__init__()
        self.function = function
        self.settings = dict(_schema(function).model_validate(parameters))
        self.chosen = sorted(parameters)

    def forward(self, *inputs: Any) -> Tensor:
        """Call the function with its parameters."""
        return self.function(*inputs, **self.settings)

    def describe(self) -> dict[str, Any]:
        """Name and all parameters as configuration takes them, plain JSON values."""
        name = _NAMES.get(self.function, self.function.__name__)
        return {"name": name, **to_jsonable_python(self.settings)}

    def extra_repr(self) -> str:
        """The function and the parameters that were set."""
        chosen = [f"{name}={self.settings[name]!r}" for name in self.chosen]
        return ", ".join([self.function.__name__, *chosen])


def named(functions: dict[str, Callable[..., Tensor]]) -> dict[str, Callable[..., Tensor]]:
    """Functions by the names that configuration gives them, and operators describe them by."""
    _NAMES.update({function: name for name, function in functions.items()})
    return functions


def parameters_of(function: Callable[..., Tensor]) -> Mapping[str, inspect.Parameter]:
    """The keyword-only parameters of an operator's function."""
    parameters = inspect.signature(function).parameters
    return {k: p for k, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _schema(function: Callable[..., Tensor]) -> type[BaseModel]:
    fields: Any = {k: (p.annotation, p.default) for k, p in parameters_of(function).items()}
    config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    return create_model(function.__name__, __config__=config, **fields)
