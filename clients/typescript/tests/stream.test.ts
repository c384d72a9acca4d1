/** Streams against a real server, with a hop before it that cuts, holds and refuses. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Unreachable, UsageError, WatchEnded } from "../src/errors.js";
import { type ClientOptions, serverAt } from "../src/server.js";
import { type Stream, type StreamOptions, streamAt } from "../src/stream.js";
import { Hop, Running, until } from "./real/running.js";

let running: Running;
let hop: Hop;
let names = 0;
const opened: { close(): void }[] = [];

before(async () => {
  running = await Running.start();
});
after(() => running.end());
beforeEach(async () => {
  hop = await Hop.before(running.port);
});
afterEach(async () => {
  for (const stream of opened.splice(0)) stream.close();
  await hop.end();
});

const QUICK = { patience: 400, wait: 1000, backoff: 20, betterAfter: 600, silence: 20_000, stable: 300 };

function stream<T>(path: string, options: StreamOptions = {}, client: ClientOptions = {}): Stream<T> {
  const server = serverAt(hop.url, { ...client, policy: { ...QUICK, ...client.policy } });
  const found = streamAt<T>(server, path, options);
  opened.push(found);
  return found;
}

const room = (): string => `r${++names}`;
const say = (name: string, items: unknown[], close = false): Promise<void> =>
  running.post(`/_/say/${name}?close=${close}`, items);

async function take<T>(items: AsyncIterable<T>, most = Infinity): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) {
    found.push(item);
    if (found.length >= most) break;
  }
  return found;
}

/** Reads on in the background; what came so far is in the array. */
function reading<T>(items: AsyncIterable<T>): { found: T[]; over: Promise<unknown> } {
  const found: T[] = [];
  const over = (async () => {
    for await (const item of items) found.push(item);
  })().catch((error: unknown) => error);
  return { found, over };
}

const fails = (kind: typeof WatchEnded, status: number) => (error: unknown) =>
  error instanceof kind && error.problem.status === status;

test("a stream is read from its start to its end", async () => {
  const name = room();
  await say(name, [1, "two", { three: 3 }, null, [5]], true);
  assert.deepEqual(await take(stream(`/rooms/${name}/messages`)), [1, "two", { three: 3 }, null, [5]]);
});

for (const transport of ["sse", "long-poll"] as const) {
  test(`new items come by ${transport}, and its end`, async () => {
    const name = room();
    await say(name, [1]);
    const { found, over } = reading(stream<number>(`/rooms/${name}/messages`, { transport }));
    await until("the first", () => found.length === 1);
    await say(name, [2, 3]);
    await until("the next", () => found.length === 3);
    await say(name, [4], true);
    assert.equal(await over, undefined);
    assert.deepEqual(found, [1, 2, 3, 4]);
    assert.ok(hop.count(new RegExp(`live=${transport}`)) > 0);
  });

  test(`every item comes once and in order over ${transport} that is cut again and again`, async () => {
    const name = room();
    let cuts = 0;
    hop.fate = (line) => (/live=/.test(line) && ++cuts % 4 ? { after: 150 + ((cuts * 137) % 900) } : "pass");
    const { found, over } = reading(stream<number>(`/rooms/${name}/messages`, { transport }));
    const all = Array.from({ length: 300 }, (_, index) => index);
    for (let at = 0; at < all.length; at += 10) {
      await say(name, all.slice(at, at + 10));
      if (at % 50 === 0) hop.cut();
    }
    await say(name, [], true);
    await over;
    assert.deepEqual(found, all);
    assert.ok(cuts > 3);
  });
}

test("a server that is restarted costs nothing but time", async () => {
  const name = room();
  await say(name, [1]);
  const { found, over } = reading(stream<number>(`/rooms/${name}/messages`));
  await until("the first", () => found.length === 1);
  await running.stop();
  await running.start();
  await say(name, [2], true);
  await over;
  assert.deepEqual(found, [1, 2]);
  assert.ok(hop.lines.length < 200, `${hop.lines.length} requests`);
});

test("where events are held, long polls are tried, and later events again", async () => {
  const name = room();
  let held = true;
  hop.fate = (line) => (held && /live=sse/.test(line) ? "hold" : "pass");
  const { found } = reading(stream<number>(`/rooms/${name}/messages`));
  await until("a long poll", () => hop.count(/live=long-poll/) > 0);
  await say(name, [1]);
  await until("the item", () => found.length === 1);
  held = false;
  const before = hop.count(/live=sse/);
  await until("events again", () => hop.count(/live=sse/) > before);
  const polls = hop.count(/live=long-poll/);
  await say(name, [2]);
  await until("the next", () => found.length === 2);
  assert.equal(hop.count(/live=long-poll/), polls);
});

