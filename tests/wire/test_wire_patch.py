"""JSON Patch: what diff makes, apply carries out; the jsonpatch library is the oracle."""

from __future__ import annotations

import copy

import jsonpatch
import jsonpointer
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restive.wire.patch import apply, diff

names = st.text("ab/~0 \u00e9", max_size=3)
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.text("ab", max_size=3)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)


def json(document):
    """The document as text in which equal documents are equal, and nothing else."""
    return msgspec.json.encode(document, order="sorted")


def json_equal(a, b):
    """As ``json``, but 1 and 1.0 are one number, and so are 0.0 and -0.0 (RFC 6902, section 4.6)."""
    return json(as_floats(a)) == json(as_floats(b))


def as_floats(value):
    if isinstance(value, dict):
        return {name: as_floats(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return value if isinstance(value, bool) or not isinstance(value, int | float) else float(value) + 0.0


@given(documents, documents)
def test_diff_and_apply_are_inverse(a, b):
    before = json([a, b])
    ops = diff(a, b)
    assert json(apply(a, ops)) == json(b)
    assert json([a, b]) == before


@given(documents, documents)
def test_another_implementation_carries_out_our_patches(a, b):
    assert json(jsonpatch.apply_patch(copy.deepcopy(a), diff(a, b))) == json(b)


@given(documents, documents)
def test_a_patch_is_never_bigger_than_a_replacement(a, b):
    assert len(json(diff(a, b))) <= len(json([{"op": "replace", "path": "", "value": b}]))


@given(documents)
def test_the_same_document_needs_no_operation(a):
    assert diff(a, copy.deepcopy(a)) == []


paths = st.sampled_from(
    ["", "/", "/a", "/b", "/a/a", "/a/b", "/a/-", "/-", "/0", "/1", "/2", "/01", "/0/a", "/~0", "/~1a"]
)
operations = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": paths,
        "from": paths,
        "value": documents,
    }
)
# The oracle knows no document that was removed and then added again; RFC 6902 says nothing of it.
operations = operations.filter(lambda op: (op["op"], op["path"]) != ("remove", ""))
small = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "~", "/a"]), inner)
    ),
    max_leaves=8,
)


@given(small, st.lists(operations, min_size=1, max_size=4))
def test_any_patch_gives_what_the_oracle_gives(document, ops):
    before = json([document, ops])
    try:
        expected = jsonpatch.apply_patch(document, ops)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError):
        expected = ValueError
    try:
        made = apply(document, ops)
    except ValueError:
        made = ValueError
    assert json([document, ops]) == before
    if made is ValueError or expected is ValueError:
        assert made is expected
    else:
        assert json_equal(made, expected)


@pytest.mark.parametrize(
    ("a", "b", "ops"),
    [
        ({"n": 1, "m": [1, 2, 3]}, {"n": 2, "m": [1, 2, 3]}, [{"op": "replace", "path": "/n", "value": 2}]),
        ([*range(50)], [*range(20), 99, *range(20, 50)], [{"op": "add", "path": "/20", "value": 99}]),
        ([*range(50)], [*range(20), *range(21, 50)], [{"op": "remove", "path": "/20"}]),
        ([*range(50)], [*range(51)], [{"op": "add", "path": "/50", "value": 50}]),
        (
            [{"id": n, "state": "open"} for n in range(9)],
            [{"id": n, "state": "open" if n != 4 else "paid"} for n in range(9)],
            [{"op": "replace", "path": "/4/state", "value": "paid"}],
        ),
        ({"a/b": {"m~n": [0] * 30}}, {"a/b": {"m~n": [0] * 29}}, [{"op": "remove", "path": "/a~1b/m~0n/29"}]),
        (
            {"a": 1, "z": "z" * 99},
            {"b": 1, "z": "z" * 99},
            [{"op": "remove", "path": "/a"}, {"op": "add", "path": "/b", "value": 1}],
        ),
        (1, True, [{"op": "replace", "path": "", "value": True}]),
        ([[0, "z" * 99]], [[False, "z" * 99]], [{"op": "replace", "path": "/0/0", "value": False}]),
        ({"z": "z" * 99, "a": None}, {"z": "z" * 99}, [{"op": "remove", "path": "/a"}]),
    ],
)
def test_a_patch_is_small(a, b, ops):
    assert diff(a, b) == ops


def test_what_differs_far_down_is_replaced_higher_up():
    a, b = 1, 2
    for _ in range(100):
        a, b = [a, "z" * 99], [b, "z" * 99]
    ops = diff(a, b)
    assert ops[0]["path"] == "/0" * 64
    assert json(apply(a, ops)) == json(b)


