/**
 * Every item of a stream, in order and once, from an offset on; by the Durable Streams protocol 1.0.
 *
 * It catches up page by page, then reads live: by server-sent events, or by long polls where events do not come
 * through. What was read is known by its offset alone, so a lost connection costs nothing but time.
 * A way of reading gives the batches of one request (`page`, `events`); another one has its place beside them.
 */
import { Unreachable, UsageError, WatchEnded } from "./errors.js";
import { assembler, kindOf, ofPage } from "./items.js";
import type { Batch, Kind } from "./items.js";
import { betterDelay, delay, retryAfter } from "./machine/policy.js";
import type { Policy } from "./machine/policy.js";
import {
  type Watchdog,
  chunks,
  either,
  headerLines,
  isBusy,
  pause,
  problemIn,
  watchdog,
  wholeBody,
} from "./requesting.js";
import { type Server, joined, targetOf } from "./server.js";
import type { HeaderLines } from "./wire/frames.js";
import { sseParser } from "./wire/sse.js";

export type { Batch };

/** What a stream is read with. */
export interface StreamOptions {
  /** Where to begin: `"-1"` is the start, `"now"` the end, else what `offset` of a stream or a batch was. */
  offset?: string;
  /** Header fields beside those of the client. */
  headers?: HeadersInit;
  /** Ends the reading when it is aborted, as `close()` does. */
  signal?: AbortSignal;
  /** How to read live: `"auto"` takes the first of the others that delivers. */
  transport?: "auto" | Live;
}

type Live = "sse" | "long-poll";

const LIVE: Readonly<Record<string, readonly [Live, ...Live[]]>> = {
  auto: ["sse", "long-poll"],
  sse: ["sse"],
  "long-poll": ["long-poll"],
};

/** Reads in a row that came and ended soon with no item, after which another way of reading is tried. */
const FRUITLESS = 3;

/** An empty answer that comes sooner (ms) has not waited. */
const AT_ONCE = 1000;

// -- how far a stream was read, and how it is read next: no I/O ---------------------------------

interface Reading {
  readonly _policy: Policy;
  readonly _live: readonly [Live, ...Live[]];
  _offset: string;
  _mode: "catch-up" | Live;
  _kind: Kind;
  _cursor: string | null;
  _closed: boolean;
  /** In a row. */
  _failures: number;
  _fruitless: number;
  /** Whether anything was ever read. */
  _ever: boolean;
  /** The credentials were asked for again, and nothing was read since. */
  _renewed: boolean;
  /** How often the best way did not work, and when it is tried again. */
  _trials: number;
  _better: number;
}

/** What became of one request. */
interface Outcome {
  /** Batches came; how many items. */
  _heard: boolean;
  _items: number;
  /** It was answered with a success, or else given up because nothing came. */
  _answered: boolean;
  _silent: boolean;
  /** What went wrong, and after how many milliseconds the server wants to be asked again. */
  _cause: unknown;
  _again: number | null;
}

/** The query of the next request. */
function query(reading: Reading, now: number): string {
  const { _live, _policy, _cursor } = reading;
  const asked = new URLSearchParams({ offset: reading._offset });
  if (reading._mode !== "catch-up") {
    if (now >= reading._better) reading._mode = _live[0];
    asked.set("live", reading._mode);
    if (reading._mode === "long-poll") asked.set("timeout", `${Math.ceil(_policy.wait / 1000)}`);
    if (_cursor !== null) asked.set("cursor", _cursor);
  }
  return asked.toString();
}

/** A batch came, and counts as read. */
function got(reading: Reading, batch: Batch): void {
  reading._offset = batch.offset;
  reading._cursor = batch.cursor;
  reading._closed = batch.closed;
  reading._ever = true;
  reading._renewed = false;
  if (batch.items.length) {
    reading._failures = reading._fruitless = 0;
    if (reading._mode === reading._live[0]) reading._trials = 0;
  }
  if (reading._mode === "catch-up" && batch.upToDate) reading._mode = reading._live[0];
}

/** A request is over that took `lived` milliseconds: how many milliseconds later the next one is made. */
function after(
  reading: Reading,
  mode: Reading["_mode"],
  outcome: Outcome,
  lived: number,
  now: number,
): number {
  const { _policy } = reading;
  const { _heard, _items, _again } = outcome;
  const steady = _items > 0 || lived >= _policy.stable;
  if (!_heard) {
    if (outcome._answered || outcome._silent) turn(reading, now);
  } else if (mode === "sse" && !steady && ++reading._fruitless >= FRUITLESS) turn(reading, now);
  if (_heard && steady) reading._failures = 0;
  // A page is followed by the next read at once, and so is a long poll that has waited.
  if (_heard && mode !== "sse" && (steady || lived >= AT_ONCE || reading._mode !== mode)) return 0;
  const spread = delay(_policy, _again === null ? reading._failures : 0, Math.random());
  reading._failures++;
  return (_again ?? 0) + spread;
}

