/** Watches on Node, against a real server and through a hop that misbehaves. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Running, Hop, until } from "./real/running.js";
import {
  type ClientOptions,
  type Live,
  type Status,
  Unreachable,
  WatchEnded,
  restive,
} from "../src/watch.js";

const SHORT = { patience: 600, wait: 1000, pollInterval: 50, backoff: 50, mostBackoff: 300, linger: 50 };

interface Document {
  n: number;
}

let server: Running;
let hop: Hop;
const clients: Live[] = [];

before(async () => (server = await Running.start()));
after(() => server.end());
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await hop.end();
});

async function connect(options: ClientOptions = {}): Promise<Live> {
  hop = await Hop.before(server.port);
  await put(1);
  const live = restive(hop.url, { ...options, policy: { ...SHORT, ...options.policy } });
  clients.push(live);
  return live;
}

async function put(n: number): Promise<void> {
  const headers = { "content-type": "application/json" };
  await fetch(`${server.url}/document`, { method: "PUT", body: JSON.stringify({ n }), headers });
}

function follow(live: Live, url = "/document") {
  const found = { seen: [] as number[], errors: [] as Error[], states: [] as string[] };
  const stop = live.watch<Document>(url, ({ n }) => found.seen.push(n), {
    onError: (error) => found.errors.push(error),
    onStatus: ({ is, transport }: Status) => found.states.push(transport ?? is),
  });
  return { ...found, stop };
}

for (const transport of ["websocket", "sse", "long-poll", "poll"] as const) {
  test(`shows the state and each change over ${transport}`, async () => {
    const watch = follow(await connect({ transport }));
    for (const n of [1, 2, 3]) {
      if (n > 1) await put(n);
      await until(`state ${n}`, () => watch.seen.at(-1) === n);
    }
    assert.deepEqual(watch.seen, [1, 2, 3]);
    assert.deepEqual(watch.states, [transport]);
    assert.deepEqual(watch.stop.state?.data, { n: 3 });
    assert.match(watch.stop.state?.etag ?? "", /^"r-/);
    watch.stop();
    assert.deepEqual(watch.stop.status, { is: "ended", transport: null });
    await until("all is closed", () => hop.open(/./) === 0);
  });
}

for (const transport of ["sse", "long-poll"] as const) {
  test(`many watches share one request over ${transport}, and a refused one is told apart`, async () => {
    const live = await connect({ transport });
    const watches = Array.from({ length: 10 }, (_, number) => follow(live, `/document?watch=${number}`));
    const absent = follow(live, "/nowhere");
    for (const n of [1, 2, 3]) {
      if (n > 1) await put(n);
      await until(`state ${n} everywhere`, () => watches.every(({ seen }) => seen.at(-1) === n));
      assert.ok(hop.open(/live=/) <= 1, `${hop.open(/live=/)} connections`);
    }
    for (const { seen, errors } of watches) assert.deepEqual([seen, errors], [[1, 2, 3], []]);
    await until("it is told", () => absent.errors.length);
    assert.ok(absent.errors[0] instanceof WatchEnded);
    assert.equal(absent.errors[0].problem.status, 404);
    assert.equal(hop.count(/^GET .*live=/), 0);
    // One for the beginning, and one for each answer of a long poll, which may name the changes one by one.
    const most = transport === "sse" ? 3 : 40;
    assert.ok(hop.count(/^POST /) <= most, `${hop.count(/^POST /)} requests`);
    watches.forEach(({ stop }) => stop());
    await until("all is closed", () => hop.open(/./) === 0);
  });
}

test("goes on after a restart of the server", async () => {
  const watch = follow(await connect());
  await until("the first state", () => watch.seen.length);
  await server.stop();
  await until("it is lost", () => watch.states.at(-1) === "connecting");
  await server.start();
  await put(2);
  await until("the second state", () => watch.seen.at(-1) === 2);
  assert.deepEqual(watch.errors, []);
});

test("without a WebSocket and with a hop that holds event streams it polls", async () => {
  const live = await connect();
  hop.fate = (line) => (line.includes("/-/live ") ? "cut" : line.includes("live=sse") ? "hold" : "pass");
  const watch = follow(live);
  await until("the first state", () => watch.seen.length);
  await put(2);
  await until("the second state", () => watch.seen.at(-1) === 2);
  assert.equal(watch.stop.status.transport, "long-poll");
  assert.equal(hop.count(/live=sse/), 1);
});

test("a loop gets the latest state, and break ends the watch", async () => {
  const live = await connect();
  const got: number[] = [];
  const watch = follow(live);
  for await (const { n } of live.watch<Document>("/document")) {
    got.push(n);
    if (n === 3) break;
    await put(2);
    await put(3);
    await until("the last one is there", () => watch.seen.at(-1) === 3);
  }
  assert.equal(got.at(0), 1);
  assert.equal(got.at(-1), 3);
  watch.stop();
  await until("all is closed", () => hop.open(/./) === 0);
});

test("an end is told, by the function or in the loop", async () => {
  const live = await connect();
  const watch = follow(live, "/nothing");
  await until("the end", () => watch.errors.length);
  assert.ok(watch.errors[0] instanceof WatchEnded);
  assert.equal(watch.errors[0].problem.status, 404);
  await assert.rejects(live.watch("/nothing")[Symbol.asyncIterator]().next(), { name: "WatchEnded" });
});

test("a server that never answers is told after a while", async () => {
  const live = await connect({ policy: { connectWithin: 500 } });
  hop.fate = () => "cut";
  const watch = follow(live);
  await until("the end", () => watch.errors.length);
  assert.ok(watch.errors[0] instanceof Unreachable);
  assert.match(watch.errors[0].message, /^No transport delivered http:.*\/document in 0.5 s\./);
});

test("a signal ends a watch, also one that has not begun", async () => {
  const live = await connect();
  const abort = new AbortController();
  const loop = live.watch("/document", undefined, { signal: abort.signal })[Symbol.asyncIterator]();
  assert.deepEqual((await loop.next()).value, { n: 1 });
  const next = loop.next();
  abort.abort();
  assert.deepEqual(await next, { value: undefined, done: true });
  const late = live.watch("/document", undefined, { signal: abort.signal })[Symbol.asyncIterator]();
  assert.deepEqual(await late.next(), { value: undefined, done: true });
});

test("what the user's function throws does not end the watch", async (context) => {
  const live = await connect();
  const complained = context.mock.method(console, "error", () => {});
  const seen: number[] = [];
  live.watch<Document>("/document", ({ n }) => {
    seen.push(n);
    throw new Error("mine");
  });
  await until("the first state", () => seen.length === 1);
  await put(2);
  await until("the second state", () => seen.length === 2);
  assert.equal(complained.mock.callCount(), 2);
});

test("a hundred lost connections leave nothing behind", async () => {
  const live = await connect({ policy: { stable: 0 } });
  const watch = follow(live);
  for (let n = 1; n <= 100; n++) {
    if (n > 1) await put(n);
    await until(`state ${n}`, () => watch.seen.at(-1) === n);
    hop.cut();
  }
  await put(101);
  await until("the last state", () => watch.seen.at(-1) === 101);
  assert.ok(hop.open(/./) <= 2, `${hop.open(/./)} are open`);
  assert.equal(new Set(watch.seen).size, watch.seen.length);
  assert.ok(hop.lines.length <= 400, `${hop.lines.length} requests`);
});
