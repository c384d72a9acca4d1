"""A rendering: one immutable representation of a resource and its wire forms, each made once.

The same bytes are then written to every watcher (design 1.5). Two renderings are the same when
entity tag and content are (design 2.2), since an app's tags can be coarse. One that is told to a single
watcher is held by the thousand: what can be made again from the body is not kept before it is wanted twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from ..http.fields import Fields, get, media_matches, media_type, without
from ..http.validators import make_tag, same, valid
from ..wire import messages, patch
from .look import Answer

JSON = ("application/json", "application/*+json")
TEXT = ("text/*", "application/xml", "application/*+xml")
NOTHING = b"null"

OF_ONE_RESPONSE = frozenset(
    b"age cache-control content-length date etag expires last-modified server-timing set-cookie".split()
)
"""Fields that no live answer repeats."""

Form = Callable[["Rendering", str], bytes]


class Rendering:
    """A state of a resource, as a look found it."""

    __slots__ = (
        "_charset",
        "_patches",
        "_unseen",
        "_wire",
        "body",
        "compact",
        "etag",
        "fetch",
        "fields",
        "status",
    )

    def __init__(self, status: int, fields: Fields, body: bytes, etag: str, *, whole: bool = True) -> None:
        self.status = status
        self.fields = _shared(without(fields, OF_ONE_RESPONSE))
        """Without what is of one response."""
        self.body = body
        self.etag = etag
        self.compact: bytes | None = None
        self.fetch = not whole
        self._charset: str | None = None
        """Of what is text and no JSON."""
        self._unseen = 0
        """Changes that may have been where it was not read."""
        self._wire: dict[Form, bytes] | Form | None = None
        """The forms that are kept, or the one that was used once."""
        self._patches: dict[str, bytes | None] | None = None
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
            msgspec.json.decode(self.body)
            compact = msgspec.json.format(self.body, indent=-1)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        self.compact = self.body if compact == self.body else compact
        return True

    def _read_text(self, kind: str | None) -> None:
        charset = "utf-8"
        for parameter in (kind or "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                charset = value.strip().strip('"')
        try:
            self.body.decode(charset)
        except (UnicodeDecodeError, LookupError):
            self.fetch = True
        else:
            self._charset = charset

    @property
    def text(self) -> str | None:
        """What is text and no JSON."""
        return None if self._charset is None else self.body.decode(self._charset)

    @property
    def content_type(self) -> str:
        """Media type without parameters."""
        return media_type(get(self.fields, b"content-type"))

    def same_as(self, other: Rendering) -> bool:
        """Whether a watcher who has the one need not be told of the other."""
        return other is self or (same(self.etag, other.etag) and self.content_as(other))

    def content_as(self, other: Rendering) -> bool:
        """Whether the content is the same, whatever the tags say."""
        return self.body == other.body and self._unseen == other._unseen

    def follows(self, before: Rendering, *, announced: bool) -> None:
        """Come after ``before``. ``announced``: it may differ where it was not read, so it is another."""
        self._unseen = before._unseen + announced

    def wire(self, form: Form, on: str) -> bytes:
        """The bytes in ``form``, kept from the second use on. ``on`` is the same for all watchers."""
        kept = self._wire
        if isinstance(kept, dict) and (made := kept.get(form)) is not None:
            return made
        made = form(self, on)
        if kept is None:
            self._wire = form
        elif isinstance(kept, dict):
            kept[form] = made
        else:
            self._wire = {form: made}
        return made

    def frame(self, on: str) -> bytes:
        """The socket's event (design 4.3) for this state."""
        if self.compact is not None:
            return messages.state(on, self.etag, self.compact)
        if (text := self.text) is not None:
            return messages.text(on, self.etag, text)
        return messages.fetch(on, self.etag)

    def patch(self, on: str, base: Rendering) -> bytes | None:
        """The event that turns ``base`` into this (RFC 6902), or None where it is not smaller."""
        if not (self._is_document and base._is_document):
            return None
        if self._patches is None:
            self._patches = {}
        if base.etag not in self._patches:
            if len(self._patches) > 8:
                self._patches.clear()
            self._patches[base.etag] = self._diff(on, base)
        return self._patches[base.etag]

    @property
    def _is_document(self) -> bool:
        return self.compact is not None and self.compact is not NOTHING

    def _diff(self, on: str, base: Rendering) -> bytes | None:
        try:
            ops = patch.diff(msgspec.json.decode(base.body), msgspec.json.decode(self.body))
        except RecursionError:  # nested as deep as can be read, but not compared
            return None
        made = messages.patched(on, self.etag, base.etag, msgspec.json.encode(ops))
        return made if len(made) < len(self.frame(on)) else None


@lru_cache(maxsize=256)
def _shared(fields: Fields) -> Fields:
    """The same fields as the same object."""
    return fields


def from_answer(answer: Answer) -> Rendering:
    """The rendering that a look's answer holds; it gets a tag of ours where the app gave none."""
    given = get(answer.fields, b"etag")
    etag = given if given is not None and valid(given) else make_tag(answer.body)
    return Rendering(answer.status, answer.fields, answer.body, etag, whole=answer.whole)
