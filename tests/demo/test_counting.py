"""Counting a file in chunks and blocks gives what counting it whole gives, wherever the cuts are."""

from __future__ import annotations

import pickle
import re
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restive.demo import counting
from restive.demo.counting import Chunk, Tally, count_words, joined, split, tally
from restive.demo.digest import Merge
from restive.demo.frequencies import LONGEST, Frequencies

# Few letters, so that cuts, spaces, line ends and unprintable bytes fall together often.
hostile = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"a", b" ", b"\n", b"\0", b"\xff", b"\t\r"]), max_size=60
).map(b"".join)


def words_of(data: bytes) -> int:
    """What ``LC_ALL=C wc -w`` counts: runs without white space that hold something printable."""
    return sum(1 for run in re.findall(rb"[^ \t\n\r\x0b\x0c]+", data) if re.search(rb"[!-~]", run))


def whole(data: bytes) -> Tally:
    return tally(data, data.split())


@given(hostile)
def test_a_tally_counts_lines_words_and_bytes(data: bytes) -> None:
    found = whole(data)
    assert (found.bytes, found.lines, found.words) == (len(data), data.count(b"\n"), words_of(data))


@given(hostile, st.lists(st.integers(0, 200), max_size=5))
def test_tallies_of_any_pieces_join_to_that_of_the_whole(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    numbered = [(number, whole(piece)) for number, piece in enumerate(pieces)]
    assert joined(reversed(numbered)) == whole(data)


@settings(max_examples=60, deadline=None)
@given(data=hostile, size=st.integers(1, 50), block=st.integers(1, 30))
def test_chunks_cover_the_file_and_their_counts_add_up(
    data: bytes, size: int, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("count") / "file"
    path.write_bytes(data)
    chunks = split(path, size)
    assert b"".join(data[c.start : c.end] for c in chunks) == data
    assert [c.number for c in chunks] == list(range(len(chunks)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "BLOCK", block)
        merge = Merge("file")
        for chunk in reversed(chunks):
            merge.add(count_words(chunk))
    digest = merge.digest()
    assert (digest.bytes, digest.lines, digest.words) == (len(data), data.count(b"\n"), words_of(data))


def test_chunks_end_at_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one line of text\n" * 1000)
    chunks = split(path, 1000)
    assert len(chunks) > 10
    data = path.read_bytes()
    assert all(data[: c.end].endswith(b"\n") for c in chunks)


def test_a_file_without_any_line_end_is_cut_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "solid"
    path.write_bytes(b"x" * 500_000)
    chunks = split(path, 100_000)
    assert [c.end - c.start for c in chunks] == [100_000] * 5
    assert joined((c.number, count_words(c).tally) for c in chunks).words == 1


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert split(path) == []
    assert Merge("empty").digest().bytes == 0


def test_words_of_each_chunk_are_counted_exactly_where_the_table_holds_them(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"to be or not to be\nthat is\tthe question\n")
    counts = count_words(Chunk(0, str(path), 0, path.stat().st_size))
    document = counts.document(top=2)
    assert [(each.word, each.count) for each in document["top"]] == [("be", 2), ("to", 2)]  # type: ignore[attr-defined]
    assert document["top_error"] == 0


def test_counts_travel_between_processes(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a b a\n")
    counts = count_words(Chunk(0, str(path), 0, 6))
    again = pickle.loads(pickle.dumps((count_words, counts)))[1]
    assert again.document() == counts.document()


def test_lines_words_and_bytes_of_a_text_are_those_of_wc(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("The quick  brown\tfox\r\njumps over\n\n the lazy dog.\f No line end" * 20_000)
    counted = subprocess.run(
        ["wc", path], env={"LC_ALL": "C"}, capture_output=True, check=True
    ).stdout.split()[:3]
    merge = Merge("text")
    for chunk in split(path, 100_000):
        merge.add(count_words(chunk))
    digest = merge.digest()
    assert [digest.lines, digest.words, digest.bytes] == [int(each) for each in counted]


# Tables of bounded size


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), max_size=100), st.integers(2, 8))
def test_no_count_is_too_high_nor_lower_than_the_error_says(words: list[bytes], limit: int) -> None:
    table, exact = Frequencies(limit), Counter(words)
    for word in words:
        table.add([word])
    assert len(table.counts) <= limit
    assert all(exact[word] - table.error <= table.counts[word] <= exact[word] for word in exact)


@given(
    st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=30), max_size=6),
    st.integers(2, 6),
)
def test_the_bound_holds_for_merged_tables(lists: list[list[bytes]], limit: int) -> None:
    merged, exact = Frequencies(limit), Counter[bytes]()
    for words in lists:
        table = Frequencies(limit)
        table.add(words)
        merged.merge(table)
        exact.update(words)
    assert len(merged.counts) <= limit
    assert all(exact[word] - merged.error <= merged.counts[word] <= exact[word] for word in exact)


def test_words_too_long_to_be_listed_take_no_place_in_the_table() -> None:
    table = Frequencies()
    table.add([b"x" * (LONGEST + 1), b"short"])
    table.trim()
    assert list(table.counts) == [b"short"]
    assert table.error == 0


def test_what_is_no_utf8_is_shown_escaped_and_kept_apart() -> None:
    table = Frequencies()
    table.add([b"\xff", b"\xfe", "é".encode()])
    assert [each.word for each in table.top(3)] == ["é", "\\xfe", "\\xff"]
