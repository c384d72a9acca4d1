"""What an operation's parameters may be, and how their values are stored as JSON and restored.

FastAPI solves and validates them in the request. Here each gets a Pydantic adapter of the same type, with
which its value is written down and validated again where the function runs. What no adapter can store is
refused when the function is declared, with what to write instead.
"""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from starlette.background import BackgroundTasks
from starlette.datastructures import UploadFile
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ..errors import Problem, SettingError
from .upload import StoredUpload, Upload

__all__ = ["Parameter", "Signature", "adapter", "dump", "signature_of"]

UNSTORABLE: tuple[tuple[type, str], ...] = (
    (
        HTTPConnection,
        "take what you need of it in a dependency that returns that, or as Header, Cookie or Query",
    ),
    (Response, "an operation answers by itself; return a value or publish a part"),
    (BackgroundTasks, "the operation is the background: call the function in it"),
)

Keep = Callable[[UploadFile], StoredUpload]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the function whose value is stored."""

    name: str
    adapter: Any
    upload: bool = False

    def store(self, value: Any, keep: Keep) -> msgspec.Raw:
        """The value as JSON; an upload becomes what ``keep`` says of its copy."""
        if not self.upload:
            return msgspec.Raw(dump(self.adapter, value))
        if isinstance(value, list | tuple | set | frozenset):
            return msgspec.Raw(msgspec.json.encode([keep(each) for each in value]))
        return msgspec.Raw(msgspec.json.encode(None if value is None else keep(value)))

    def restore(self, stored: msgspec.Raw) -> Any:
        """The value again, validated."""
        if not self.upload:
            return self.adapter.validate_json(bytes(stored), by_alias=False, by_name=True)
        found = msgspec.json.decode(stored, type=list[StoredUpload] | StoredUpload | None)
        if isinstance(found, list):
            return [Upload(each) for each in found]
        return None if found is None else Upload(found)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a declared function."""

    parameters: Mapping[str, Parameter]
    handle: str | None
    """The name of the parameter that gets the ``Operation``."""
    request: inspect.Signature
    """The signature that FastAPI is to solve: without ``handle``."""
    result: Any
    """The adapter of the return value."""
    annotation: Any = field(default=None)
    """The return annotation."""

    def store(self, values: Mapping[str, Any], keep: Keep) -> bytes:
        """The values of all parameters as one JSON object."""
        stored = {}
        for name, parameter in self.parameters.items():
            try:
                stored[name] = parameter.store(values[name], keep)
            except (ValueError, TypeError) as error:
                raise Problem(422, "This cannot be stored", f"The value of {name!r} is not JSON.") from error
        return msgspec.json.encode(stored)

    def restore(self, stored: bytes) -> dict[str, Any]:
        """The values of all parameters, validated again."""
        found = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
        if found.keys() != self.parameters.keys():
            raise ValueError(f"stored were {sorted(found)}, asked for are {sorted(self.parameters)}")
        return {name: self.parameters[name].restore(value) for name, value in found.items()}

    def with_uploads(self, stored: bytes, change: Callable[[StoredUpload], StoredUpload]) -> bytes:
        """What is stored with ``change`` made of each upload; what it raises passes."""
        names = [name for name, parameter in self.parameters.items() if parameter.upload]
        if not names:
            return stored
        found = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
        for name in names:
            given = msgspec.json.decode(found[name], type=list[StoredUpload] | StoredUpload | None)
            if isinstance(given, list):
                found[name] = msgspec.Raw(msgspec.json.encode([change(each) for each in given]))
            elif given is not None:
                found[name] = msgspec.Raw(msgspec.json.encode(change(given)))
        return msgspec.json.encode(found)

    def dump_result(self, value: Any) -> bytes:
        """The return value as JSON, by its annotation. Raises ``ValueError`` or ``TypeError``."""
        checked = self.result.validate_python(value, from_attributes=True)
        data: bytes = self.result.dump_json(checked, by_alias=True, warnings="error")
        return data


def signature_of(function: Callable[..., Any], handle_type: type) -> Signature:
    """What is to be known of a function. Raises ``SettingError`` for what cannot be an operation's."""
    name = getattr(function, "__qualname__", repr(function))
    _check_callable(function, name)
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise SettingError(f"An annotation of {name}() cannot be resolved: {error}.") from error
    handle, parameters, asked = None, {}, []
    for each in signature.parameters.values():
        if inspect.isclass(each.annotation) and issubclass(each.annotation, handle_type):
            if handle is not None:
                raise SettingError(f"{name}() takes two Operation parameters; one is enough.")
            handle = each.name
            continue
        _check_kind(each, name)
        parameters[each.name] = _parameter(each, name)
        asked.append(each.replace(annotation=_for_fastapi(each.annotation), kind=each.KEYWORD_ONLY))
    annotation = signature.return_annotation
    result = _result_adapter(annotation, name)
    return Signature(parameters, handle, inspect.Signature(asked), result, annotation)


