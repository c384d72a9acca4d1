/** Event streams are read as the Python client reads them, however they are cut. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type SSEEvent, sseParser } from "../../src/wire/sse";
import { vectors } from "../vectors";

/** First event ID, stream, size of the chunks, events behind their chunk's number, reconnection time. */
type Row = [string, string, number, [number, SSEEvent][], number | null];

for (const [first, stream, size, expected, retry] of vectors<Row>("sse")) {
  test(`${JSON.stringify(stream).slice(0, 60)} by ${size}`, () => {
    const parser = sseParser(first);
    const decoder = new TextDecoder();
    const bytes = Buffer.from(stream, "latin1");
    const found: [number, SSEEvent][] = [];
    for (let n = 0; n * size < bytes.length; n++) {
      const text = decoder.decode(bytes.subarray(n * size, (n + 1) * size), { stream: true });
      for (const event of parser.feed(text)) found.push([n, event]);
    }
    assert.deepEqual(found, expected);
    assert.equal(parser.retry, retry);
  });
}

test("a line of many chunks costs no more than its length", () => {
  const parser = sseParser();
  const chunk = "x".repeat(100);
  parser.feed("data:");
  for (let n = 0; n < 100_000; n++) parser.feed(chunk);
  assert.equal(parser.feed("\n\n")[0]?.data.length, 10_000_000);
});
