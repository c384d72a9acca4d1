/** `live.fetch` against a real server that allows requests over its socket, through a socket of the test's own. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { OutcomeUnknown, RestiveError, Unreachable, UsageError } from "../src/errors.js";
import { type Fetch, type SocketRequests, fetchOf, requestsOver } from "../src/fetch.js";
import { type ClientOptions, serverAt } from "../src/server.js";
import type { Event } from "../src/wire/frames.js";
import { Hop, Running, until } from "./real/running.js";
import { TextSocket } from "./real/text_socket.js";

let running: Running;
let hop: Hop;
let socket: TextSocket | null = null;
let requests: SocketRequests | null = null;
let sent: string[] = [];

before(async () => {
  running = await Running.start();
});
after(() => running.end());
beforeEach(async () => {
  hop = await Hop.before(running.port);
  socket = await TextSocket.open(hop.port);
  sent = [];
  const opened = socket;
  const own = requestsOver((text) => {
    sent.push(text);
    opened.send(text);
  });
  requests = own;
  opened.onText = (text) => own.answered(JSON.parse(text) as Event);
  opened.onClose = () => own.lost(new Error("The socket was closed."));
});
afterEach(async () => {
  socket?.close();
  await hop.end();
});

function client(options: ClientOptions = {}): Fetch {
  const policy = { patience: 1000, wait: 1000, backoff: 20, ...options.policy };
  const server = serverAt(hop.url, { ...options, policy });
  return fetchOf(server, { request: (request) => requests?.request(request) ?? null });
}

/** Requests that went over HTTP. */
const overHttp = (): number => hop.count(/^[A-Z]+ (?!\/-\/live)/);

interface Reflection {
  method: string;
  fields: Record<string, string>;
  body: string;
}

async function reflected(response: Response): Promise<Reflection> {
  assert.equal(response.status, 200);
  return (await response.json()) as Reflection;
}

test("a request goes over the socket, and its answer is a Response like any other", async () => {
  const json = await client()("/document");
  const http = await fetch(`${running.url}/document`);
  assert.deepEqual(await json.clone().json(), { n: 1 });
  assert.equal(await json.text(), await http.text());
  assert.equal(json.headers.get("content-type"), http.headers.get("content-type"));
  assert.equal(json.headers.get("etag"), http.headers.get("etag"));
  assert.equal(json.url, `${hop.url}/document`);
  assert.equal(json.ok, true);
  const text = await client()("/text");
  assert.equal(await text.text(), "grüße\n");
  assert.equal(text.headers.get("x-two"), "a");
  const missing = await client()("/nowhere");
  assert.equal(missing.status, 404);
  assert.deepEqual(await missing.json(), { detail: "Not Found" });
  const gone = await client()("/document", { method: "DELETE" });
  assert.equal(gone.status, 204);
  assert.equal(await gone.text(), "");
  assert.equal(await (await client()("/null")).json(), null);
  const unchanged = await client()("/document", {
    headers: { "if-none-match": http.headers.get("etag") ?? "" },
  });
  assert.equal(unchanged.status, 304);
  const head = await client()("/document", { method: "HEAD" });
  assert.ok([200, 405].includes(head.status));
  assert.equal(overHttp(), 0);
  assert.equal(sent.length, 7);
});

test("texts, forms and header fields arrive as over HTTP", async () => {
  const fetched = client({ token: () => "good", headers: { "accept-language": "de" } });
  const own = requests;
  for (const body of ["grüße", new URLSearchParams({ a: "1", b: "ä &" }), '{"n": 2}']) {
    const init = { method: "POST", body, headers: { accept: "application/json", "if-match": '"x"' } };
    const over = await reflected(await fetched("/reflect?a=1", init));
    requests = null;
    const http = await reflected(await fetched("/reflect?a=1", init));
    requests = own;
    for (const name of [
      "accept",
      "accept-language",
      "authorization",
      "content-type",
      "content-length",
      "if-match",
    ]) {
      assert.equal(over.fields[name], http.fields[name], name);
    }
    assert.equal(over.body, http.body);
    assert.equal(over.method, "POST");
  }
});

test("what a frame cannot hold goes over HTTP", async () => {
  const fetched = client();
  const inits: RequestInit[] = [
    { headers: { "x-own": "1" } },
    { method: "POST", body: new Blob(["a"]) },
    { method: "POST", body: new Uint8Array([1]) },
    { method: "POST", body: new FormData() },
    { method: "POST", body: "x".repeat(70_000) },
    { method: "POST", body: new Blob(["abc"]).stream() },
    { cache: "no-cache" },
    { redirect: "manual" },
  ];
  for (const init of inits) await reflected(await fetched("/reflect", init));
  assert.deepEqual(sent, []);
  assert.equal(overHttp(), inits.length);
});

test("a body that no frame holds is fetched over HTTP, unless that would do something twice", async () => {
  const bytes = await client()("/bytes");
  assert.deepEqual(new Uint8Array(await bytes.arrayBuffer()), new Uint8Array([0, 255]));
  const posted = await client()("/bytes", { method: "POST" });
  assert.equal(posted.status, 200);
  await assert.rejects(posted.text(), RestiveError);
  const before = await running.count("bytes");
  const keyed = await client()("/bytes", { method: "POST", headers: { "idempotency-key": "k" } });
  assert.equal((await keyed.arrayBuffer()).byteLength, 2);
  assert.equal((await running.count("bytes")) - before, 2);
});

