"""An app's JetStream streams as one connection finds them: made where they are not, never changed.

Everything is on subjects below a root that is drawn when the stream is made, so that whoever remembers
another life of the store meets nobody there (``Absent``) instead of its successor. What is read is the
newest: a stream with replicas is asked at its leader.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import random
import secrets
import time
from collections.abc import Sequence
from typing import Any

from nats.aio.msg import Msg

from restive.errors import BackendUnavailable

from . import lives
from .link import Absent, Link, Refused
from .lives import Lives
from .messages import EXPECTED, HEADER, ROLLUP, Foreign, Message, Outgoing, gone, items_of
from .names import name_of, stream_name, subject_root, tokens
from .plan import State, Subjects
from .url import NatsUrl

__all__ = ["KEPT", "Moved", "Store", "TooMany"]

KEPT = 10_000
"""Announcements that are kept, of 64 MiB together; who is further behind gets LOST."""

OVERHEAD = 1024
"""Bytes of a message that are left for headers."""

BATCH = 1000
"""Messages in one atomic batch, as nats-server allows by default."""

NOT_FOUND, IN_USE, NO_MESSAGE = 10059, 10058, 10037
MOVED, TOO_LARGE, TOO_MANY = {10071, 10164}, 10199, 10210
NO_JETSTREAM = {10039, 10076}
FEATURES = ("allow_direct", "allow_atomic", "allow_rollup_hdrs", "allow_msg_ttl")


class Moved(Exception):
    """A condition of what was to be published does not hold; nothing of it was stored."""


class TooMany(Exception):
    """More messages than one atomic batch may have; nothing was stored."""


class Store:
    """The streams of ``app`` over a link that is open. ``open`` it first."""

    def __init__(self, link: Link, url: NatsUrl, app: str) -> None:
        self.link = link
        self._url = url
        self._app = app
        self._stream = stream_name(app)
        self._root = ""
        self.news_stream = stream_name(app, "announced")
        self.news_subject = ""
        self.replicated = False
        """What is read directly may be older than what the leader has."""
        self.lives = Lives((1,), (1,), "")
        self.tails: dict[str, State] = {}
        """How the streams ended that this process has appended to."""
        self.starts: dict[str, int] = {}
        """At which position a stream begins at least, where older items were dropped."""
        self.subjects = Subjects(
            lambda name: f"{self._root}.record.{tokens(name)}",
            lambda name: f"{self._root}.stream.{tokens(name)}",
        )

    @property
    def room(self) -> int:
        """Bytes of a message's payload."""
        return self.link.room - OVERHEAD

    # Opening

    async def open(self) -> None:
        """Find or make the streams, and begin a new life where the server has. Raises BackendUnavailable."""
        if self.room < OVERHEAD:
            raise BackendUnavailable(f"{self._url} has a max_payload below 2 KiB; leave it at 1 MiB.")
        try:
            main = await self._find_or_make(self._stream, self._main())
            news = await self._find_or_make(self.news_stream, self._news())
        except Absent:
            raise BackendUnavailable(f"{self._url} has no JetStream: start nats-server with -js.") from None
        self._root = self._checked(self._stream, main, FEATURES)
        self.news_subject = f"{self._checked(self.news_stream, news, ('allow_atomic',))}.all"
        self.replicated = int(main.get("num_replicas", 1)) > 1
        await self._begin_life()

    def _main(self) -> dict[str, Any]:
        life = f"{subject_root(self._app)}.{secrets.token_hex(6)}.>"
        return {"subjects": [life], **dict.fromkeys(FEATURES, True)}

    def _news(self) -> dict[str, Any]:
        life = f"{subject_root(self._app)}.announced.{secrets.token_hex(6)}.>"
        limits = {"max_msgs": KEPT, "max_bytes": 64 * 2**20}
        return {"subjects": [life], "discard": "old", "allow_atomic": True, **limits}

    async def _find_or_make(self, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
        settings = {"name": name, "storage": self._url.storage, "num_replicas": self._url.replicas}
        for _ in range(3):
            try:
                return dict((await self.link.ask(f"STREAM.INFO.{name}"))["config"])
            except Refused as error:
                self._explain(error)
                if error.code != NOT_FOUND:
                    raise
            try:
                return dict((await self.link.ask(f"STREAM.CREATE.{name}", {**settings, **wanted}))["config"])
            except Refused as error:
                self._explain(error)
                if error.code != IN_USE:  # another process was first, with a root of its own
                    raise
        raise BackendUnavailable(f"{self._url}: the stream {name} is made and deleted again and again.")

    def _explain(self, error: Refused) -> None:
        if error.code in NO_JETSTREAM:
            raise BackendUnavailable(
                f"{self._url} has no JetStream for this account: start nats-server with -js, and enable it."
            ) from None

    def _checked(self, name: str, config: dict[str, Any], features: Sequence[str]) -> str:
        """The root of a stream's subjects, once it is as we need it."""
        subjects = config.get("subjects") or [""]
        missing = [feature for feature in features if not config.get(feature)]
        if missing:
            raise BackendUnavailable(
                f"{self._url}: the stream {name} lacks {', '.join(missing)}. Enable them (nats stream edit)."
            )
        if len(subjects) != 1 or not subjects[0].startswith(f"{subject_root(self._app)}."):
            raise BackendUnavailable(f"{self._url}: the stream {name} was not made by Restive. Move it away.")
        return str(subjects[0]).removesuffix(".>")

    async def _begin_life(self) -> None:
        """Before the first write after a restart: what is lost shall never be mistaken for what follows."""
        subject = f"{self._root}.lives"
        while True:
            found = await self.last(subject)
            if found is not None:
                self.lives = self._read_lives(found)
                if self.lives.server == self.link.server:
                    return
            micros = time.time_ns() // 1000
            if found is None:
                data = lives.encode([], self.link.server, micros)
            else:
                last, chance = await self._last_sequence(), random.random()  # noqa: S311 - no secret
                data = self.lives.next(self.link.server, micros, last, chance)
            expected = str(found.sequence if found else 0)
            message = Outgoing(subject, data, {HEADER: "lives", EXPECTED: expected, **ROLLUP})
            try:
                await self.publish([message])
            except Moved:  # another process has begun it
                continue

    def _read_lives(self, found: Message) -> Lives:
        try:
            if found.said != "lives":
                raise Foreign(found)
            return lives.decode(found.data, found.sequence)
        except ValueError:
            raise Foreign(found) from None

    async def _last_sequence(self) -> int:
        return int((await self.link.ask(f"STREAM.INFO.{self._stream}"))["state"]["last_seq"])

    async def check(self) -> None:
        """Raise ``Absent`` if this store was deleted since it was opened: nobody tells a reader."""
        if await self.last(f"{self._root}.lives") is None:
            raise Absent(f"{self._url}: the stream {self._stream} is no longer there.")

    # Reading

    async def last(self, subject: str) -> Message | None:
        """The last message of a subject."""
        if self.replicated:
            return await self._ask_leader({"last_by_subj": subject})
        answer = await self.link.request(f"$JS.API.DIRECT.GET.{self._stream}.{subject}")
        return self._message(answer)

    async def at(self, sequence: int) -> Message | None:
        """The message of that sequence."""
        if self.replicated:
            return await self._ask_leader({"seq": sequence})
        question = json.dumps({"seq": sequence}).encode()
        return self._message(await self.link.request(f"$JS.API.DIRECT.GET.{self._stream}", question))

    async def following(
        self, subject: str, sequence: int, count: int, size: int
    ) -> tuple[list[Message], bool]:
        """Messages of a subject from a sequence on, and whether more follow them.

        Of a stream with replicas perhaps not the newest.
        """
        question = {"seq": sequence, "next_by_subj": subject, "batch": count, "max_bytes": max(1, size)}
        asked = f"$JS.API.DIRECT.GET.{self._stream}"
        answers = await self.link.request_many(asked, json.dumps(question).encode())
        messages = [message for message in map(self._message, answers) if message is not None]
        return messages, (answers[-1].headers or {}).get("Nats-Num-Pending", "0") != "0"

    async def names(self, below: str) -> list[str]:
        """The names of the records, and of those just deleted, that the end of a filter matches."""
        start = f"{self._root}.record."
        found: list[str] = []
        while True:
            question = {"subjects_filter": start + below, "offset": len(found)}
            said = await self.link.ask(f"STREAM.INFO.{self._stream}", question)
            page = list(said["state"].get("subjects") or ())
            found += page
            if not page or len(found) >= int(said.get("total", 0)):
                return [self._name(subject, start) for subject in found]

    def _name(self, subject: str, start: str) -> str:
        try:
            return name_of(subject.removeprefix(start))
        except ValueError:
            raise Foreign(Message(subject, 0, {}, b"")) from None

    def _message(self, answer: Msg) -> Message | None:
        headers = answer.headers or {}
        status = headers.get("Status")
        if status in {"404", "204"}:
            return None
        if status is not None or "Nats-Sequence" not in headers:
            raise Refused(f"{self._url} cannot read: {status} {headers.get('Description', '')}.", 0)
        return Message(headers["Nats-Subject"], int(headers["Nats-Sequence"]), headers, answer.data)

    async def _ask_leader(self, question: dict[str, Any]) -> Message | None:
        try:
            said = (await self.link.ask(f"STREAM.MSG.GET.{self._stream}", question))["message"]
        except Refused as error:
            if error.code == NO_MESSAGE:
                return None
            raise
        headers = dict(_lines(_bytes(said.get("hdrs", ""))))
        return Message(said["subject"], int(said["seq"]), headers, _bytes(said.get("data", "")))

    async def state(self, subject: str, *, stream: bool) -> State:
        """What a subject holds now."""
        found = await self.last(subject)
        if found is None:
            return State()
        number = self.lives.number(found.sequence)
        if gone(found):
            return State(found.sequence, number)
        return State(found.sequence, number, present=True, items=items_of(found) if stream else None)

    # Writing

    async def publish(self, messages: Sequence[Outgoing]) -> int:
        """Store all of the messages or none; the sequence of the first. Raises ``Moved`` and ``TooMany``."""
        if len(messages) > BATCH:
            raise TooMany
        while True:
            try:
                if len(messages) == 1:
                    (one,) = messages
                    answer = await self.link.request(one.subject, one.data, one.headers)
                else:
                    answer = await self._publish_batch(messages)
                return int(self.link.understood(answer.data)["seq"]) - len(messages) + 1
            except Refused as error:
                if error.code in MOVED:
                    raise Moved from None
                if error.code == TOO_LARGE:
                    raise TooMany from None
                if error.code != TOO_MANY:
                    raise
            await asyncio.sleep(0.005 + secrets.randbelow(20) / 1000)

    async def _publish_batch(self, messages: Sequence[Outgoing]) -> Msg:
        batch = secrets.token_hex(12)
        *most, final = messages
        for number, each in enumerate(most, 1):
            headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number), **each.headers}
            await self.link.tell(each.subject, each.data, headers)
        marks = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        return await self.link.request(final.subject, final.data, {**marks, **final.headers})

    async def remove_before(self, subject: str, sequence: int) -> None:
        """Remove the messages of a subject that are older than that."""
        await self.link.ask(f"STREAM.PURGE.{self._stream}", {"filter": subject, "seq": sequence})


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def _lines(block: bytes) -> list[tuple[str, str]]:
    """The fields of a header block."""
    fields = [line.partition(":") for line in block.decode(errors="replace").split("\r\n")[1:] if line]
    return [(name.strip(), value.strip()) for name, _, value in fields]
