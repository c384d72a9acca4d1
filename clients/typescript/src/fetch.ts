/**
 * `live.fetch`: a `Response` either way, over the open socket where the server allows requests there, else over HTTP.
 *
 * A server does not say beforehand whether it allows them: one that does not refuses the first frame without serving
 * it, and is asked over HTTP from then on. What a frame cannot hold, or `fetch` is asked to do beside it, goes over
 * HTTP too. After a loss only GET, HEAD, PUT, DELETE and what carries an Idempotency-Key is repeated.
 */
import { OutcomeUnknown, RestiveError, UsageError } from "./errors.js";
import { either, pause, persist } from "./requesting.js";
import { type Server, joined, targetOf } from "./server.js";
import type { Event, HeaderLines } from "./wire/frames.js";

/** As the global `fetch`, for URLs of the client's server. */
export type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>;

/** The `request` of a frame. */
export interface SocketRequest {
  readonly method: string;
  /** Path and query in normal form. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly text?: string;
}

/** What the shell of the socket offers. */
export interface Sockets {
  /** Sends the request: the frame that answers it, rejected once the socket is lost. Null where none is open. */
  request(request: SocketRequest): Promise<Event> | null;
}

/** The requests of one socket, for its shell. */
export interface SocketRequests extends Sockets {
  /** An event came: whether it answers a request. */
  answered(event: Event): boolean;
  /** The socket is gone. */
  lost(cause: unknown): void;
  /** Takes no more requests, and calls `close` as soon as none waits for its answer. */
  release(close: () => void): void;
}

/** Requests over a socket that is open; `send` sends a text frame. */
export function requestsOver(send: (text: string) => void): SocketRequests {
  const waiting = new Map<number | string, { _resolve(event: Event): void; _reject(cause: unknown): void }>();
  let last = 0;
  let close: (() => void) | null = null;
  const settled = (): void => {
    if (!waiting.size) close?.();
  };
  return {
    request(request) {
      if (close) return null;
      const id = ++last;
      const answer = new Promise<Event>((_resolve, _reject) => waiting.set(id, { _resolve, _reject }));
      send(JSON.stringify({ id, request }));
      return answer;
    },
    answered(event) {
      const waits = waiting.get(event.id ?? "");
      if (event.id === undefined || !waits) return false;
      waiting.delete(event.id);
      waits._resolve(event);
      settled();
      return true;
    },
    lost(cause) {
      close ??= () => {};
      for (const { _reject } of waiting.values()) _reject(cause);
      waiting.clear();
    },
    release(then) {
      close = then;
      settled();
    },
  };
}

/** UTF-8 bytes of a frame; servers take 64 KiB unless they are told otherwise. */
const MAX_FRAME = 60_000;

/** What a frame's headers may hold beside `if-*` and what the server's `socket_headers=` names. */
const FRAME_HEADERS = [
  "accept",
  "accept-language",
  "authorization",
  "content-type",
  "idempotency-key",
  "prefer",
];

/** What `init` may say of a request over the socket: all else is for HTTP. */
const FRAME_INIT = ["method", "headers", "body", "signal", "redirect"];

/** One call of `fetch`. */
interface Asked {
  readonly _target: string;
  readonly _method: string;
  /** The caller's own, with the Content-Type that `fetch` would add. */
  readonly _headers: HeaderLines;
  readonly _init: RequestInit;
  /** It can be sent more than once and changes no more by that. */
  readonly _repeatable: boolean;
}

/**
 * The `fetch` of a client. It throws `UsageError` for what cannot be sent, `OutcomeUnknown` where the connection was
 * lost behind a request that must not be repeated, `Unreachable` where one that may be repeated was not answered
 * within `connectWithin`, and the reason of the signal.
 */
export function fetchOf(server: Server, sockets: Sockets): Fetch {
  const state = { _allowed: true };
  return async (url, init = {}) => {
    const asked = examined(server, url, init);
    const signal = either(init.signal);
    const send = async (): Promise<Response> => {
      const lines = joined(await server.fields(), asked._headers as [string, string][]);
      return persist(
        server,
        signal,
        async () =>
          (await overSocket(server, sockets, state, asked, lines, signal)) ?? overHttp(server, asked, lines),
        () => false,
        (cause) => (cause instanceof RestiveError ? cause : asked._repeatable ? null : lost(asked, cause)),
      );
    };
    const response = await send();
    if (response.status !== 401 || init.body instanceof ReadableStream || !(await server.renew()))
      return response;
    await response.body?.cancel();
    return send();
  };
}

/** What the arguments ask for. Throws `UsageError`. */
function examined(server: Server, url: string | URL, init: RequestInit): Asked {
  const target = targetOf(url, server.base);
  const { body, signal: _, ...rest } = init;
  const streams = body instanceof ReadableStream;
  try {
    // It knows all rules of `fetch`, but would take a stream away.
    const content = body === undefined || body === null ? {} : { body: streams ? "" : body };
    const { method, headers } = new Request(new URL(target, server.base), { ...rest, ...content });
    if (streams) headers.delete("content-type");
    const safe = /^(GET|HEAD|PUT|DELETE)$/.test(method) || headers.has("idempotency-key");
    // The boundary of a form is made anew for each request.
    if (body instanceof FormData) headers.delete("content-type");
    return {
      _target: target,
      _method: method,
      _headers: [...headers],
      _init: init,
      _repeatable: safe && !streams,
    };
  } catch (cause) {
    throw new UsageError(`This cannot be sent: ${(cause as Error).message}`, { cause });
  }
}

const lost = ({ _method, _target }: Asked, cause: unknown): RestiveError =>
  new OutcomeUnknown(
    `${_method} ${_target} was lost: find out whether it was served, or give an Idempotency-Key.`,
    {
      cause,
    },
  );

function overHttp(server: Server, { _target, _init }: Asked, lines: HeaderLines): Promise<Response> {
  const headers = lines as [string, string][];
  // Without `duplex` a stream is refused (Fetch, 5.4).
  const also = _init.body instanceof ReadableStream ? { duplex: "half" } : null;
  return server.ask(_target, { cache: "default", redirect: "follow", ...also, ..._init, headers });
}

// -- over the socket ----------------------------------------------------------------------------

/** The response to a request over the socket; null where it has to go over HTTP. Rejects where it was lost. */
async function overSocket(
  server: Server,
  sockets: Sockets,
  state: { _allowed: boolean },
  asked: Asked,
  lines: HeaderLines,
  signal: AbortSignal,
): Promise<Response | null> {
  const request = state._allowed ? framed(server, asked, lines) : null;
  const answer = request && sockets.request(request);
  if (!answer) return null;
  // A socket may be dead without knowing it; what only reads need not wait for that.
  const patience = /GET|HEAD/.test(asked._method) ? server.policy.patience : 2 ** 31 - 1;
  const over = new AbortController();
  const waited = pause(patience, either(signal, over.signal), false).then(() => null);
  const event = await Promise.race([answer, waited]).finally(() => over.abort());
  if (!event || signal.aborted) return null;
  if (event.error || event.cookies) {
    // A page gets no cookies from a frame, so a server that sets some is asked over HTTP from now on.
    if (event.error?.["status"] !== 429) state._allowed = false;
    if (event.error || asked._repeatable) return null;
  }
  return asResponse(server, asked, event, lines);
}

/** The frame's request, or null where a frame cannot hold it. */
function framed(
  server: Server,
  { _target, _method, _init }: Asked,
  lines: HeaderLines,
): SocketRequest | null {
  const { body, redirect = "follow" } = _init;
  const { credentials, socketHeaders = [] } = server.options;
  const allowed = [...FRAME_HEADERS, ...socketHeaders.map((name) => name.toLowerCase())];
  const fits =
    Object.keys(_init).every((name) => FRAME_INIT.includes(name)) &&
    lines.every(([name]) => allowed.includes(name) || name.startsWith("if-")) &&
    (credentials ?? "include") === "include" &&
    redirect === "follow" &&
    /^[A-Z][A-Z0-9_-]{0,31}$/.test(_method) &&
    (body === undefined || body === null || typeof body === "string" || body instanceof URLSearchParams);
  if (!fits) return null;
  const headers = { accept: "*/*", ...Object.fromEntries(lines) };
  const request = {
    method: _method,
    target: _target,
    headers,
    ...(body == null ? null : { text: String(body) }),
  };
  return new TextEncoder().encode(JSON.stringify(request)).length > MAX_FRAME ? null : request;
}

async function asResponse(
  server: Server,
  asked: Asked,
  event: Event,
  lines: HeaderLines,
): Promise<Response | null> {
  const { status = 0, truncated, body } = event;
  const headers = new Headers();
  for (const [name, value] of Object.entries(event.headers ?? {})) {
    for (const line of [value].flat()) headers.append(name, line);
  }
  const location = headers.get("location");
  if (/^30[12378]$/.test(`${status}`) && location !== null) {
    return asked._repeatable ? null : followed(server, asked, status, location, lines);
  }
  // The server's `targets=` is about sockets only.
  const out = status === 403 && (body as { title?: unknown } | null)?.title === "Not reachable";
  if (out || (truncated && asked._repeatable)) return null;
  const content = truncated ? unread(asked) : contentOf(asked, event, headers);
  if (asked._method !== "HEAD") headers.delete("content-length");
  const response = new Response(content, { status, headers });
  const url = new URL(asked._target, server.base).href;
  return Object.defineProperty(response, "url", { value: url });
}

function contentOf(
  { _method }: Asked,
  { status, text, base64, body }: Event,
  headers: Headers,
): BodyInit | null {
  if (_method === "HEAD" || /^(204|205|304)$/.test(`${status}`)) return null;
  if (text !== undefined) return text;
  if (base64 !== undefined) return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const empty = headers.get("content-length") === "0" || !/json/.test(headers.get("content-type") ?? "");
  return body === null && empty ? null : JSON.stringify(body);
}

/** The body of a request that was served once and must not be again: it cannot be read. */
function unread({ _method, _target }: Asked): ReadableStream {
  const why = `The body of the answer to ${_method} ${_target} is too long or binary: send it with an Idempotency-Key.`;
  return new ReadableStream({ start: (controller) => controller.error(new RestiveError(why)) });
}

/** Follows a redirect of a POST, as `fetch` does (Fetch, 4.4), but to no other server. */
async function followed(
  server: Server,
  asked: Asked,
  status: number,
  location: string,
  lines: HeaderLines,
): Promise<Response> {
  const url = new URL(location, new URL(asked._target, server.base));
  if (url.origin !== server.base.origin) {
    throw new RestiveError(`${asked._target} leads to ${url}, another server.`);
  }
  const again = status === 307 || status === 308;
  const { body: _, ...rest } = asked._init;
  const init = again ? asked._init : { ...rest, method: "GET" };
  const kept = lines.filter(([name]) => again || !name.startsWith("content-"));
  return overHttp(server, { ...asked, _target: url.pathname + url.search, _init: init }, kept);
}