@pytest.mark.parametrize(
    ("document", "op", "result"),
    [
        # RFC 6902, appendix A
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"baz": "qux", "foo": "bar"}),
        (
            {"foo": ["bar", "baz"]},
            {"op": "add", "path": "/foo/1", "value": "qux"},
            {"foo": ["bar", "qux", "baz"]},
        ),
        ({"baz": "qux", "foo": "bar"}, {"op": "remove", "path": "/baz"}, {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, {"op": "remove", "path": "/foo/1"}, {"foo": ["bar", "baz"]}),
        ({"foo": "bar"}, {"op": "replace", "path": "/foo", "value": None}, {"foo": None}),
        ({"a": {"b": 1}, "c": {}}, {"op": "move", "from": "/a/b", "path": "/c/d"}, {"a": {}, "c": {"d": 1}}),
        ({"foo": [1, 2, 3, 4]}, {"op": "move", "from": "/foo/1", "path": "/foo/3"}, {"foo": [1, 3, 4, 2]}),
        (
            {"foo": "bar"},
            {"op": "add", "path": "/child", "value": {"g": {}}},
            {"foo": "bar", "child": {"g": {}}},
        ),
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": 1, "xyz": 123}, {"foo": "bar", "baz": 1}),
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}),
        ({"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["abc"]}, {"foo": ["bar", ["abc"]]}),
        # the root, the empty name, numbers
        ({"a": 1}, {"op": "replace", "path": "", "value": [1]}, [1]),
        ({"a": 1}, {"op": "add", "path": "", "value": 2}, 2),
        ({"a": 1}, {"op": "copy", "from": "", "path": "/b"}, {"a": 1, "b": {"a": 1}}),
        ({"a": 1}, {"op": "move", "from": "/a", "path": ""}, 1),
        ({"a": 1}, {"op": "move", "from": "", "path": ""}, {"a": 1}),
        ({"a": 1}, {"op": "move", "from": "/a", "path": "/a"}, {"a": 1}),
        ({"": 1}, {"op": "replace", "path": "/", "value": 2}, {"": 2}),
        ({"0": 1}, {"op": "remove", "path": "/0"}, {}),
        (
            [1.0, True, {"a": [2]}],
            {"op": "test", "path": "", "value": [1, True, {"a": [2.0]}]},
            [1.0, True, {"a": [2]}],
        ),
    ],
)
def test_each_operation(document, op, result):
    assert json(apply(document, [op])) == json(result)


@pytest.mark.parametrize(
    ("document", "op"),
    [
        ({}, {}),
        ({}, "remove"),
        ({}, None),
        ({}, {"op": "remove"}),
        ({}, {"op": None, "path": ""}),
        ({}, {"op": ["add"], "path": "", "value": 1}),
        ({}, {"op": "increment", "path": "/a", "value": 1}),
        ({}, {"op": "add", "path": "/a"}),
        ({}, {"op": "add", "path": "a", "value": 1}),
        ({}, {"op": "add", "path": 7, "value": 1}),
        ({}, {"op": "add", "path": "/a~2", "value": 1}),
        ({}, {"op": "add", "path": "/a~", "value": 1}),
        ({}, {"op": "add", "path": "/a/b", "value": 1}),
        ({"a": 1}, {"op": "add", "path": "/a/b", "value": 1}),
        ({"a": "xy"}, {"op": "remove", "path": "/a/0"}),
        ({"a": "xy"}, {"op": "test", "path": "/a/0", "value": "x"}),
        ({}, {"op": "remove", "path": "/a"}),
        ({}, {"op": "remove", "path": ""}),
        ({}, {"op": "replace", "path": "/a", "value": 1}),
        ({}, {"op": "copy", "path": "/a"}),
        ({}, {"op": "copy", "path": "/a", "from": "/b"}),
        ({"a": {"b": 1}}, {"op": "move", "path": "/a/b/c", "from": "/a"}),
        ({"a": 1}, {"op": "move", "path": "/b", "from": ""}),
        ([1], {"op": "add", "path": "/2", "value": 1}),
        ([1], {"op": "add", "path": "/01", "value": 1}),
        ([1], {"op": "add", "path": "/-1", "value": 1}),
        ([1], {"op": "add", "path": "/1e0", "value": 1}),
        ([1], {"op": "add", "path": "/\u0661", "value": 1}),
        ([1], {"op": "add", "path": "/" + "9" * 5000, "value": 1}),
        ([1], {"op": "replace", "path": "/1", "value": 1}),
        ([1], {"op": "replace", "path": "/-", "value": 1}),
        ([1], {"op": "remove", "path": "/-"}),
        ([1], {"op": "test", "path": "", "value": [True]}),
        ([0], {"op": "test", "path": "/0", "value": False}),
        ([0], {"op": "test", "path": "", "value": [0, 0]}),
        ({"a": 1}, {"op": "test", "path": "", "value": {"b": 1}}),
    ],
)
def test_what_cannot_be_carried_out_is_a_value_error(document, op):
    before = json(document)
    with pytest.raises(ValueError):
        apply(document, [op])
    assert json(document) == before


def test_a_copied_value_and_its_copy_are_two():
    ops = [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b/x", "value": 1}]
    assert apply({"a": {}}, ops) == {"a": {}, "b": {"x": 1}}


def test_an_added_value_is_not_changed_by_a_later_operation():
    value = {"x": [1]}
    ops = [{"op": "add", "path": "/a", "value": value}, {"op": "add", "path": "/a/x/-", "value": 2}]
    assert apply({}, ops) == {"a": {"x": [1, 2]}}
    assert value == {"x": [1]}