def _check_callable(function: Callable[..., Any], name: str) -> None:
    if not callable(function):
        raise SettingError(f"An operation is a function, not {function!r}.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SettingError(f"{name}() yields: publish each item with op.part() and return the whole.")


def _check_kind(parameter: inspect.Parameter, name: str) -> None:
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
        raise SettingError(
            f"The parameter {parameter} of {name}() has no name in a request: write each one out."
        )


def _parameter(parameter: inspect.Parameter, name: str) -> Parameter:
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    annotation = _dependency_type(parameter, annotation, name)
    plain = _plain(annotation)
    for unstorable, way_out in UNSTORABLE:
        if inspect.isclass(plain) and issubclass(plain, unstorable):
            raise SettingError(f"{parameter.name}: {plain.__name__} of {name}() cannot be stored: {way_out}.")
    if _is_upload(annotation):
        return Parameter(parameter.name, None, upload=True)
    if _holds_upload(annotation, set()):
        raise SettingError(
            f"{parameter.name} of {name}() holds an UploadFile inside another type: "
            "make it a parameter of its own."
        )
    return Parameter(parameter.name, _storable(parameter.name, annotation, name))


def _dependency_type(parameter: inspect.Parameter, annotation: Any, name: str) -> Any:
    """The type of what a ``Depends`` gives; the annotation itself where there is none."""
    from fastapi import params

    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    marks = [each for each in (*metadata, parameter.default) if isinstance(each, params.Depends)]
    if not marks:
        return annotation
    call = marks[-1].dependency or _plain(annotation)
    target = call if inspect.isroutine(call) or inspect.isclass(call) else getattr(call, "__call__", call)  # noqa: B004
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise SettingError(
            f"{parameter.name} of {name}() is a `yield` dependency, whose value ends with the request: "
            "open it in the function, or depend on what it is opened from."
        )
    if annotation is not Any and _plain(annotation) is not Any:
        return _plain(annotation)
    if inspect.isclass(call):
        return call
    returned = inspect.signature(target, eval_str=True).return_annotation
    return Any if returned is inspect.Signature.empty else _plain(returned)


def _storable(parameter: str, annotation: Any, name: str) -> Any:
    from pydantic import PydanticUserError

    where = f"{parameter} of {name}()"
    try:
        made = adapter(_without_marks(annotation))
        schema = msgspec.json.encode(made.json_schema(mode="serialization"))
    except PydanticUserError as error:
        raise _not_storable(where, annotation) from error
    if b'"writeOnly":true' in schema:
        raise SettingError(f"{where} holds a secret, which is not stored: look it up in the function.")
    return made


def _not_storable(where: str, annotation: Any) -> SettingError:
    shown = getattr(annotation, "__name__", str(annotation))
    return SettingError(
        f"{where} is a {shown}, which cannot be stored as JSON: make it a Pydantic model or a dataclass, "
        "or pass a key and open it in the function."
    )


def _result_adapter(annotation: Any, name: str) -> Any:
    from pydantic import PydanticUserError

    if inspect.isclass(annotation) and issubclass(annotation, Response):
        raise SettingError(f"{name}() returns a Response: return a value, or publish bytes with op.part().")
    try:
        return adapter(Any if annotation is inspect.Signature.empty else annotation)
    except PydanticUserError as error:
        raise _not_storable(f"The return value of {name}()", annotation) from error


def adapter(annotation: Any) -> Any:
    """The Pydantic adapter of a type, with bytes as base64 and NaN as text where it does not say how."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # FastAPI's Query() and the like carry metadata that only FastAPI uses
        try:
            config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
            return TypeAdapter(annotation, config=config)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            return TypeAdapter(annotation)


def dump(made: Any, value: Any) -> bytes:
    """``value`` as JSON by its field names. Raises ``ValueError`` or ``TypeError`` for what is no JSON."""
    data: bytes = made.dump_json(value, by_alias=False, round_trip=True, warnings="error")
    return data


# Annotations


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _without_marks(annotation: Any) -> Any:
    """The annotation without FastAPI's own metadata, whose aliases and defaults belong to the request."""
    from fastapi import params

    if get_origin(annotation) is not Annotated:
        return annotation
    plain, *metadata = get_args(annotation)
    kept = [each for each in metadata if not isinstance(each, params.Param | params.Body | params.Depends)]
    return Annotated[(plain, *kept)] if kept else plain


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in {Union, types.UnionType}:
        return get_args(annotation)
    return (annotation,)


def _is_upload(annotation: Any) -> bool:
    """Whether it is an upload, several of them, or either one or none."""
    choices = [each for each in _choices(_plain(annotation)) if each is not type(None)]
    if len(choices) != 1:
        return False
    choice = _plain(choices[0])
    if get_origin(choice) in {list, tuple, set, frozenset} and get_args(choice):
        choice = _plain(get_args(choice)[0])
    return inspect.isclass(choice) and issubclass(choice, UploadFile)


def _holds_upload(annotation: Any, seen: set[Any]) -> bool:
    plain = _plain(annotation)
    if inspect.isclass(plain):
        if issubclass(plain, UploadFile):
            return True
        fields = getattr(plain, "model_fields", None)
        if not isinstance(fields, dict) or plain in seen:
            return False
        seen.add(plain)
        return any(_holds_upload(each.annotation, seen) for each in fields.values())
    return any(_holds_upload(each, seen) for each in get_args(plain))


def _for_fastapi(annotation: Any) -> Any:
    """The annotation with FastAPI's ``UploadFile`` where it says ``Upload``."""
    from fastapi import UploadFile as Solved

    if annotation is Upload:
        return Solved
    if not get_args(annotation):
        return annotation
    if get_origin(annotation) is Annotated:
        plain, *metadata = get_args(annotation)
        return Annotated[(_for_fastapi(plain), *metadata)]
    if get_origin(annotation) in {Union, types.UnionType}:
        return Union[tuple(_for_fastapi(each) for each in get_args(annotation))]  # noqa: UP007
    if get_origin(annotation) in {list, tuple, set, frozenset}:
        return get_origin(annotation)[tuple(_for_fastapi(each) for each in get_args(annotation))]
    return annotation
