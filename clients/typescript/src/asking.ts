/**
 * One request over HTTP: makes it, reads what comes and tells the machine, under the request's number.
 * The query spelling passes every cache; Restive's parameters come last, behind the app's own.
 * Several targets are asked for together at `/-/live`, by watch frames; the socket's objects come back.
 * No time is kept here: the machine knows how long to wait.
 */
import type { Ask } from "./machine/attempt.js";
import { type Kind, failure, ofAnswer, ofMany, ofSse } from "./machine/news.js";
import type { Tell } from "./origin.js";
import type { Server } from "./server.js";
import { type Event, parseEvent, parsed, watchFrame } from "./wire/frames.js";
import { sseParser } from "./wire/sse.js";

type Chunk = Uint8Array<ArrayBuffer>;

/** Make the request; `over` is called when that is done. Returns what stops it. */
export function ask(server: Server, ask: Ask, tell: Tell, over: () => void): () => void {
  const { number, transport } = ask;
  const abort = new AbortController();
  let kind: Kind = "unreachable";
  const read = (response: Response): Promise<void> => {
    kind = "dropped";
    const streams = transport === "sse" && response.status === 200;
    return (streams ? readEvents : readWhole)(response, ask, tell);
  };
  server
    .ask(liveTarget(ask, server), { ...requestOf(ask), signal: abort.signal })
    .then(read)
    .catch((error: unknown) => tell("failed", number, failure(kind, error)))
    .finally(() => {
      abort.abort();
      over();
    });
  return () => abort.abort();
}

function requestOf({ transport, targets }: Ask): RequestInit {
  const [one] = targets;
  if (isMany(targets)) {
    const frames = targets.map(({ uri, etag, headers }) => watchFrame(uri, etag, headers));
    return { method: "POST", body: frames.join("\n"), headers: { "content-type": "application/x-ndjson" } };
  }
  const headers = new Headers(one?.headers as [string, string][]);
  if (transport === "poll" && one?.etag) headers.set("if-none-match", one.etag);
  return { headers };
}

async function readWhole(response: Response, { number, transport, targets }: Ask, tell: Tell): Promise<void> {
  const chunks: Chunk[] = [];
  await readChunks(response, number, tell, (chunk) => void chunks.push(chunk));
  const body = new Uint8Array(await new Blob(chunks).arrayBuffer());
  const said = isMany(targets) && parsed(new TextDecoder().decode(body));
  if (response.status === 200 && Array.isArray(said)) {
    tell("answer", number, said as Event[]);
    return;
  }
  // A page is not told the status of a redirect that it does not follow.
  const status = response.status || 302;
  const answer = isMany(targets)
    ? ofMany(status, response.headers, body, Date.now())
    : ofAnswer(transport, status, response.headers, body, Date.now());
  if (answer.is === "failure") tell("failed", number, answer);
  else tell("news", number, answer);
}

async function readEvents(response: Response, { number, targets }: Ask, tell: Tell): Promise<void> {
  const [one] = targets;
  const many = isMany(targets);
  const type = response.headers.get("content-type") ?? "";
  if (!/^text\/event-stream/i.test(type)) {
    tell("failed", number, failure(many ? "misfit" : "refused", `It answers ${type}.`));
    return;
  }
  const parser = sseParser((!many && one?.etag) || "");
  const decoder = new TextDecoder();
  let cause: unknown = "The event stream ended.";
  try {
    await readChunks(response, number, tell, (chunk) => {
      for (const event of parser.feed(decoder.decode(chunk, { stream: true }))) {
        const said = many && parseEvent(event.data);
        const news = many ? null : ofSse(event, !!one?.text);
        if (said) tell("event", number, said);
        if (news) tell("news", number, news);
      }
    });
  } catch (error) {
    cause = error;
  }
  tell("failed", number, failure("dropped", cause, parser.retry));
}

async function readChunks(
  { body }: Response,
  number: number,
  tell: Tell,
  take: (chunk: Chunk) => void,
): Promise<void> {
  const reader = body?.getReader();
  for (let chunk; (chunk = (await reader?.read())?.value);) {
    tell("alive", number);
    take(chunk);
  }
}

const isMany = (targets: Ask["targets"]): boolean => targets.length > 1;

function liveTarget({ transport, targets }: Ask, { endpoint, policy }: Server): string {
  const [one] = targets;
  const uri = (isMany(targets) ? endpoint.href : one?.uri) ?? "";
  if (transport === "poll") return uri;
  let query = `live=${transport}`;
  if (!isMany(targets) && one?.etag) query += `&etag=${encodeURIComponent(one.etag)}`;
  // Caches serialize equal requests: `n` makes each its own.
  if (transport === "long-poll") query += `&wait=${policy.wait / 1000}&n=${Math.random()}`;
  return uri + (uri.includes("?") ? "&" : "?") + query;
}
