/** Responses, events of streams and objects of the socket are read as the Python client reads them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ofAnswer, ofEvent, ofSse } from "../../src/machine/news";
import type { Transport } from "../../src/machine/policy";
import { parseEvent } from "../../src/wire/frames";
import type { SSEEvent } from "../../src/wire/sse";
import { vectors } from "../vectors";

type Row =
  | ["ofAnswer", [Transport, number, Record<string, string>, Uint8Array, number], unknown]
  | ["ofSse", [SSEEvent, boolean], unknown]
  | ["ofEvent", [string], unknown];

for (const row of vectors<Row>("news")) {
  test(JSON.stringify(row.slice(0, 2)).slice(0, 200), () => assert.deepEqual(read(row), row[2]));
}

function read([reader, given]: Row): unknown {
  if (reader === "ofSse") return ofSse(...given);
  if (reader === "ofEvent") return ofEvent(parseEvent(given[0]) ?? assert.fail("it is an event"));
  const [transport, status, fields, body, now] = given;
  // Such a value cannot be put into `Headers`.
  const headers = { get: (name: string) => fields[name] ?? null };
  return ofAnswer(transport, status, headers, body, now);
}

test("what is no event is none", () => {
  for (const text of ["", "{", "7", "null", '"text"']) assert.equal(parseEvent(text), null);
});

test("the end of a stream is JSON", () => {
  assert.throws(() => ofSse({ name: "end", data: "{", id: "" }, false), SyntaxError);
});