test("events that are cut soon, with no item, do not become a storm", async () => {
  const name = room();
  hop.fate = (line) => (/live=sse/.test(line) ? { lives: 50 } : "pass");
  const { found } = reading(
    stream<number>(`/rooms/${name}/messages`, { transport: "sse" }, { policy: { backoff: 300 } }),
  );
  await new Promise((resolve) => setTimeout(resolve, 3000));
  assert.ok(hop.lines.length <= 15, `${hop.lines.length} requests`);
  hop.fate = () => "pass";
  await say(name, [1]);
  await until("the item", () => found.length === 1);
});

test("a 502 for a while is waited out, and Retry-After obeyed", async () => {
  const name = room();
  await say(name, [1], true);
  let refused = 0;
  hop.fate = () =>
    ++refused <= 2
      ? { status: 503, headers: { "retry-after": "1" } }
      : refused <= 4
        ? { status: 502 }
        : "pass";
  const begun = performance.now();
  assert.deepEqual(await take(stream(`/rooms/${name}/messages`)), [1]);
  assert.ok(performance.now() - begun >= 2000);
  assert.equal(refused, 5);
});

test("text and bytes come as they were written, by events too", async () => {
  const name = room();
  const put = (path: string, method: string, type: string, body?: BodyInit): Promise<Response> =>
    fetch(running.url + path, { method, headers: { "content-type": type }, body: body ?? null });
  await put(`/notes/${name}`, "PUT", "text/plain");
  await put(`/blobs/${name}`, "PUT", "application/octet-stream");
  const text = reading(stream<string>(`/notes/${name}`, { transport: "sse" }));
  const bytes = reading(stream<Uint8Array>(`/blobs/${name}`, { transport: "sse" }));
  await until("both are live", () => hop.count(/live=sse/) === 2);
  await put(`/notes/${name}`, "POST", "text/plain", "grüße\n data: x\n\n");
  await put(`/blobs/${name}`, "POST", "application/octet-stream", new Uint8Array([0, 255, 10, 13]));
  await until("text", () => text.found.join("") === "grüße\n data: x\n\n");
  await until("bytes", () => bytes.found.length === 1);
  assert.deepEqual(bytes.found[0], new Uint8Array([0, 255, 10, 13]));
  assert.deepEqual(await take(stream<string>(`/notes/${name}`), 1), ["grüße\n data: x\n\n"]);
  assert.deepEqual(await take(stream<Uint8Array>(`/blobs/${name}`), 1), [new Uint8Array([0, 255, 10, 13])]);
});

test("offset is behind the last item that was read, and resumes there", async () => {
  const name = room();
  await say(name, [1, 2, 3]);
  await say(name, [4], true);
  const first = stream<number>(`/rooms/${name}/messages`);
  for await (const batch of first.batches()) {
    assert.equal(first.offset, batch.offset);
    if (batch.items.includes(3)) break;
  }
  const late = stream<number>(`/rooms/${name}/messages`, { offset: "now" });
  assert.deepEqual(await take(late), []);
  const half = stream<number>(`/rooms/${name}/messages`);
  assert.deepEqual(await take(half, 2), [1, 2]);
  assert.equal(half.offset, "-1");
  const whole = stream<number>(`/rooms/${name}/messages`);
  assert.deepEqual(await take(whole), [1, 2, 3, 4]);
  assert.deepEqual(await take(stream(`/rooms/${name}/messages`, { offset: whole.offset })), []);
});

test("a slow reader gets everything, however long it takes", async () => {
  const name = room();
  await say(name, [1]);
  const items = stream<number>(
    `/rooms/${name}/messages`,
    { transport: "sse" },
    { policy: { silence: 300, patience: 300 } },
  );
  const found: number[] = [];
  for await (const item of items) {
    found.push(item);
    await new Promise((resolve) => setTimeout(resolve, 700));
    if (found.length < 4) await say(name, [item + 1]);
    else break;
  }
  assert.deepEqual(found, [1, 2, 3, 4]);
  assert.equal(hop.count(/live=sse/), 1);
});

