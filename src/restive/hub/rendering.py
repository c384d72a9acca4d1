"""A rendering: one immutable representation of a resource and its wire forms, each made once.

The same bytes are then written to every watcher (design 1.5). Two renderings are the same when
entity tag and content hash are (design 2.2), since an app's tags can be coarse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from ..http.fields import Fields, get, media_matches, media_type
from ..http.validators import make_tag, same, valid
from ..wire import messages, patch
from .look import Answer

JSON = ("application/json", "application/*+json")
TEXT = ("text/*", "application/xml", "application/*+xml")
NOTHING = b"null"

Form = Callable[["Rendering", str], bytes]


class Rendering:
    """A state of a resource, as a look found it."""

    __slots__ = (
        "_document",
        "_other",
        "_patches",
        "_same",
        "_wire",
        "body",
        "compact",
        "digest",
        "etag",
        "fetch",
        "fields",
        "status",
        "text",
    )

    def __init__(self, status: int, fields: Fields, body: bytes, etag: str, *, whole: bool = True) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.etag = etag
        self.digest = hashlib.blake2b(body, digest_size=16).digest()
        self.compact: bytes | None = None
        self.text: str | None = None
        self.fetch = not whole
        self._other: Rendering | None = None
        self._same = True
        self._document: Any = msgspec.UNSET
        self._wire: dict[Form, bytes] = {}
        self._patches: dict[str, bytes | None] = {}
        if whole:
            self._read()

    def _read(self) -> None:
        kind = get(self.fields, b"content-type")
        if not self.body and (self.status != 200 or kind is None):
            self.compact = NOTHING
        elif media_matches(kind, JSON) and self._read_json():
            return
        elif media_matches(kind, (*JSON, *TEXT)):
            self._read_text(kind)
        else:
            self.fetch = True

    def _read_json(self) -> bool:
        # Parsed once, which is what tells RFC 8259 from the rest; written compactly without
        # touching numbers, which a parse and print would change (1.0, 10**30).
        try:
            self._document = msgspec.json.decode(self.body)
            self.compact = msgspec.json.format(self.body, indent=-1)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return True

    def _read_text(self, kind: str | None) -> None:
        charset = "utf-8"
        for parameter in (kind or "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                charset = value.strip().strip('"')
        try:
            self.text = self.body.decode(charset)
        except (UnicodeDecodeError, LookupError):
            self.fetch = True

    @property
    def content_type(self) -> str:
        """Media type without parameters."""
        return media_type(get(self.fields, b"content-type"))

    def same_as(self, other: Rendering) -> bool:
        """Whether a watcher who has the one need not be told of the other."""
        if other is self:
            return True
        if other is not self._other:  # remembered, since thousands of watchers have the same one
            self._same = self.digest == other.digest and same(self.etag, other.etag)
            self._other, other._other = other, None
        return self._same

    def follows(self, before: Rendering) -> None:
        """Be another than ``before`` although it looks the same: it may differ where it was not read."""
        self.digest = hashlib.blake2b(before.digest, digest_size=16).digest()
        self._other = None

    def wire(self, form: Form, on: str) -> bytes:
        """The bytes in ``form``, made on first use. ``on`` is the same for all watchers."""
        made = self._wire.get(form)
        if made is None:
            made = self._wire[form] = form(self, on)
        return made

    def frame(self, on: str) -> bytes:
        """The socket's event (design 4.3) for this state."""
        if self.compact is not None:
            return messages.state(on, self.etag, self.compact)
        if self.text is not None:
            return messages.text(on, self.etag, self.text)
        return messages.fetch(on, self.etag)

    def patch(self, on: str, base: Rendering) -> bytes | None:
        """The event that turns ``base`` into this (RFC 6902), or None where it is not smaller."""
        if msgspec.UNSET in (self._document, base._document):
            return None
        if base.etag not in self._patches:
            if len(self._patches) > 8:
                self._patches.clear()
            self._patches[base.etag] = self._diff(on, base)
        return self._patches[base.etag]

    def _diff(self, on: str, base: Rendering) -> bytes | None:
        try:
            ops = patch.diff(base._document, self._document)
        except RecursionError:  # nested as deep as can be read, but not compared
            return None
        made = messages.patched(on, self.etag, base.etag, msgspec.json.encode(ops))
        return made if len(made) < len(self.wire(Rendering.frame, on)) else None


def from_answer(answer: Answer) -> Rendering:
    """The rendering that a look's answer holds; it gets a tag of ours where the app gave none."""
    given = get(answer.fields, b"etag")
    etag = given if given is not None and valid(given) else make_tag(answer.body)
    return Rendering(answer.status, answer.fields, answer.body, etag, whole=answer.whole)
