/** The clock alone, as on Node: a machine that slept begins anew; a page's own events are tried in a browser. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { presence } from "../src/presence.js";

test("a late timer is a machine that slept", (context) => {
  context.mock.timers.enable({ apis: ["setInterval"] });
  const now = context.mock.method(Date, "now", () => 0);
  const told: unknown[] = [];
  const stop = presence(60_000, (away) => told.push(away));
  const pass = (seconds: number) => {
    const at = Date.now() + seconds * 1000;
    now.mock.mockImplementation(() => at);
    context.mock.timers.tick(5_000);
  };
  pass(5);
  pass(6); // a busy machine
  assert.deepEqual(told.splice(0), [undefined, undefined]);
  pass(3600);
  assert.deepEqual(told.splice(0), [true, false]);
  pass(5);
  assert.deepEqual(told.splice(0), [undefined]);
  stop();
  pass(5);
  assert.deepEqual(told, []);
});
