/** `useLive` against a real server, in StrictMode. The hop before the server counts what is asked. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import {
  Component,
  type ReactNode,
  Suspense,
  createElement as h,
  startTransition,
  useLayoutEffect,
  useState,
} from "react";
import { renderToString } from "react-dom/server";
import { type Client, restive } from "../../src/index.js";
import { type LiveView, type UseLiveOptions, useLive } from "../../src/react.js";
import { Hop, Running, until } from "../real/running.js";
import { Mounted, below } from "./page.js";

let running: Running;
let hop: Hop;
let live: Client;
let mounted: Mounted | null;

before(async () => {
  running = await Running.start();
});
after(() => running.end());
beforeEach(async () => {
  await put(1);
  hop = await Hop.before(running.port);
  live = restive(hop.url, {
    transport: "sse",
    policy: { patience: 2000, wait: 2000, silence: 8000, backoff: 20 },
  });
  mounted = null;
});
afterEach(async () => {
  mounted?.end();
  live.close();
  await hop.end();
});

interface Document {
  n: number;
}

async function put(n: number): Promise<void> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${running.url}/document`, {
    method: "PUT",
    body: JSON.stringify({ n }),
    headers,
  });
  assert.equal(answer.status, 200);
}

/** One watch has a request of its own; a second one would begin another that carries all. */
const WATCHES = /^\S+ \S*live=/;

let views: LiveView<Document>[] = [];
beforeEach(() => (views = []));

function Shown({ url, ...options }: { url: string | null } & UseLiveOptions<Document>): ReactNode {
  const view = useLive<Document>(url, options);
  views.push(view);
  return `${view.data?.n ?? view.error?.name ?? "-"} `;
}

class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null as Error | null };
  static getDerivedStateFromError = (error: Error) => ({ error });
  override render(): ReactNode {
    return this.state.error ? `caught ${this.state.error.name}` : this.props.children;
  }
}