test("redirects are followed", async () => {
  assert.deepEqual(await (await client()("/moved")).json(), { n: 1 });
  assert.deepEqual(await (await client()("/moved", { method: "POST", body: "x" })).json(), { n: 1 });
  const put = { method: "PUT", body: '{"n":1}', headers: { "content-type": "application/json" } };
  assert.deepEqual(await (await client()("/moved", put)).json(), { n: 1 });
});

test("a server that sets cookies is asked over HTTP from then on", async () => {
  const fetched = client();
  const before = await running.count("login");
  assert.equal((await fetched("/login")).headers.get("set-cookie"), "sid=1");
  assert.equal((await running.count("login")) - before, 2);
  await fetched("/login", { method: "POST" });
  await fetched("/document");
  assert.equal(sent.length, 1);
});

test("where requests are refused they go over HTTP, and nothing is served twice", async () => {
  const own: SocketRequests = requestsOver((text) => {
    sent.push(text);
    const { id } = JSON.parse(text) as Event;
    const error = { status: 403, title: "Requests are off" };
    setTimeout(() => own.answered({ id: id ?? 0, error }));
  });
  requests = own;
  const fetched = client();
  for (let count = 0; count < 3; count++)
    await reflected(await fetched("/reflect", { method: "POST", body: "x" }));
  assert.equal(sent.length, 1);
  assert.equal(overHttp(), 3);
});

test("a closed socket, or none, means HTTP", async () => {
  requests?.lost(new Error("The socket was closed."));
  assert.deepEqual(await (await client()("/document")).json(), { n: 1 });
  requests = null;
  assert.deepEqual(await (await client()("/document")).json(), { n: 1 });
  assert.equal(overHttp(), 2);
});

test("behind a lost socket only what may be repeated is", async () => {
  const lose = async (init: RequestInit): Promise<Response> => {
    const answer = client()("/reflect?wait=0.5", init);
    answer.catch(() => {});
    await until("it is sent", () => sent.length === 1);
    socket?.destroy();
    return answer;
  };
  const once = await lose({ method: "PUT", body: "x" });
  assert.equal((await reflected(once)).method, "PUT");
  assert.equal(overHttp(), 1);
});

for (const init of [
  { method: "POST", body: "x" },
  { method: "PATCH", body: "x" },
]) {
  test(`a ${init.method} behind a lost connection has an unknown outcome`, async () => {
    const answer = client()("/reflect?wait=0.5", init);
    const thrown = assert.rejects(answer, OutcomeUnknown);
    await until("it is sent", () => sent.length === 1);
    socket?.destroy();
    await thrown;
    requests = null;
    hop.fate = (line) => (line.startsWith(init.method) ? "cut" : "pass");
    await assert.rejects(client()("/reflect", init), (error) => {
      return (
        error instanceof OutcomeUnknown &&
        /Idempotency-Key/.test(error.message) &&
        error.cause instanceof Error
      );
    });
    let cuts = 0;
    hop.fate = (line) => (line.startsWith(init.method) && ++cuts < 3 ? "cut" : "pass");
    const keyed = { ...init, headers: { "idempotency-key": "k" } };
    assert.equal((await reflected(await client()("/reflect", keyed))).method, init.method);
    assert.equal(cuts, 3);
  });
}

test("what only reads does not wait for a socket that is dead without knowing it", async () => {
  requests = requestsOver(() => {});
  assert.deepEqual(await (await client({ policy: { patience: 100 } })("/document")).json(), { n: 1 });
});

test("a socket is released when nothing waits for its answer any more", async () => {
  const answer = client()("/reflect?wait=0.3", { method: "POST", body: "x" });
  await until("it is sent", () => sent.length === 1);
  let closed = false;
  requests?.release(() => (closed = true));
  assert.equal(closed, false);
  assert.equal(requests?.request({ method: "GET", target: "/", headers: {} }), null);
  await reflected(await answer);
  assert.equal(closed, true);
});

test("the signal ends it with its reason, over both", async () => {
  for (const over of [requests, null]) {
    requests = over;
    const controller = new AbortController();
    const answer = client()("/reflect?wait=5", { method: "POST", body: "x", signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 100);
    await assert.rejects(answer, /enough/);
    await assert.rejects(client()("/reflect", { signal: AbortSignal.abort(new Error("before")) }), /before/);
  }
});

test("a token is renewed after 401, once", async () => {
  for (const over of [requests, null]) {
    requests = over;
    let asked = 0;
    const fetched = client({ token: () => (++asked === 1 ? "old" : "good") });
    assert.equal(await (await fetched("/guarded")).json(), "yes");
    assert.equal(asked, 2);
    assert.equal((await client({ token: () => "bad" })("/guarded")).status, 401);
    assert.equal((await client()("/guarded")).status, 401);
  }
});

test("what was never answered is Unreachable", async () => {
  requests = null;
  hop.fate = () => "cut";
  await assert.rejects(client({ policy: { connectWithin: 300 } })("/document"), Unreachable);
});

test("bad arguments say what to do", async () => {
  const bad: [string, RequestInit][] = [
    ["https://elsewhere.example/", {}],
    ["/document#x", {}],
    ["/document", { body: "x" }],
    ["/document", { method: "NO SUCH" }],
    ["/document", { headers: { "bad name": "x" } }],
    [7 as unknown as string, {}],
  ];
  for (const [url, init] of bad) await assert.rejects(client()(url, init), UsageError);
  assert.equal(sent.length + overHttp(), 0);
});
