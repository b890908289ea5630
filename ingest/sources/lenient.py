"""Fields of a catalogue's answers that a scene can do without: an odd one must not cost the scene."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BeforeValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator


def _none_if_invalid(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    try:
        return validate(value)
    except ValidationError:
        return None


_T = TypeVar("_T")
Lenient = Annotated[_T | None, WrapValidator(_none_if_invalid)]
EmptyIfOdd = BeforeValidator(lambda value: value if isinstance(value, dict) else {})