/** This way of reading does not deliver: the next one, in turn. */
function turn(reading: Reading, now: number): void {
  const { _live, _mode, _policy } = reading;
  if (_mode === "catch-up") return;
  reading._fruitless = 0;
  // Where no way delivers, that says nothing of the best one.
  if (_mode === _live[0]) reading._better = now + betterDelay(_policy, reading._trials++, Math.random());
  else reading._trials = 0;
  reading._mode = _live[(_live.indexOf(_mode) + 1) % _live.length] ?? _mode;
}

// -- requests -----------------------------------------------------------------------------------

interface Source {
  readonly _server: Server;
  readonly _target: string;
  readonly _headers: HeaderLines;
  readonly _stop: AbortSignal;
}

/** All batches with items, and the one that closes the stream. */
async function* read(source: Source, reading: Reading): AsyncGenerator<Batch, void, undefined> {
  const begun = performance.now();
  while (!reading._closed && !source._stop.aborted) {
    const since = performance.now();
    const asked = query(reading, since);
    const mode = reading._mode;
    const outcome = yield* request(source, reading, asked);
    const now = performance.now();
    const ms = after(reading, mode, outcome, now - since, now);
    if (!reading._ever && now + ms - begun > reading._policy.connectWithin) {
      throw new Unreachable(`${source._target} could not be read.`, { cause: outcome._cause });
    }
    if (ms && !reading._closed) await pause(ms, source._stop, outcome._again === null);
  }
}

/** The batches of one request, and what became of it. Throws `WatchEnded`. */
async function* request(
  source: Source,
  reading: Reading,
  asked: string,
): AsyncGenerator<Batch, Outcome, undefined> {
  const outcome: Outcome = {
    _heard: false,
    _items: 0,
    _answered: false,
    _silent: false,
    _cause: null,
    _again: null,
  };
  const dog = watchdog(source._stop);
  try {
    const response = await ask(source, reading, asked, dog);
    outcome._answered = response.ok;
    if (!response.ok) await refuse(source, reading, response, outcome);
    else {
      for await (const batch of (reading._mode === "sse" ? events : page)(reading, response, dog, outcome)) {
        outcome._heard = true;
        outcome._items += batch.items.length;
        got(reading, batch);
        if (batch.items.length || batch.closed) yield batch;
        if (source._stop.aborted) break;
      }
    }
  } catch (error) {
    if (error instanceof WatchEnded) throw error;
    outcome._cause = error;
  } finally {
    outcome._silent = dog.silent;
    dog.end();
  }
  return outcome;
}

async function ask(source: Source, reading: Reading, asked: string, dog: Watchdog): Promise<Response> {
  const { _server: server, _target: target } = source;
  const { patience, wait } = reading._policy;
  dog.allow(reading._mode === "long-poll" ? wait + patience : patience);
  const headers = joined(await server.fields(), source._headers as [string, string][]) as [string, string][];
  const url = target + (target.includes("?") ? "&" : "?") + asked;
  const response = await server.ask(url, { headers, signal: dog.signal });
  dog.rest();
  return response;
}

/** What is no read: it is tried again later, or throws `WatchEnded`. */
async function refuse(source: Source, reading: Reading, response: Response, outcome: Outcome): Promise<void> {
  const { status } = response;
  const problem = await problemIn(response);
  outcome._cause = new WatchEnded(problem);
  outcome._again = retryAfter(response.headers.get("retry-after"), Date.now());
  if (isBusy(status) || status >= 500) return;
  if ((status !== 401 && status !== 403) || reading._renewed) throw outcome._cause;
  reading._renewed = true;
  outcome._again = 0;
  await source._server.renew();
}

// -- ways of reading ----------------------------------------------------------------------------

/** The batch of a whole answer: of a catch-up read, or of a long poll. */
async function* page(
  reading: Reading,
  response: Response,
  dog: Watchdog,
): AsyncGenerator<Batch, void, undefined> {
  const body = await wholeBody(response, dog, reading._policy.patience);
  if (response.status !== 204) reading._kind = kindOf(response.headers.get("content-type"));
  yield ofPage(response.headers, new Uint8Array(await body.arrayBuffer()));
}

