"""What the port promises of names, of streams and of records, as checks for any backend.

No name may mean another one to the engine: no wildcard, no end of text, no separator, no other case.
"""

from __future__ import annotations

from restive.backends.limits import MAX_NAME
from restive.backends.port import Append, Backend, Delete, Drop, Save

from .stores import Check, Stores, expect, refused

__all__ = ["BAD_NAMES", "CHECKS", "ODD_NAMES"]

_SEPARATORS = (".", "..", "a.b", "a..b", ".a", "a.", "a/b", "../a", "a:b", "a,b", "a;b", "a=b", "a|b")
_SPACES = (" ", "a ", " a", "a b", "\t", "\n", "a\r\n", "\u00a0", "\u200b", "\ufeff", "\u2028", "\x7f")
_WILDCARDS = ("*", ">", "a.*", "a.>", "*.a", "?", "a?", "[a]", "[^a]", "a[", "^a", "a$", "%", "a%", "_", "a_")
_QUOTES = ("'", '"', "`", "\\", "a\\", "\\0", "';--", "/*", "$1", "$SYS", "{a}", "{}", "}{", "%s", "%00", "#")
_CONTROLS = ("\0", "a\0", "a\0b", "\0a", "\x01", "\x1b")
_WORDS = ("-1", "0", "00", "NULL", "None", "true", "nan", "restive", "_INBOX")
_FORMS = ("a", "A", "aa", "ä", "Ä", "a\u0308", "ß", "ss", "SS", "fi", "\ufb01", "K", "\u212a", "İ", "i\u0307")
_PLANES = ("\ud7ff", "\ue000", "\uffff", "\U0001f600", "\U0001f600\u200d", "\U0010ffff", "\U0010ffffa")
_FULL = tuple(character * (MAX_NAME // len(character.encode())) for character in "a.*\0%\U0001f600\U0010ffff")
_NEARLY = ("a" * (MAX_NAME - 1), "a" * (MAX_NAME - 1) + "b", "a" * (MAX_NAME - 1) + "A")
ODD_NAMES = (
    *(*_SEPARATORS, *_SPACES, *_WILDCARDS, *_QUOTES, *_CONTROLS),
    *(*_WORDS, *_FORMS, *_PLANES, *_FULL, *_NEARLY),
)
BAD_NAMES = ("", "a" * (MAX_NAME + 1), "ä" * (MAX_NAME // 2) + "a", "\ud800", "a\udfff")


def _fill(backend: Backend) -> None:
    for name in ODD_NAMES:
        backend.apply([Save(name, b"record " + name.encode()), Append(name, [b"stream " + name.encode()])])


def _expect_held(backend: Backend, held: set[str]) -> None:
    """Fail unless ``held`` is what there is of ODD_NAMES, each with its own value and items."""
    for name in ODD_NAMES:
        found = backend.load(name)
        value = b"record " + name.encode() if name in held else None
        expect((found and found.value) == value, f"The record {name!r} is {found!r}, not {value!r}.")
        if name in held:
            items = list(backend.read(name).items)
            expect(items == [b"stream " + name.encode()], f"The stream {name!r} holds {items!r}.")
        else:
            with refused(KeyError, f"Reading the dropped stream {name!r}"):
                backend.read(name)
    scanned = [record.name for record in backend.scan("", limit=1000)]
    expect(scanned == sorted(held, reverse=True), f"Names are scanned as {scanned!r}.")


def names(stores: Stores) -> None:
    """Names of any characters are kept apart and sort by code point, in this handle and in a peer."""
    backend = stores.fresh()
    _fill(backend)
    for handle in (backend, stores.peer(backend)):
        _expect_held(handle, set(ODD_NAMES))


def names_deleted(stores: Stores) -> None:
    """What is deleted or dropped by an odd name is that one and no other."""
    backend = stores.fresh()
    _fill(backend)
    held = set(ODD_NAMES)
    for half in (ODD_NAMES[::2], ODD_NAMES[1::2]):
        for name in half:
            backend.apply([Delete(name), Drop(name)])
        held -= set(half)
        _expect_held(backend, held)


def names_as_prefixes(stores: Stores) -> None:
    """A scan takes its prefix and its bound by the letter, whatever they mean to the engine."""
    backend = stores.fresh()
    for name in ODD_NAMES:
        backend.save(name, b"", version=0)
    for given in ODD_NAMES:
        expected = sorted((name for name in ODD_NAMES if name.startswith(given)), reverse=True)
        found = [record.name for record in backend.scan(given, limit=1000)]
        expect(found == expected, f"scan({given!r}) gives {found!r}, not {expected!r}.")
        below = sorted((name for name in ODD_NAMES if name < given), reverse=True)[:5]
        found = [record.name for record in backend.scan("", before=given, limit=5)]
        expect(found == below, f"scan(before={given!r}) gives {found!r}, not {below!r}.")


def bad_names(stores: Stores) -> None:
    """An empty or over-long name, or one with a lone surrogate, is refused everywhere."""
    backend = stores.fresh()
    for name in BAD_NAMES:
        what = f"The name {name[:8]!r} of {len(name)} characters"
        for call in (backend.load, backend.delete, backend.read, backend.drop):
            with refused(ValueError, what):
                call(name)
        with refused(ValueError, what):
            backend.save(name, b"", version=0)
        with refused(ValueError, what):
            backend.append(name, [b""])
        with refused(ValueError, what):
            backend.append(name, [], after="")
    for prefix in BAD_NAMES[1:]:
        with refused(ValueError, f"The prefix {prefix[:8]!r} of {len(prefix)} characters"):
            backend.scan(prefix)


CHECKS: tuple[Check, ...] = (names, names_deleted, names_as_prefixes, bad_names)
