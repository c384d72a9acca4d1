"""Targets: RFC 3986 normal form, and what is refused."""

from urllib.parse import unquote, urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.errors import Problem
from restive.http.targets import MAX_TARGET, ancestors, check, normalize, scope_target

NORMAL = [
    "/",
    "/orders",
    "/orders/",
    "/orders/3?x=1&y=%20",
    "/a//b",
    "/a%2Fb",
    "/a%5Cb",
    "/%25",
    "/caf%C3%A9",
    "/%FF",
    "/a:b@c;d=1,2!$&'()*+",
    "/a?b?c/../d",
    "/a?x=%0A",
    "/...",
    "/.well-known/x",
    "/a/.b/..c",
    "/a?next=/./b",
]

OTHERWISE = [
    ("/%7eme", "/~me"),
    ("/%41", "/A"),
    ("/a%2fb", "/a%2Fb"),
    ("/caf%c3%a9", "/caf%C3%A9"),
    ("/a/../b", "/b"),
    ("/a/./b", "/a/b"),
    ("/a/%2e%2e/b", "/b"),
    ("/a/%2E/b", "/a/b"),
    ("/..", "/"),
    ("/../../etc/passwd", "/etc/passwd"),
    ("/a/..", "/"),
    ("/a/b/.", "/a/b/"),
    ("/a//../b", "/a/b"),
    ("/a?", "/a"),
    ("/a?x=%7e", "/a?x=~"),
    ("/a b", "/a%20b"),
    ("/a?x[]={1}", "/a?x%5B%5D=%7B1%7D"),
    ('/"<>^`|', "/%22%3C%3E%5E%60%7C"),
]

