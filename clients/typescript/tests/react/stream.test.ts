/** `useStream` against a real server, in StrictMode. The hop before the server counts what is asked. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Activity, type ReactNode, createElement as h } from "react";
import { type Client, restive } from "../../src/index.js";
import { type StreamView, type UseStreamOptions, useStream } from "../../src/react.js";
import { Hop, Running, until } from "../real/running.js";
import { Mounted } from "./page.js";

let running: Running;
let hop: Hop;
let live: Client;
let mounted: Mounted;
let views: StreamView<number>[];

before(async () => {
  running = await Running.start();
});
after(() => running.end());
beforeEach(async () => {
  hop = await Hop.before(running.port);
  live = restive(hop.url, { policy: { patience: 2000, wait: 2000, silence: 8000, backoff: 20 } });
  views = [];
});
afterEach(async () => {
  mounted.end();
  live.close();
  await hop.end();
});

function Shown({ url, ...options }: { url: string | null } & UseStreamOptions): ReactNode {
  const view = useStream<number>(url, options);
  views.push(view);
  return view.items.length;
}

const now = (): StreamView<number> => views.at(-1)!;
const upTo = (end: number, from = 0): number[] => Array.from({ length: end - from }, (_, n) => from + n);

test("a thousand items are rendered a few times", async () => {
  mounted = new Mounted(live, h(Shown, { url: "/rooms/many/messages" }));
  await until("it reads live", () => hop.open(/live=sse/) === 1);
  for (let from = 0; from < 1000; from += 250) await running.post("/_/say/many", upTo(from + 250, from));
  await until("all items", () => now().items.length === 1000);
  assert.deepEqual(now().items, upTo(1000));
  // StrictMode renders everything twice.
  assert.ok(views.length <= 40, `${views.length} renders`);
  assert.equal(hop.count(/\?offset=-1 /), 1);
  await running.post("/_/say/many?close=true", []);
  await until("it is closed", () => now().closed);
  assert.equal(now().error, null);
});

test("the latest are kept", async () => {
  await running.post("/_/say/kept", upTo(25));
  mounted = new Mounted(live, h(Shown, { url: "/rooms/kept/messages", keep: 10 }));
  await until("the last ten", () => now()?.items.at(-1) === 24);
  assert.deepEqual(now().items, upTo(25, 15));
  await running.post("/_/say/kept", [25]);
  await until("one more", () => now().items.at(-1) === 25);
  assert.deepEqual(now().items, upTo(26, 16));
  assert.throws(() => useStream("/rooms/kept/messages", { keep: 0 }), { name: "UsageError" });
});

test("another url begins with nothing; null reads nothing", async () => {
  await running.post("/_/say/first", [1]);
  await running.post("/_/say/second", [2, 3]);
  mounted = new Mounted(live, h(Shown, { url: null }));
  await until("nothing", () => mounted.text === "0");
  assert.deepEqual(hop.lines, []);
  mounted.show(h(Shown, { url: "/rooms/first/messages" }));
  await until("the first", () => mounted.text === "1");
  const seen = views.length;
  mounted.show(h(Shown, { url: "/rooms/second/messages" }));
  await until("the second", () => mounted.text === "2");
  assert.deepEqual(now().items, [2, 3]);
  assert.ok(views.slice(seen).every(({ items }) => !items.includes(1)));
  await until("the first is not read any more", () => hop.open(/first/) === 0);
});

test("reading ends with the component", async () => {
  mounted = new Mounted(live, h(Shown, { url: "/rooms/left/messages" }));
  await until("it reads live", () => hop.open(/live=sse/) === 1);
  mounted.show(null);
  await until("it does not", () => hop.open(/live=sse/) === 0);
});

test("what was hidden is read anew", async () => {
  await running.post("/_/say/hidden", upTo(5));
  const shown = h(Shown, { url: "/rooms/hidden/messages" });
  mounted = new Mounted(live, h(Activity, { mode: "visible", children: shown }));
  await until("it reads live", () => now()?.items.length === 5 && hop.open(/live=sse/) === 1);
  mounted.show(h(Activity, { mode: "hidden", children: shown }));
  await until("it does not", () => hop.open(/live=sse/) === 0);
  mounted.show(h(Activity, { mode: "visible", children: shown }));
  await until("it does again", () => hop.open(/live=sse/) === 1);
  await running.post("/_/say/hidden", [5]);
  await until("one more", () => now().items.at(-1) === 5);
  assert.deepEqual(now().items, upTo(6));
});

test("an error is shown", async () => {
  mounted = new Mounted(live, h(Shown, { url: "/secrets/lost" }));
  await until("it is refused", () => now()?.error);
  assert.equal(now().error?.name, "WatchEnded");
  mounted.show(h(Shown, { url: "http://else.test/" }));
  await until("it is elsewhere", () => now().error?.name === "UsageError");
});
