"""The public surface: what ``restive`` exports is there, documented, and nothing else is."""

from __future__ import annotations

import inspect

import pytest

import restive
import restive.testing


@pytest.mark.parametrize("module", [restive, restive.testing])
def test_all_is_sorted_and_complete(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]
    assert sorted(names, key=str) == sorted(set(names), key=str)
    for name in names:
        assert hasattr(module, name), name


@pytest.mark.parametrize("name", restive.__all__)
def test_every_public_name_and_method_has_a_docstring(name: str) -> None:
    thing = getattr(restive, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for method, value in vars(thing).items():
            if not method.startswith("_") and inspect.isfunction(value):
                assert inspect.getdoc(value), f"{name}.{method}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = restive.nothing_here  # type: ignore[attr-defined]
