"""What is sent, how it is signed, and when it is sent again."""

from __future__ import annotations

import base64
import time

import msgspec
import pytest
from hook_receivers import SECRET
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from restive.operations.notices.book import Notice
from restive.operations.notices.message import body_of, document_of, message_id
from restive.operations.notices.schedule import ATTEMPTS, DELAYS, retry_at, verdict
from restive.operations.notices.signature import secrets_of, signed_fields
from restive.operations.notices.times import Times
from restive.operations.progress import Progress
from restive.operations.record import OperationRecord

OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ENDED = OperationRecord(
    id="01m82zbmbn2gy0e6rz141xaxcejyyrcewzpe",
    declaration="/digests",
    route="/digests",
    target="/digests",
    created=1000.0,
    started=1001.0,
    finished=1002.5,
    retention=60.0,
    status="failed",
    progress=Progress(completed=3, total=8),
    error={"status": 500, "title": "No"},
)


def test_the_message_is_type_timestamp_and_the_document() -> None:
    message = msgspec.json.decode(body_of(ENDED))
    assert message["type"] == "operation.failed"
    assert message["timestamp"] == "1970-01-01T00:16:42.500Z" == message["data"]["finished"]
    assert message["data"] == document_of(ENDED)
    assert message["data"]["progress"]["completed"] == 3
    assert message["data"]["error"]["title"] == "No"


@given(st.binary(max_size=200).map(lambda raw: msgspec.json.encode(raw)))
def test_the_reference_library_accepts_the_signature(body: bytes) -> None:
    fields = signed_fields(secrets_of(SECRET), message_id(ENDED), time.time(), body)
    assert Webhook(SECRET).verify(body, fields) == msgspec.json.decode(body)


def test_a_changed_message_or_another_secret_is_refused_by_it() -> None:
    body = body_of(ENDED)
    fields = signed_fields(secrets_of(SECRET), message_id(ENDED), time.time(), body)
    for secret, sent, said in (
        (OTHER, body, fields),
        (SECRET, body.replace(b"failed", b"done"), fields),
        (SECRET, body, {**fields, "webhook-id": "msg_other"}),
        (SECRET, body, {**fields, "webhook-timestamp": str(int(time.time()) + 1)}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(sent, said)


def test_two_secrets_sign_both_so_that_one_can_be_replaced() -> None:
    body = body_of(ENDED)
    fields = signed_fields(secrets_of(f"{SECRET} {OTHER}"), message_id(ENDED), time.time(), body)
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body, fields)


def test_a_secret_without_padding_is_the_same() -> None:
    assert secrets_of(OTHER.rstrip("=")) == secrets_of(OTHER)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        *((status, "taken") for status in (200, 204, 299)),
        *((status, "retry") for status in (199, 301, 307, 400, 404, 429, 500, 503)),
        (410, "unwanted"),
    ],
)
def test_what_a_status_means(status: int, said: str) -> None:
    assert verdict(status) == said


def test_the_schedule_of_standard_webhooks() -> None:
    hours = [5, 5 * 60, 30 * 60] + [h * 3600 for h in (2, 5, 10, 14, 20, 24)]
    assert [retry_at(n, 100.0, None, 0.0) for n in range(1, ATTEMPTS)] == [100.0 + h for h in hours]
    assert retry_at(ATTEMPTS, 100.0, None, 0.0) is None


@given(st.integers(1, ATTEMPTS - 1), st.none() | st.floats(0, 1e9), st.floats(0, 1, exclude_max=True))
def test_a_retry_is_never_early_and_retry_after_is_obeyed(
    attempt: int, asked: float | None, random: float
) -> None:
    due = retry_at(attempt, 0.0, asked, random)
    assert due is not None
    assert due >= DELAYS[attempt - 1]
    assert due >= min(asked or 0.0, 86_400.0)
    assert due <= 1.1 * 86_400.0


def test_a_notice_is_small_and_says_only_what_is_not_usual() -> None:
    assert msgspec.json.encode(Notice()) == b"{}"


@given(st.lists(st.integers(0, 50)), st.integers(0, 50))
def test_times_come_once_and_in_order(given_times: list[int], now: int) -> None:
    times = Times()
    for when in given_times:
        times.add(when)
    assert times.next == min(given_times, default=None)
    assert times.pass_to(now) == any(when <= now for when in given_times)
    assert times.next == min((when for when in given_times if when > now), default=None)
