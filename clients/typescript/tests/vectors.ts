/**
 * The table that the clients of all languages share: `tests/client/vectors`, written by the Python client's tests
 * (see `vectors.py` there). Bytes are `{"base64": …}` in it.
 */

import { readFileSync } from "node:fs";

/** The rows of the file `name`. */
export function vectors<Row>(name: string): Row[] {
  const text = readFileSync(`../../tests/client/vectors/${name}.json`, "utf8");
  return JSON.parse(text, (_key, value: unknown) => bytes(value)) as Row[];
}

function bytes(value: unknown): unknown {
  const found = value !== null && typeof value === "object" && "base64" in value && value.base64;
  return typeof found === "string" ? new Uint8Array(Buffer.from(found, "base64")) : value;
}
