"""Origins that may use a browser's cookies (design 4.3; attacks S1 and S24)."""

import pytest

from restive.errors import Problem
from restive.http.origin import allowed, check_unsafe, same_origin


def sent(**fields):
    return tuple((name.replace("_", "-").encode(), value.encode()) for name, value in fields.items())


@pytest.mark.parametrize(
    ("fields", "ok"),
    [
        (sent(origin="https://shop.test", cookie="a=1"), True),
        (sent(origin="http://SHOP.test:80", cookie="a=1"), True),
        (sent(sec_fetch_site="same-origin", cookie="a=1"), True),
        (sent(), True),
        (sent(cookie="a=1"), False),
        (sent(origin="https://evil.test"), False),
        (sent(origin="https://shop.test.evil.test"), False),
        (sent(origin="https://evilshop.test"), False),
        (sent(origin="https://shop.test@evil.test"), False),
        (sent(origin="https://shop.test:8443"), False),
        (sent(origin="null"), False),
        (sent(origin=""), False),
        (sent(origin="shop.test"), False),
        (sent(origin="file://shop.test"), False),
        (sent(origin="http://[bad"), False),
        (sent(origin="https://evil.test", sec_fetch_site="cross-site"), False),
        (sent(sec_fetch_site="same-site", cookie="a=1"), False),
        ((*sent(origin="https://shop.test"), *sent(origin="https://evil.test")), False),
    ],
)
def test_only_its_own_origin_by_default(fields, ok):
    assert allowed(fields, "shop.test", public_url=None, allow_origins=()) is ok


@pytest.mark.parametrize(
    ("origin", "ok"),
    [
        ("https://app.test", True),
        ("https://APP.test:443", True),
        ("https://www.test", True),
        ("http://app.test", False),
        ("https://app.test:8443", False),
        ("https://sub.app.test", False),
        ("null", False),
        ("", False),
    ],
)
def test_listed_origins_are_compared_exactly(origin, ok):
    listed = {"public_url": "https://www.test", "allow_origins": ["https://app.test"]}
    assert allowed(sent(origin=origin, cookie="a=1"), "10.0.0.1:8000", **listed) is ok


def test_no_authority_is_nobodys_own():
    assert not same_origin("http://", "")
    assert not same_origin("", "")


@pytest.mark.parametrize(
    ("method", "fields", "ok"),
    [
        ("POST", sent(origin="https://shop.test", cookie="a=1", host="shop.test"), True),
        ("POST", sent(sec_fetch_site="none", cookie="a=1", host="shop.test"), True),
        ("POST", sent(origin="https://evil.test", host="shop.test"), True),
        ("POST", sent(origin="https://evil.test", cookie="a=1", host="shop.test"), False),
        ("DELETE", sent(origin="null", cookie="a=1", host="shop.test"), False),
        ("PUT", sent(cookie="a=1", host="shop.test"), False),
        ("PUT", sent(origin="https://other.test", cookie="a=1", host="shop.test"), True),
        ("GET", sent(origin="https://evil.test", cookie="a=1", host="shop.test"), True),
    ],
)
def test_with_a_cookie_only_its_own_pages_change_something(method, fields, ok):
    options = {"public_url": None, "allow_origins": ["https://other.test"]}
    if ok:
        check_unsafe(method, fields, **options)
        return
    with pytest.raises(Problem, match="This origin is not allowed"):
        check_unsafe(method, fields, **options)
