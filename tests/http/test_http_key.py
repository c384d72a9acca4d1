"""The key of a rendering and the look that is made from it alone (design 2.1, 2.3)."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.errors import Problem, SettingError
from restive.http.key import NEUTRAL, NOBODY, Neutral, RequestKey, look_scope, request_key
from restive.http.neutral import DROPPED

PLAIN = Neutral()
HOST = (b"host", b"shop.test")


def scope(*fields, path="/orders/3", query=b"", kind="http", scheme="http", **others):
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "2",
        "method": "POST",
        "scheme": scheme,
        "path": path,
        "raw_path": None,
        "query_string": query,
        "root_path": "",
        "headers": [HOST, *fields],
        "client": ("10.0.0.7", 5123),
        "server": ("127.0.0.1", 8000),
        "state": {"outer": object()},
        "extensions": {"websocket.http.response": {}},
        "user": "set by an outer layer",
        **others,
    }


def key_of(*fields, neutral=PLAIN, **others):
    return request_key(scope(*fields, **others), neutral)


def look_of(key, **others):
    return look_scope(key, **{"state": None, "app": None, "reason": "first", **others})


def example(pattern: str) -> bytes:
    return pattern.replace("*", "anything").encode()


NEUTRAL_FIELDS = [example(pattern) for pattern in (*NEUTRAL, *DROPPED) if pattern != "host"]
TELLING_FIELDS = [
    *(
        b"authorization",
        b"cookie",
        b"x-api-key",
        b"x-forwarded-user",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    ),
    *(
        b"x-forwarded-prefix",
        b"accept",
        b"accept-language",
        b"x-tenant",
        b"x-requested-with",
        b"proxy-authorization",
    ),
    *(b"remote-user", b"x-forwarded-client-cert", b"cf-ipcountry", b"x-unknown", b"origin"),
]

values = st.text(alphabet='abz019,;="/ \t*', max_size=8).map(lambda text: text.strip().encode())
telling = st.lists(st.tuples(st.sampled_from(TELLING_FIELDS), values), max_size=4)
neutral = st.lists(st.tuples(st.sampled_from(NEUTRAL_FIELDS), values), max_size=6)
addresses = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))


@settings(max_examples=200)
@given(telling, neutral, neutral, addresses, addresses, st.randoms())
def test_what_is_not_in_the_key_is_not_in_the_look(fields, these, those, here, there, random):
    """Two clients that differ in nothing but neutral fields, address and connection cannot be told apart."""
    mixed = [*fields, *those]
    random.shuffle(mixed)
    mixed = [next(left) if entry in fields else entry for left in [iter(fields)] for entry in mixed]
    a = request_key(scope(*these, *fields, client=here, state={"a": 1}), PLAIN)
    b = request_key(scope(*mixed, client=there, http_version="1.1", state={"b": 2}, user="other"), PLAIN)
    assert a == b
    assert hash(a) == hash(b)
    assert a.principal == b.principal
    assert look_of(a) == look_of(b)
    assert look_of(a)["client"] == NOBODY
    assert not {name for name, _ in look_of(a)["headers"]} & set(NEUTRAL_FIELDS)


@settings(max_examples=200)
@given(telling, telling)
def test_what_is_in_the_key_is_in_the_look(these, those):
    a, b = key_of(*these), key_of(*those)
    assert (a == b) == (look_of(a) == look_of(b))


@pytest.mark.parametrize("name", TELLING_FIELDS)
def test_a_field_that_can_tell_clients_apart_stays(name):
    key = key_of((name, b"a"))
    assert (name, b"a") in look_of(key)["headers"]
    assert key != key_of((name, b"b")) != key_of()


@pytest.mark.parametrize("name", NEUTRAL_FIELDS)
def test_a_neutral_field_goes(name):
    assert key_of((name, b"a")) == key_of()


def test_what_connection_names_cannot_strip_an_identity():
    sent = (
        (b"connection", b"x-forwarded-user, keep-alive"),
        (b"x-forwarded-user", b"ann"),
        (b"keep-alive", b"5"),
    )
    assert key_of(*sent).fields == ((b"x-forwarded-user", b"ann"),)


def test_fields_are_sorted_and_their_lines_keep_their_order():
    key = key_of((b"x-b", b"2"), (b"x-a", b"1"), (b"x-b", b"1"))
    assert key.fields == ((b"x-a", b"1"), (b"x-b", b"2"), (b"x-b", b"1"))


def test_the_whole_look():
    state, app = {"db": object()}, object()
    key = key_of((b"authorization", b"Bearer t"), path="/a b", query=b"x=%20", scheme="https")
    look = look_scope(key, state=state, app=app, reason="changed")
    assert look == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=%20",
        "root_path": "",
        "headers": [HOST, (b"authorization", b"Bearer t")],
        "client": NOBODY,
        "server": ("127.0.0.1", 8000),
        "state": state,
        "app": app,
        "extensions": {},
        "restive": {"look": "changed"},
    }
    assert look["state"] is not state
    assert "app" not in look_of(key)
    assert "state" not in look_of(key)


def test_looks_of_one_key_share_nothing_that_an_app_could_change():
    key = key_of((b"x-a", b"1"))
    first, second = look_of(key, state={}), look_of(key, state={})
    for name in ("headers", "state", "extensions", "restive"):
        assert first[name] is not second[name]


def test_nobody_is_neither_loopback_nor_private():
    address = ipaddress.ip_address(NOBODY[0])
    assert not any((address.is_loopback, address.is_private, address.is_link_local, address.is_multicast))


@pytest.mark.parametrize(
    ("scheme", "plain"), [("ws", "http"), ("wss", "https"), ("http", "http"), ("https", "https")]
)
def test_a_socket_looks_as_a_get_does(scheme, plain):
    handshake = ((b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-key", b"x"))
    origin = (b"origin", f"{plain}://shop.test".encode())
    key = key_of(*handshake, origin, kind="websocket", scheme=scheme)
    assert key == key_of(scheme=plain)


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "stays"),
    [
        (b"http://shop.test", b"shop.test", "http", False),
        (b"http://SHOP.test", b"shop.TEST", "http", False),
        (b"http://shop.test", b"shop.test:80", "http", False),
        (b"https://shop.test:443", b"shop.test", "https", False),
        (b"http://shop.test:8000", b"shop.test:8000", "http", False),
        (b"https://shop.test", b"shop.test", "http", True),
        (b"http://shop.test:80", b"shop.test:8080", "http", True),
        (b"http://evil.test", b"shop.test", "http", True),
        (b"http://shop.test.evil.test", b"shop.test", "http", True),
        (b"null", b"shop.test", "http", True),
        (b"", b"shop.test", "http", True),
    ],
)
def test_only_an_origin_of_its_own_goes(origin, host, scheme, stays):
    given = scope((b"origin", origin), scheme=scheme, headers=[(b"host", host), (b"origin", origin)])
    assert bool(request_key(given, PLAIN).fields) is stays


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([b"text/event-stream"], None),
        ([b"Text/Event-Stream;q=0.9"], None),
        ([b"*/*"], None),
        ([b""], None),
        ([b"text/event-stream", b"*/*"], None),
        ([b"application/x-ndjson, application/jsonl"], None),
        ([b"text/event-stream, application/json;q=0.5"], b"application/json;q=0.5"),
        ([b"application/json"], b"application/json"),
        ([b"a/b,  c/d ;q=0.1"], b"a/b,  c/d ;q=0.1"),
        ([b"a/b", b"c/d"], b"a/b, c/d"),
        ([b'a/b;x="text/event-stream, */*"'], b'a/b;x="text/event-stream, */*"'),
        ([b"text/event-streams"], b"text/event-streams"),
        ([b"*/*;q=0"], b"*/*;q=0"),
    ],
)
def test_accept_asks_for_a_representation_and_not_for_a_watch(lines, kept):
    found = dict(key_of(*((b"accept", line) for line in lines)).fields)
    assert found == ({b"accept": kept} if kept else {})


@pytest.mark.parametrize(
    ("lines", "ignored", "kept"),
    [
        ([b"a=1; b=2"], [], b"a=1; b=2"),
        ([b"a=1", b"b=2"], [], b"a=1; b=2"),
        ([b"_ga=1; sid=2; _gat=3"], ["_ga*"], b"sid=2"),
        ([b"_ga=1", b"_gid=x"], ["_ga*", "_gid"], None),
        ([b"_GA=1"], ["_ga*"], b"_GA=1"),
        ([b"sid=_ga; x_ga=1"], ["_ga*"], b"sid=_ga; x_ga=1"),
        ([b"_ga ; =x;; sid=1"], ["_ga"], b"=x; sid=1"),
        ([b"a=1;b=2"], ["none"], b"a=1; b=2"),
        ([b""], [], None),
    ],
)
def test_ignored_cookies_leave_key_and_look(lines, ignored, kept):
    found = key_of(*((b"cookie", line) for line in lines), neutral=Neutral(ignore_cookies=ignored))
    assert dict(found.fields) == ({b"cookie": kept} if kept else {})


def test_neutral_adds_names_and_prefixes():
    mine = Neutral(["X-Shop-*", "X-Theme"])
    assert key_of((b"x-shop-a", b"1"), (b"x-theme", b"2"), (b"x-other", b"3"), neutral=mine).fields == (
        (b"x-other", b"3"),
    )
    assert mine.goes(b"x-theme")
    assert not mine.goes(b"x-themes")


@pytest.mark.parametrize("bad", ["*", "", "a b", "x-*-y", "é", "a:", "a\n"])
def test_neutral_refuses_what_is_no_name(bad):
    with pytest.raises(SettingError, match="neutral="):
        Neutral([bad])


def test_an_empty_cookie_name_is_refused():
    with pytest.raises(SettingError, match="ignore_cookies="):
        Neutral(ignore_cookies=[""])


def test_a_frame_replaces_fields_of_the_same_name():
    given = scope(
        (b"authorization", b"old"), (b"x-a", b"1"), (b"accept-language", b"de"), (b"accept-language", b"fr")
    )
    frame = (
        *((b"Authorization", b"new"), (b"accept-language", b"en")),
        *(
            (b"if-none-match", b'"a"'),
            (b"content-type", b"a/b"),
            (b"prefer", b"wait=5"),
            (b"host", b"evil.test"),
        ),
    )
    key = request_key(given, PLAIN, headers=frame)
    assert key.fields == ((b"accept-language", b"en"), (b"authorization", b"new"), (b"x-a", b"1"))
    assert key.authority == "shop.test"


def test_a_target_replaces_the_scopes_own():
    key = request_key(scope(path="/-/live", query=b"x=1"), PLAIN, target="/orders/3?y=2")
    assert (key.target, key.path, key.query) == ("/orders/3?y=2", "/orders/3", "y=2")
    assert key == request_key(scope(path="/orders/3", query=b"y=2"), PLAIN)
    assert (key_of().query, key_of().path) == ("", "/orders/3")


def test_the_root_path_is_in_key_and_look():
    key = key_of(path="/orders", root_path="/api")
    assert (key.target, key.root_path) == ("/api/orders", "/api")
    assert (look_of(key)["path"], look_of(key)["root_path"]) == ("/api/orders", "/api")


def test_the_client_only_where_it_is_asked_for():
    def key(client):
        return request_key(scope(client=client), PLAIN, extra=["client"])

    assert key(("10.0.0.1", 1)) == key(("10.0.0.1", 2)) != key(("10.0.0.2", 1))
    assert look_of(key(["10.0.0.1", 1]))["client"] == ("10.0.0.1", 0)
    assert key(None).client == NOBODY
    assert key(("10.0.0.1", 1)).principal != key(("10.0.0.2", 1)).principal != ""


def test_the_certificate_only_where_it_is_asked_for():
    def with_certificate(name, **others):
        tls = {
            "server_cert": "s",
            "client_cert_chain": ["pem"],
            "client_cert_name": name,
            "tls_version": 0x0304,
            **others,
        }
        return scope(extensions={"tls": tls, "websocket.http.response": {}})

    ann = request_key(with_certificate("CN=ann"), PLAIN, extra=["tls"])
    assert ann == request_key(with_certificate("CN=ann", cipher_suite=4866), PLAIN, extra=["tls"])
    assert ann != request_key(with_certificate("CN=bob"), PLAIN, extra=["tls"])
    assert look_of(ann)["extensions"] == {
        "tls": {
            "server_cert": None,
            "client_cert_chain": ["pem"],
            "client_cert_name": "CN=ann",
            "client_cert_error": None,
            "tls_version": None,
            "cipher_suite": None,
        }
    }
    assert request_key(with_certificate("CN=ann"), PLAIN) == key_of()
    assert request_key(scope(), PLAIN, extra=["tls"]) == key_of()
    assert request_key(scope(extensions=None), PLAIN, extra=["tls"]) == key_of()


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        (b"Shop.Test:8000", "shop.test:8000"),
        (b"[::1]:8000", "[::1]:8000"),
        (b"127.0.0.1", "127.0.0.1"),
        (b"a_b.test", "a_b.test"),
        (b"shop.test:", "shop.test:"),
    ],
)
def test_the_authority_is_the_host(host, authority):
    key = request_key(scope(headers=[(b"host", host)]), PLAIN)
    assert key.authority == authority
    assert look_of(key)["headers"] == [(b"host", authority.encode())]


@pytest.mark.parametrize(
    "host",
    [
        b"evil.test/a",
        b"a b",
        b"a?b",
        b"a#b",
        b"u@evil.test",
        b"a\\b",
        b"a\r\nb",
        b"a\0",
        b"\xe9",
        b"a:b",
        b"a:999999",
        b"[::1",
        b"a" * 301,
    ],
)
def test_odd_hosts_are_refused(host):
    with pytest.raises(Problem) as refused:
        request_key(scope(headers=[(b"host", host)]), PLAIN)
    assert refused.value.status == 400


def test_two_hosts_are_refused():
    with pytest.raises(Problem, match="one Host"):
        request_key(scope(headers=[HOST, HOST]), PLAIN)


@pytest.mark.parametrize(
    ("server", "authority"),
    [
        (("127.0.0.1", 8000), "127.0.0.1:8000"),
        (("::1", 80), "[::1]:80"),
        (("/run/app.sock", None), ""),
        (None, ""),
    ],
)
def test_without_a_host_the_server_is_the_authority(server, authority):
    key = request_key(scope(headers=[], server=server), PLAIN)
    assert key.authority == authority
    assert dict(look_of(key)["headers"]).get(b"host", b"") == authority.encode()


def test_a_server_may_be_a_list():
    assert request_key(scope(server=["shop.test", 80]), PLAIN).server == ("shop.test", 80)


def test_an_odd_target_is_refused():
    with pytest.raises(Problem):
        key_of(path="//evil")


def test_principals_tell_credentials_apart_and_nothing_else():
    assert key_of().principal == ""
    assert key_of((b"accept-language", b"de"), (b"x-forwarded-proto", b"https")).principal == ""
    ann = key_of((b"authorization", b"ann"))
    assert ann.principal == key_of((b"authorization", b"ann"), (b"accept", b"a/b"), path="/other").principal
    assert (
        len({key_of((name, b"x")).principal for name in (b"authorization", b"cookie", b"x-api-key")} | {""})
        == 4
    )
    assert "ann" not in ann.principal
    assert key_of((b"x-a", b"1"), (b"x-b", b"2")).principal != key_of((b"x-a", b"1x-b2")).principal


def test_keys_differ_by_each_of_their_parts():
    parts = {"scheme": "http", "server": ("a", 1), "authority": "a", "root_path": "", "target": "/a"}
    key = RequestKey(**parts)
    others = {"scheme": "https", "server": None, "authority": "b", "root_path": "/r", "target": "/b"}
    more = {"fields": ((b"x", b"1"),), "client": ("10.0.0.1", 0), "tls": ((), None, None)}
    different = [RequestKey(**{**parts, name: value}) for name, value in {**others, **more}.items()]
    assert len({key, *different}) == 1 + len(different)
    assert all(other != key for other in different)
    assert key == RequestKey(**parts)
    assert {key: "found"}[RequestKey(**parts)] == "found"


def test_the_hash_is_made_once():
    """A lookup in a dict does not walk all fields again."""

    class Counted(bytes):
        asked = 0

        def __hash__(self):
            Counted.asked += 1
            return super().__hash__()

    key = RequestKey("http", None, "a", "", "/a", ((b"cookie", Counted(b"x" * 1_000_000)),))
    before = Counted.asked
    assert {hash(key) for _ in range(100)} == {hash(key)}
    assert Counted.asked == before == 1


def test_hostile_cookies_and_globs_do_not_backtrack():
    jar = b"; ".join(b"_" + b"a" * 200 + b"=%d" % n for n in range(300))
    assert key_of((b"cookie", jar), neutral=Neutral(ignore_cookies=["*a*a*a*a*b"])).fields == (
        (b"cookie", jar),
    )
