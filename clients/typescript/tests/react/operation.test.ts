/** `useOperation` against a real server, in StrictMode. The hop before the server counts what is asked. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { type ReactNode, createElement as h, useEffect } from "react";
import { type Client, restive } from "../../src/index.js";
import { type OperationView, useOperation } from "../../src/react.js";
import { Hop, Running, until } from "../real/running.js";
import { Mounted } from "./page.js";

let running: Running;
let hop: Hop;
let live: Client;
let mounted: Mounted;
let mounts: number;
let named: string | null;
let views: OperationView<{ lines: number }>[];

before(async () => {
  running = await Running.start();
});
after(() => running.end());
beforeEach(async () => {
  hop = await Hop.before(running.port);
  live = restive(hop.url, {
    transport: "sse",
    policy: { patience: 2000, wait: 2000, silence: 8000, backoff: 20 },
  });
  views = [];
  mounts = 0;
  mounted = new Mounted(live, h(Shown));
  await until("it is there", () => mounts === 2); // as StrictMode does
});
afterEach(async () => {
  mounted.end();
  live.close();
  await hop.end();
});

function Shown({ url = null }: { url?: string | null }): ReactNode {
  const view = useOperation<{ lines: number }>(url);
  views.push(view);
  useEffect(() => void mounts++, []);
  useEffect(() => void (named = url), [url]);
  return view.error?.name ?? view.state?.status ?? "nothing";
}

const now = (): OperationView<{ lines: number }> => views.at(-1)!;

function lines(text: string): { body: FormData } {
  const body = new FormData();
  body.set("file", new Blob([text]), "lines.txt");
  return { body };
}

test("it is started, and shows progress, parts and the result", async () => {
  const op = await now().start("/counts?hold=0.2", lines("a\nb\nc\n"));
  await until("parts while it runs", () => now().state?.status === "running" && now().parts.length > 0);
  await until("the result", () => now().result);
  assert.deepEqual(now().result, { lines: 3 });
  await until("all parts", () => now().parts.length === 3);
  assert.deepEqual(
    now().parts.map(({ name }) => name),
    ["1.json", "2.json", "3.json"],
  );
  assert.deepEqual(await now().parts[2]?.json(), { line: "c" });
  const { url, progress, error } = now();
  assert.deepEqual([url, progress?.completed, progress?.total, error], [op?.url, 3, 3, null]);
  assert.equal(hop.count(/^POST/), 1);
});

test("it is canceled", async () => {
  void now().start("/counts?hold=0.1", lines("x\n".repeat(600)));
  await now().cancel();
  await until("it was canceled", () => now().state?.status === "canceled");
  await until("the error says so", () => mounted.text === "OperationCanceled");
});

test("what its url names goes on, asked for once", async () => {
  const op = await live.operation("/counts?hold=0.2", { method: "POST", ...lines("a\nb\nc\n") });
  const path = new URL(op.url).pathname;
  mounted.show(h("p", null, h(Shown, { url: path })));
  await until("the result", () => now().result && now().parts.length === 3);
  assert.equal(now().url, op.url);
  assert.equal(hop.count(new RegExp(`^GET ${path} `)), 1);
});

test("a url that names what was started asks for nothing", async () => {
  const op = await now().start("/counts", lines("a\n"));
  await until("the result", () => now().result && now().parts.length);
  const asked = hop.lines.length;
  const path = new URL(op!.url).pathname;
  mounted.show(h(Shown, { url: path }));
  await until("it is named", () => named === path);
  assert.equal((await live.operation(op!.url)).state.status, "succeeded");
  assert.deepEqual(now().result, { lines: 1 });
  mounted.show(h(Shown));
  await until("it is left", () => mounted.text === "nothing");
  assert.deepEqual(now().parts, []);
  assert.equal(hop.lines.length, asked + 1);
});

test("another one takes the place of the first, which goes on", async () => {
  const first = await now().start("/counts?hold=0.1", lines("a\nb\nc\n"));
  await now().start("/counts", lines("a\n"));
  await until("the result", () => now().result);
  assert.deepEqual(now().result, { lines: 1 });
  assert.notEqual(now().url, first?.url);
  assert.deepEqual(await (await live.operation(first!.url)).result(), { lines: 3 });
  await until(
    "its parts are in the document",
    async () => (await live.operation(first!.url)).state.parts === 3,
  );
  assert.deepEqual([now().result, now().parts.length], [{ lines: 1 }, 1]);
});

test("what goes wrong is in error", async () => {
  assert.equal(await now().start("/nothing"), null);
  await until("it was refused", () => mounted.text === "RequestRefused");
  await now().start("/sums", { body: [] });
  await until("it has failed", () => mounted.text === "OperationFailed");
  assert.equal(now().state?.status, "failed");
  mounted.show(h(Shown, { url: "http://else.test/counts/1" }));
  await until("it is elsewhere", () => mounted.text === "UsageError");
});

test("when it is unmounted the operation goes on, unseen", async () => {
  const op = await now().start("/counts?hold=0.1", lines("x\n".repeat(600)));
  await until("it is watched", () => hop.open(/live=/) > 0);
  mounted.show(null);
  await until("it is not", () => hop.open(/live=/) === 0);
  const found = await live.operation(op!.url);
  assert.equal(found.state.status, "running");
  await found.cancel();
});
