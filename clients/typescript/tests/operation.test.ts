/** Operations against a real server, watched as a page does, with a hop before it that cuts, holds and refuses. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import {
  Closed,
  OperationCanceled,
  OperationFailed,
  RequestRefused,
  Unreachable,
  UsageError,
  WatchEnded,
} from "../src/errors.js";
import {
  type Client,
  type ClientOptions,
  type Operation,
  type OperationOptions,
  type OperationState,
  type Progress,
  restive,
} from "../src/index.js";
import { operationAt } from "../src/operation.js";
import { serverAt } from "../src/server.js";
import { Hop, Running, until } from "./real/running.js";

let running: Running;
let hop: Hop;
let live: Client;

before(async () => {
  running = await Running.start();
});
after(() => running.end());
beforeEach(async () => {
  hop = await Hop.before(running.port);
});
afterEach(async () => {
  live?.close();
  await hop.end();
});

const QUICK = { patience: 2000, wait: 2000, backoff: 20 };

function operation<T>(
  url: string,
  options?: OperationOptions,
  client: ClientOptions = {},
): Promise<Operation<T>> {
  live = restive(hop.url, { transport: "sse", ...client, policy: { ...QUICK, ...client.policy } });
  return live.operation<T>(url, options);
}

function lines(text: string): FormData {
  const form = new FormData();
  form.set("file", new Blob([text]), "lines.txt");
  return form;
}

async function take<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

const refused = (status: number) => (error: unknown) =>
  error instanceof RequestRefused && error.problem.status === status;
const usage = (message: RegExp) => (error: unknown) =>
  error instanceof UsageError && message.test(error.message);

test("a file is posted, its parts come while it runs, and its result", async () => {
  const op = await operation<{ lines: number }>("/counts?hold=0.15", {
    method: "POST",
    body: lines("a\nb\nc\n"),
  });
  assert.match(op.url, new RegExp(`^${hop.url}/counts/`));
  assert.equal(op.url.split("/").at(-1), op.id);
  const seen: Progress[] = [];
  op.onprogress = (progress) => seen.push(progress);
  const parts: string[] = [];
  for await (const part of op.parts()) {
    parts.push(part.name);
    if (part.name === "1.json") assert.notEqual(op.state.status, "succeeded");
    assert.deepEqual(await part.json(), { line: "abc"[parts.length - 1] });
    const bytes = await part.bytes();
    assert.equal(bytes.length, part.size);
    assert.equal((await part.response()).headers.get("repr-digest"), part.digest);
    assert.match(part.type, /json/);
  }
  assert.deepEqual(parts, ["1.json", "2.json", "3.json"]);
  assert.deepEqual(await op.result(), { lines: 3 });
  assert.deepEqual(seen.at(-1), op.state.progress);
  const completed = seen.map((progress) => progress.completed);
  assert.deepEqual(completed, [...completed].sort());
  assert.ok(new Set(completed).size >= 3);
});

test("all who look share one watch, which is over with the operation", async () => {
  const op = await operation("/counts?hold=0.2", { method: "POST", body: lines("a\nb\nc\n") });
  op.onprogress = () => {};
  const [states, parts, result] = await Promise.all([take(op.states()), take(op.parts()), op.result()]);
  assert.equal(states.at(-1)?.status, "succeeded");
  assert.equal(parts.length, 3);
  assert.deepEqual(result, { lines: 3 });
  assert.equal(hop.count(/live=sse/), 1);
  assert.deepEqual((await take(op.states())).length, 1);
  await until("it is not watched any more", () => hop.open(/live=/) === 0);
  assert.equal(hop.count(/live=sse/), 1);
});

test("no state is shown twice, and the watch ends with its last looker", async () => {
  const op = await operation("/counts?hold=5", { method: "POST", body: lines("a\nb\n") });
  const states: OperationState[] = [];
  for await (const state of op.states()) {
    states.push(state);
    if (state.progress.completed === 1) break;
  }
  await until("it is not watched any more", () => hop.open(/live=/) === 0);
  const texts = states.map((state) => JSON.stringify(state));
  assert.equal(new Set(texts).size, texts.length);
  const seen: Progress[] = [];
  op.onprogress = (progress) => seen.push(progress);
  await until("it is watched again", () => hop.open(/live=/) === 1);
  op.onprogress = null;
  await until("it is not watched any more", () => hop.open(/live=/) === 0);
  assert.equal((await op.cancel()).status === "succeeded", false);
});

test("a state that is told again is not shown again", async () => {
  const { url, state } = await operation("/counts?hold=5", { method: "POST", body: lines("a\n") });
  const told = [
    state,
    state,
    { ...state, attempt: 7 },
    { ...state, attempt: 7 },
    { ...state, status: "canceled" },
  ];
  const watch = (_target: string, onState: (data: unknown) => void): (() => void) => {
    told.forEach((each, index) => setTimeout(() => onState({ ...each }), 20 * index));
    return () => {};
  };
  const op = await operationAt(serverAt(hop.url, {}), watch, url);
  op.state = { ...state };
  const seen: unknown[] = [];
  op.onprogress = (_progress, { attempt, status }) => seen.push([attempt, status]);
  await take(op.states());
  assert.deepEqual(seen, [
    [1, state.status],
    [7, state.status],
    [1, "canceled"],
  ]);
  await op.delete();
});

test("plain values are sent as JSON, and a long result is fetched", async () => {
  const op = await operation<number>("/sums", { method: "POST", body: [1, 2, 3] });
  assert.equal(await op.result(), 6);
  const long = await operation<string>("/long", { method: "POST", wait: 5000 });
  assert.equal(long.state.status, "succeeded");
  assert.equal(long.state.result, null);
  assert.equal(await long.result(), "x".repeat(100_000));
});

test("a POST whose answer is lost makes one operation", async () => {
  const before = await running.count("sums");
  let posts = 0;
  hop.fate = (line) => (line.startsWith("POST") && ++posts <= 2 ? "cut" : "pass");
  const op = await operation<number>("/sums", { method: "POST", body: [4, 5] });
  assert.equal(await op.result(), 9);
  assert.equal(posts, 3);
  assert.equal((await running.count("sums")) - before, 1);
});

test("a file whose POST is cut in the middle, or answered 502, is sent again", async () => {
  const before = await running.count("counts");
  let posts = 0;
  hop.fate = (line) => {
    if (!line.startsWith("POST")) return "pass";
    return (
      [{ status: 502 }, "cut" as const, { status: 503, headers: { "retry-after": "1" } }][posts++] ?? "pass"
    );
  };
  const text = "line\n".repeat(50);
  const op = await operation("/counts", { method: "POST", body: lines(text) });
  assert.deepEqual(await op.result(), { lines: 50 });
  assert.equal((await running.count("counts")) - before, 1);
  assert.equal(hop.count(/^POST/), 4);
});

test("a key of one's own finds the same operation", async () => {
  const idempotencyKey = 'mine-"quoted", 1'.replace(/[ ,]/g, "");
  const one = await operation("/sums", { method: "POST", body: [1], idempotencyKey });
  const two = await operation("/sums", {
    method: "POST",
    body: [1],
    headers: { "idempotency-key": `"${idempotencyKey.replace(/"/g, '\\"')}"` },
  });
  assert.equal(one.url, two.url);
  await assert.rejects(operation("/sums", { method: "POST", body: [2], idempotencyKey }), refused(422));
});

test("an operation is found again by its URL", async () => {
  const first = await operation("/counts?hold=0.3", { method: "POST", body: lines("a\nb\n") });
  const again = await operation(first.url);
  assert.equal(again.id, first.id);
  const path = await operation<{ lines: number }>(new URL(first.url).pathname);
  assert.equal((await take(path.parts())).length, 2);
  assert.deepEqual(await path.result(), { lines: 2 });
  await assert.rejects(operation("/counts/nowhere"), refused(404));
  await assert.rejects(operation("/document"), /is no operation/);
});

test("a connection that is lost again and again hides no part", async () => {
  const op = await operation("/counts?hold=0.2", { method: "POST", body: lines("a\nb\nc\nd\n") });
  const parts = take(op.parts());
  for (let cut = 0; cut < 5; cut++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    hop.cut();
  }
  assert.deepEqual(
    (await parts).map((part) => part.name),
    ["1.json", "2.json", "3.json", "4.json"],
  );
  assert.deepEqual(await op.result(), { lines: 4 });
});

test("cancel, and what is thrown then", async () => {
  const op = await operation("/counts?hold=10", { method: "POST", body: lines("a\nb\n") });
  const result = op.result();
  await until("it runs", async () => (await op.cancel()).status !== "queued");
  await assert.rejects(result, OperationCanceled);
  assert.equal(op.state.status, "canceled");
  assert.equal((await op.cancel()).status, "canceled");
});

test("a failure is thrown with its problem", async () => {
  const op = await operation("/sums", { method: "POST", body: [] });
  await assert.rejects(
    op.result(),
    (error) => error instanceof OperationFailed && error.problem.status >= 400,
  );
});

test("delete forgets it; those who look are told, and nothing is there any more", async () => {
  const op = await operation("/counts?hold=10", { method: "POST", body: lines("a\nb\n") });
  const result = assert.rejects(
    op.result(),
    (error) => error instanceof WatchEnded && error.problem.status === 410,
  );
  const watched = new Promise((resolve) => (op.onerror = resolve));
  op.onprogress = () => {};
  await until("it is watched", () => hop.open(/live=/) === 1);
  let deletes = 0;
  hop.fate = (line) => (line.startsWith("DELETE") && ++deletes === 1 ? "cut" : "pass");
  await op.delete();
  assert.equal(deletes, 2);
  await result;
  assert.ok((await watched) instanceof WatchEnded);
  await assert.rejects(op.delete(), refused(410));
});

test("the signal gives up, and so does a client that is closed", async () => {
  const controller = new AbortController();
  const op = await operation("/counts?hold=10", {
    method: "POST",
    body: lines("a\nb\n"),
    signal: controller.signal,
  });
  const result = op.result();
  await until("it is watched", () => hop.open(/live=/) === 1);
  controller.abort(new Error("enough"));
  await assert.rejects(result, /enough/);
  await assert.rejects(op.cancel(), /enough/);
  await until("it is not watched any more", () => hop.open(/live=/) === 0);
  const other = await operation(op.url);
  const waits = other.result();
  await until("it is watched", () => hop.open(/live=/) === 1);
  live.close();
  await assert.rejects(waits, Closed);
  await assert.rejects(other.cancel(), Closed);
  await (await operation(op.url)).delete();
});

test("what cannot be reached is Unreachable, and a refusal is told at once", async () => {
  hop.fate = () => "cut";
  const soon = { policy: { connectWithin: 400 } };
  await assert.rejects(operation("/sums", { method: "POST", body: [1] }, soon), Unreachable);
  hop.fate = () => "pass";
  await assert.rejects(operation("/sums", { method: "POST", body: "no JSON" }), refused(422));
  await assert.rejects(operation("/nowhere", { method: "POST" }), refused(404));
  hop.fate = () => ({ status: 503, headers: { "retry-after": "3600" } });
  await assert.rejects(operation("/sums", { method: "POST", body: [1] }), refused(503));
});

test("bad arguments say what to do", async () => {
  const bad: [OperationOptions, RegExp][] = [
    [{ method: "GET" }, /method: "POST"/],
    [{ body: [1] }, /method: "POST"/],
    [{ wait: 5 }, /method: "POST"/],
    [{ method: "POST", wait: -1 }, /milliseconds/],
    [{ method: "POST", wait: "5" as unknown as number }, /milliseconds/],
    [{ method: "POST", idempotencyKey: "" }, /visible characters/],
    [{ method: "POST", idempotencyKey: "grüße" }, /visible characters/],
    [{ method: "POST", body: new ReadableStream() }, /cannot be repeated/],
    [{ method: "POST", body: new Map() }, /plain object/],
    [{ method: "POST", body: 3 as unknown as object }, /plain object/],
    [{ method: "POST", body: { big: 1n } }, /JSON/],
    [{ method: "POST", headers: { "bad name": "x" } }, /header fields/],
  ];
  for (const [options, message] of bad) await assert.rejects(operation("/sums", options), usage(message));
  await assert.rejects(operation("https://elsewhere.example/sums"), UsageError);
  await assert.rejects(operation(""), UsageError);
  const op = await operation("/sums", { method: "POST", body: [1] });
  assert.throws(() => (op.onprogress = 3 as unknown as null), usage(/function/));
  assert.equal(hop.count(/POST/), 1);
});