/** The batches of an event stream. The first one says where the stream is now, so it comes at once. */
async function* events(
  reading: Reading,
  response: Response,
  dog: Watchdog,
  outcome: Outcome,
): AsyncGenerator<Batch, void, undefined> {
  if (!/^\s*text\/event-stream\s*(;|$)/i.test(response.headers.get("content-type") ?? "")) {
    throw new SyntaxError("The answer is no event stream.");
  }
  const [parser, assemble, decoder] = [sseParser(), assembler(reading._kind), new TextDecoder()];
  const within = (): number => (outcome._heard ? reading._policy.silence : reading._policy.patience);
  for await (const chunk of chunks(response, dog, within)) {
    for (const event of parser.feed(decoder.decode(chunk, { stream: true }))) {
      const batch = assemble(event);
      if (batch) yield batch;
      if (batch?.closed) return;
    }
    outcome._again = parser.retry;
  }
}

// -- the user's side ----------------------------------------------------------------------------

/** The items of a stream, by `for await`; or its batches, by `batches()`. It is read once. */
export class Stream<T = unknown> implements AsyncIterable<T> {
  /** Behind the last item that was read: `stream(url, { offset })` goes on there. */
  offset: string;
  readonly _stop: AbortController;
  readonly _stopped: AbortSignal;
  _open: (() => AsyncGenerator<Batch, void, undefined>) | null;

  /** Made by `live.stream`. */
  constructor(
    offset: string,
    stop: AbortController,
    stopped: AbortSignal,
    open: () => AsyncGenerator<Batch, void, undefined>,
  ) {
    this.offset = offset;
    this._stop = stop;
    this._stopped = stopped;
    this._open = open;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for await (const { items, offset } of this._batches()) {
      for (const [index, item] of items.entries()) {
        if (this._stopped.aborted) return;
        if (index === items.length - 1) this.offset = offset;
        yield item;
      }
      this.offset = offset;
    }
  }

  /** Batch by batch, each with the offset behind it. Throws as the iteration does. */
  async *batches(): AsyncGenerator<Batch<T>, void, undefined> {
    for await (const batch of this._batches()) {
      this.offset = batch.offset;
      yield batch;
    }
  }

  /** Read no more: the iteration ends. */
  close(): void {
    this._stop.abort();
  }

  async *_batches(): AsyncGenerator<Batch<T>, void, undefined> {
    const open = this._open;
    if (!open) throw new UsageError("A stream is read once: stream(url, { offset }) goes on.");
    this._open = null;
    try {
      yield* open() as AsyncGenerator<Batch<T>, void, undefined>;
    } finally {
      this.close();
    }
  }
}

/**
 * Every item of the stream at `url`, in order and once. It goes on over lost connections and stops where the
 * stream is closed. The iteration throws `WatchEnded` where the server ends it (404; 410 for an offset that is
 * too old; 401 and 403, which are tried once more with the credentials of then), and `Unreachable` where nothing
 * could be read within `connectWithin`. Throws `UsageError`.
 */
export function streamAt<T = unknown>(
  server: Server,
  url: string | URL,
  options: StreamOptions = {},
  closing?: AbortSignal,
): Stream<T> {
  const { offset = "-1", transport = "auto", signal } = options;
  const target = targetOf(url, server.base);
  const live = Object.hasOwn(LIVE, transport) && LIVE[transport];
  if (!live) {
    const known = Object.keys(LIVE).join(", ");
    throw new UsageError(`transport of a stream is one of ${known}; not ${String(transport)}.`);
  }
  if (typeof offset !== "string" || !offset) {
    throw new UsageError(
      'offset is a text that the server gave, or "-1" for the start, or "now" for the end.',
    );
  }
  if (/[?&](offset|live|cursor)=/.test(target)) {
    throw new UsageError("Name the stream without offset, live and cursor, which are options of it.");
  }
  const stop = new AbortController();
  const source: Source = {
    _server: server,
    _target: target,
    _headers: headerLines(options.headers),
    _stop: either(stop.signal, signal, closing),
  };
  return new Stream<T>(offset, stop, source._stop, () => read(source, atFirst(server.policy, live, offset)));
}

const atFirst = (policy: Policy, live: readonly [Live, ...Live[]], offset: string): Reading => ({
  _policy: policy,
  _live: live,
  _offset: offset,
  _mode: "catch-up",
  _kind: "json",
  _cursor: null,
  _closed: false,
  _failures: 0,
  _fruitless: 0,
  _ever: false,
  _renewed: false,
  _trials: 0,
  _better: Infinity,
});