test("close, break and the signal end it, and its connection", async () => {
  const name = room();
  await say(name, [1]);
  const controller = new AbortController();
  const one = stream<number>(`/rooms/${name}/messages`);
  const two = stream<number>(`/rooms/${name}/messages`, { signal: controller.signal });
  const both = [reading(one), reading(two)];
  await until("both are live", () => both.every(({ found }) => found.length) && hop.count(/live=sse/) === 2);
  one.close();
  controller.abort();
  assert.deepEqual(await Promise.all(both.map(({ over }) => over)), [undefined, undefined]);
  const third = stream<number>(`/rooms/${name}/messages`, { offset: "now", transport: "sse" });
  const taken = take(third, 1);
  await until("the third is live", () => hop.open(/live=sse/) === 1);
  await say(name, [2]);
  assert.deepEqual(await taken, [2]);
  assert.deepEqual(await take(stream(`/rooms/${name}/messages`, { signal: AbortSignal.abort() })), []);
  await until("no event stream is open", () => hop.open(/live=/) === 0);
});

test("what the server ends is an error with its problem", async () => {
  await assert.rejects(take(stream("/notes/nowhere")), fails(WatchEnded, 404));
  const name = room();
  await running.post(`/_/short/${name}`, [1, 2]);
  const early = stream(`/short/${name}`);
  await take(early.batches(), 1);
  await running.post(
    `/_/short/${name}`,
    Array.from({ length: 200 }, (_, index) => index),
  );
  await assert.rejects(take(stream(`/short/${name}`, { offset: early.offset })), fails(WatchEnded, 410));
  await assert.rejects(take(stream(`/short/${name}`, { offset: "nonsense" })), fails(WatchEnded, 400));
});

test("a live stream that is deleted ends", async () => {
  const name = room();
  await fetch(`${running.url}/notes/${name}`, { method: "PUT", headers: { "content-type": "text/plain" } });
  const { over } = reading(stream(`/notes/${name}`));
  await until("it is live", () => hop.count(/live=sse/) === 1);
  await fetch(`${running.url}/notes/${name}`, { method: "DELETE" });
  const error = await over;
  assert.ok(error instanceof WatchEnded);
  assert.ok([404, 410].includes(error.problem.status));
});

test("after 401 it is tried once more, with the credentials of then", async () => {
  const name = room();
  await running.post(`/_/secrets/${name}`, ["a"]);
  let asked = 0;
  const token = (): string => (++asked === 1 ? "old" : "good");
  const { found } = reading(stream(`/secrets/${name}`, {}, { token }));
  await until("the item", () => found.length === 1);
  assert.equal(asked, 2);
  await running.post("/_/tokens", ["newer"]);
  const before = hop.lines.length;
  await running.post(`/_/secrets/${name}`, ["b"]);
  const refused = reading(stream(`/secrets/${name}`, {}, { token: () => "good" }));
  assert.ok(fails(WatchEnded, 401)(await refused.over));
  assert.ok(hop.lines.length - before < 12);
  await running.post("/_/tokens", ["good"]);
});

test("a server that was never there is Unreachable", async () => {
  hop.fate = () => "cut";
  const error = await reading(stream("/rooms/1/messages", {}, { policy: { connectWithin: 500 } })).over;
  assert.ok(error instanceof Unreachable);
  assert.ok(error.cause instanceof Error);
});

test("bad arguments say what to do", async () => {
  const bad: [string, StreamOptions, RegExp][] = [
    ["https://elsewhere.example/x", {}, /restive\("https/],
    ["/rooms/1/messages#x", {}, /fragment/],
    ["/rooms/1/messages?offset=3", {}, /options/],
    ["/rooms/1/messages", { transport: "websocket" as "sse" }, /auto, sse, long-poll/],
    ["/rooms/1/messages", { offset: 3 as unknown as string }, /"now"/],
    ["/rooms/1/messages", { offset: "" }, /"now"/],
    ["/rooms/1/messages", { headers: { "bad name": "x" } }, /header fields/],
    [7 as unknown as string, {}, /path/],
  ];
  for (const [url, options, message] of bad) {
    assert.throws(
      () => stream(url, options),
      (error) => error instanceof UsageError && message.test(error.message),
    );
  }
  const name = room();
  await say(name, [1], true);
  const once = stream(`/rooms/${name}/messages`);
  await take(once);
  await assert.rejects(take(once), UsageError);
});