test("components share one watch, and show each state", async () => {
  mounted = new Mounted(live, h("p", null, h(Shown, { url: "/document" }), h(Shown, { url: "/document" })));
  await until("the first state", () => mounted?.text === "1 1 ");
  assert.match(views.at(-1)?.etag ?? "", /^"/);
  await until("it is live", () => views.at(-1)?.status === "live");
  await put(2);
  await until("the second state", () => mounted?.text === "2 2 ");
  assert.equal(hop.count(WATCHES), 1);
});

test("headers that are equal share, others do not", async () => {
  const one = { "accept-language": "de" };
  const pair = [
    h(Shown, { url: "/document", headers: one }),
    h(Shown, { url: "/document", headers: { ...one } }),
  ];
  mounted = new Mounted(live, h("p", null, ...pair));
  await until("the first state", () => mounted?.text === "1 1 ");
  assert.equal(hop.count(WATCHES), 1);
  mounted.show(h("p", null, ...pair, h(Shown, { url: "/document", headers: { "accept-language": "fr" } })));
  await until("one more", () => mounted?.text === "1 1 1 ");
  assert.ok(hop.count(WATCHES) > 1);
});

test("it ends when the last one is unmounted, but not at once", async () => {
  mounted = new Mounted(live, h(Shown, { url: "/document" }));
  await until("the first state", () => mounted?.text === "1 ");
  mounted.show(null);
  await until("it is away", () => mounted?.text === "");
  mounted.show(h("p", null, h(Shown, { url: "/document" })));
  await until("it is back", () => mounted?.text === "1 ");
  assert.equal(hop.count(WATCHES), 1);
  mounted.show(null);
  await until("the watch has ended", () => hop.open(WATCHES) === 0);
});

test("another url shows nothing of the one before", async () => {
  mounted = new Mounted(live, h(Shown, { url: "/document" }));
  await until("the first state", () => mounted?.text === "1 ");
  const seen = views.length;
  mounted.show(h(Shown, { url: "/document?other" }));
  await until("the other one", () => views.length > seen && mounted?.text === "1 ");
  assert.equal(views[seen]?.data, undefined);
  assert.equal(views[seen]?.status, "connecting");
});

test("null watches nothing", async () => {
  mounted = new Mounted(live, h(Shown, { url: null }));
  await until("it is there", () => mounted?.text === "- ");
  assert.deepEqual(views.at(-1), { data: undefined, etag: null, status: "idle", error: null });
  mounted.show(h(Shown, { url: "/document" }));
  await until("the first state", () => mounted?.text === "1 ");
  assert.equal(hop.count(WATCHES), 1);
});

test("an error is shown; what is mounted anew tries anew", async () => {
  mounted = new Mounted(
    live,
    h("p", null, h(Shown, { url: "/nothing" }), h(Shown, { url: "http://else.test/" })),
  );
  await until("both errors", () => mounted?.text === "WatchEnded UsageError ");
  assert.ok(views.some((view) => view.status === "ended" && view.error?.name === "WatchEnded"));
  const asked = hop.count(/^GET \/nothing/);
  mounted.show(null);
  await until("it is away", () => mounted?.text === "");
  mounted.show(h(Shown, { url: "/nothing" }));
  await until("it was asked for again", () => hop.count(/^GET \/nothing/) > asked);
  await until("the error again", () => mounted?.text === "WatchEnded ");
});

test("suspense waits for the first state, and asks once", async () => {
  const shown = h(Shown, { url: "/document", suspense: true });
  let waited = false;
  const Waiting = () => ((waited = true), "waiting");
  mounted = new Mounted(live, h(Suspense, { fallback: h(Waiting) }, shown));
  await until("the first state", () => mounted?.text === "1 ");
  assert.ok(waited);
  assert.ok(views.every(({ data }) => data));
  await put(2);
  await until("the second state", () => mounted?.text === "2 ");
  assert.equal(hop.count(WATCHES), 1);
  mounted.show(null);
  await until("the watch has ended", () => hop.open(WATCHES) === 0);
});

test("an error boundary shows why there is nothing to wait for", async () => {
  const shown = h(Suspense, { fallback: "waiting" }, h(Shown, { url: "/nothing", suspense: true }));
  mounted = new Mounted(live, h(Boundary, null, shown));
  await until("the error", () => mounted?.text === "caught WatchEnded");
});

test("a server renders initialData and opens nothing; the page goes on from there", async () => {
  const shown = h("p", null, h(Shown, { url: "/document", initialData: { n: 0 } }));
  let watches = 0;
  const counted: Client = {
    ...live,
    get watch() {
      watches++;
      return live.watch;
    },
  };
  const html = renderToString(below(counted, shown));
  assert.equal(html, "<p>0 </p>");
  const waiting = h(Suspense, { fallback: "waiting" }, h(Shown, { url: "/document", suspense: true }));
  assert.match(renderToString(below(counted, waiting)), /waiting/);
  assert.equal(watches, 0);
  mounted = new Mounted(live, shown, html);
  await until("the first state", () => mounted?.text === "1 ");
  assert.deepEqual(mounted.mended, []);
});

test("a slow render that a change comes into shows one state everywhere", async () => {
  const commits: string[] = [];
  let more = (_count: number): void => {};
  const Slow = ({ at }: { at: number }): ReactNode => {
    const { data } = useLive<Document>("/document");
    if (at === 3 && data?.n === 1) void put(2);
    for (const end = performance.now() + 10; performance.now() < end;) continue;
    return `${data?.n} `;
  };
  const List = (): ReactNode => {
    const [count, setCount] = useState(1);
    more = setCount;
    useLayoutEffect(() => void commits.push(mounted?.text ?? ""));
    return Array.from({ length: count }, (_, at) => h(Slow, { key: at, at }));
  };
  mounted = new Mounted(live, h(List));
  await until("the first state", () => mounted?.text === "1 ");
  startTransition(() => more(25));
  await until("all of them", () => mounted?.text === "2 ".repeat(25));
  for (const commit of commits) assert.match(commit, /^(undefined |(1 )*|(2 )*)$/);
});