REFUSED = [
    "",
    "//evil",
    "//evil/a",
    "///a",
    "/.//evil",
    "/a/..//evil",
    "/%2e//evil",
    "/a/%2e%2e//evil",
    "http://host/a",
    "HTTPS:/a",
    "http:a",
    "javascript:alert(1)",
    "a:b",
    "\\\\evil",
    "/\\evil",
    "/a?\\",
    "/a#b",
    "#b",
    "/a\x00",
    "/a%00",
    "/a?x=%00",
    "/a\r\nset-cookie: x",
    "/a%0d%0ab",
    "/a%0Ab",
    "/a%1b[31m",
    "/a%7F",
    "/a\x7f",
    "/a\tb",
    "/a?\n",
    "/café",
    "/a?é",
    "/\u202eevil",
    "/\ud800",
    "/%",
    "/%4",
    "/%zz",
    "/%%41",
    "/a?%",
    "/a?x=%u0041",
    "/" + "a" * MAX_TARGET,
    "/?" + "<" * (MAX_TARGET // 2),
]


@pytest.mark.parametrize("target", NORMAL)
def test_a_normal_form_stays_as_it_is(target):
    assert normalize(target) == target
    assert check(target) == target


@pytest.mark.parametrize(("target", "normal"), OTHERWISE)
def test_another_spelling_is_normalized_and_refused_by_its_normal_form(target, normal):
    assert normalize(target) == normal
    with pytest.raises(Problem) as refused:
        check(target)
    assert refused.value.status == 400
    assert refused.value.detail.endswith(f" {normal}")


@pytest.mark.parametrize("target", REFUSED)
@pytest.mark.parametrize("judge", [normalize, check])
def test_what_could_be_read_in_two_ways_is_refused(judge, target):
    with pytest.raises(Problem) as refused:
        judge(target)
    assert refused.value.status == 400
    assert refused.value.detail
    assert refused.value.detail.isascii()


def test_the_longest_target():
    longest = "/" + "a" * (MAX_TARGET - 1)
    assert normalize(longest) == longest
    grows = "/?" + "<" * ((MAX_TARGET - 2) // 3)
    assert len(normalize(grows)) <= MAX_TARGET
    with pytest.raises(Problem):
        normalize(grows + "<<")


@pytest.mark.parametrize(
    ("reference", "base", "target"),
    [
        ("orders/3", "/", "/orders/3"),
        ("../orders/3", "/-/live", "/orders/3"),
        ("../../../orders/3", "/-/live", "/orders/3"),
        ("../orders", "/api/-/live", "/api/orders"),
        ("?x=1", "/a/b", "/a/b?x=1"),
        ("?x=1", "/a/b?y=2", "/a/b?x=1"),
        ("..", "/a/b/c", "/a/"),
        ("b", "/a", "/b"),
    ],
)
def test_relative_references(reference, base, target):
    assert normalize(reference, base) == target
    assert check(reference, base) == target


@pytest.mark.parametrize(
    "reference", ["./a", "a/../b", "a/.", "%2e%2e/a", "%7e", "a?", "..?", "a?%7e", "a b"]
)
def test_relative_references_are_in_normal_form_too(reference):
    with pytest.raises(Problem, match="Write /"):
        check(reference, "/x/y")


@pytest.mark.parametrize("reference", [".//evil", "..//evil", "a:b", "", "../..//evil"])
def test_a_reference_never_becomes_an_authority(reference):
    with pytest.raises(Problem):
        normalize(reference, "/")


PIECES = (
    "/ // . .. /../ /./ %2e %2E %2f %41 %c3 %25 %252e %00 %0d % a B ~ ? & = # \\ : @ < [ é \x00 \r http: evil"
)
pieces = st.sampled_from([*PIECES.split(" "), " ", "\n"])
targets = st.builds("{}{}".format, st.sampled_from(["", "/"]), st.lists(pieces, max_size=12).map("".join))


@settings(max_examples=200)
@given(targets | st.text(max_size=20), st.sampled_from(["/", "/-/live", "/a/b/c"]))
def test_the_normal_form_is_normal(target, base):
    try:
        normal = normalize(target, base)
    except Problem:
        with pytest.raises(Problem):
            check(target, base)
        return
    assert normalize(normal) == normal
    assert check(normal) == normal
    path = normal.partition("?")[0]
    assert normal.isascii()
    assert normal.isprintable()
    assert path.startswith("/")
    assert not path.startswith("//")
    assert not {".", ".."} & set(path.split("/"))
    assert not {"\0", "\r", "\n"} & set(unquote(path))


@given(st.lists(st.sampled_from(["a", "b%20c", "..", ".", "x;y"]), min_size=1, max_size=6))
def test_dot_segments_go_as_the_standard_library_takes_them_out(segments):
    path = "/" + "/".join(segments)
    assert normalize(path) == (urljoin("http://host/", path).removeprefix("http://host") or "/")


@settings(max_examples=200)
@given(targets)
def test_what_is_refused_as_written_otherwise_is_accepted_as_the_problem_writes_it(target):
    detail = ""
    try:
        check(target)
    except Problem as problem:
        detail = problem.detail
    if detail.startswith("Write "):
        assert check(detail.removeprefix("Write ")) == normalize(target)


@pytest.mark.parametrize(
    ("path", "root", "above"),
    [
        ("/", "", []),
        ("/a", "", []),
        ("/a/", "", ["/a"]),
        ("/a/b", "", ["/a"]),
        ("/a/b/c", "", ["/a/b", "/a"]),
        ("/a/b/", "", ["/a/b", "/a"]),
        ("/api/orders/3", "/api", ["/api/orders"]),
        ("/api/orders/3", "/api/", ["/api/orders"]),
        ("/api/orders", "/api", []),
        ("/api", "/api", []),
        ("/api/", "/api", []),
        ("/apiary/orders/3", "/api", ["/apiary/orders", "/apiary"]),
        ("/v1/api/orders/3", "/v1/api", ["/v1/api/orders"]),
    ],
)
def test_ancestors(path, root, above):
    assert ancestors(path, root) == above


def scope(path, query=b"", *, root="", raw=None):
    return {"type": "http", "path": path, "raw_path": raw, "query_string": query, "root_path": root}


@pytest.mark.parametrize(
    ("given", "target"),
    [
        (scope("/orders/3"), "/orders/3"),
        (scope("/orders/3", b"x=1", raw=b"/orders/3"), "/orders/3?x=1"),
        (scope("/a b", raw=b"/a%20b"), "/a%20b"),
        (scope("/a/b", raw=b"/a%2fb"), "/a%2Fb"),
        (scope("/café"), "/caf%C3%A9"),
        (scope("/a?b"), "/a%3Fb"),
        (scope("/a%b"), "/a%25b"),
        (scope("/a/../b", raw=b"/a/%2e%2e/b"), "/b"),
        # uvicorn puts the root path into both, an older one into path alone; hypercorn into neither
        (scope("/api/orders", root="/api", raw=b"/api/orders"), "/api/orders"),
        (scope("/api/orders", root="/api", raw=b"/orders"), "/api/orders"),
        (scope("/orders", root="/api", raw=b"/orders"), "/api/orders"),
        (scope("/api", root="/api", raw=b"/api"), "/api"),
        (scope("/apiary", root="/api", raw=b"/apiary"), "/api/apiary"),
        (scope("/orders", root="/api/", raw=b"/orders"), "/api/orders"),
        (scope("/x", root="/my app", raw=b"/x"), "/my%20app/x"),
        # an outer layer has rewritten the path and left the raw one behind
        (scope("/new", raw=b"/old"), "/new"),
        (scope("/new", raw=b"/new?x=1"), "/new"),
    ],
)
def test_the_target_of_a_request(given, target):
    assert scope_target(given) == target


@pytest.mark.parametrize(
    "given",
    [
        scope("//evil"),
        scope("http://evil/a", raw=b"http://evil/a"),
        scope("*", raw=b"*"),
        scope("/a\x00", raw=b"/a%00"),
        scope("/a\\b", raw=b"/a\\b"),
        scope("/a", raw=b"/\xff"),
        scope("/a", b"x=\xff"),
        scope("/a", b"x=%zz"),
        scope("/a", b"x=1#y"),
    ],
)
def test_odd_requests_have_no_target(given):
    with pytest.raises(Problem) as refused:
        scope_target(given)
    assert refused.value.status == 400


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=20))
def test_the_target_leads_back_to_the_path(text):
    path = "/x" + text
    target = scope_target(scope(path))
    assert unquote(target) == path or "/." in path
