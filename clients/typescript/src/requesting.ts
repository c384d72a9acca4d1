/**
 * What the requests of streams, operations and `fetch` share: how long one may be silent, and when it is sent again.
 * Pauses have full jitter, obey `Retry-After`, and end early when the network is back.
 */
import { RestiveError, Unreachable, UsageError } from "./errors.js";
import { ofRefusal } from "./machine/news.js";
import { delay, retryAfter } from "./machine/policy.js";
import { type Server, linesOf } from "./server.js";
import type { HeaderLines, Problem } from "./wire/frames.js";

/** Header fields that can be sent. Throws `UsageError`. */
export function headerLines(headers?: HeadersInit): HeaderLines {
  try {
    return linesOf(headers);
  } catch (cause) {
    throw new UsageError(`These are no header fields: ${(cause as Error).message}`, { cause });
  }
}

/** Statuses that speak of the server's health, and not of what was asked for. */
export const isBusy = (status: number): boolean => [408, 425, 429, 502, 503, 504].includes(status);

/** What a response that is no success says. */
export async function problemIn(response: Response): Promise<Problem> {
  const body = new Uint8Array(await response.arrayBuffer());
  // A page is not told the status of a redirect that it does not follow.
  return ofRefusal(response.status || 302, response.headers, body);
}

// -- time ---------------------------------------------------------------------------------------

/** Aborted as soon as one of these is, with its reason; those that were not given never are. */
export function either(...signals: (AbortSignal | null | undefined)[]): AbortSignal {
  const given = signals.filter((each) => !!each);
  // Browsers from before 2024 lack it.
  if ("any" in AbortSignal) return AbortSignal.any(given);
  const controller = new AbortController();
  for (const each of given) {
    if (each.aborted) controller.abort(each.reason);
    each.addEventListener("abort", () => controller.abort(each.reason), { signal: controller.signal });
  }
  return controller.signal;
}

/** Waits so many milliseconds, or until `signal` is aborted; with `early`, until the network is back. */
export function pause(ms: number, signal: AbortSignal, early: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      globalThis.removeEventListener?.("online", soon);
      resolve();
    };
    const soon = (): void => {
      clearTimeout(timer);
      timer = setTimeout(done, Math.random() * Math.min(ms, 500));
    };
    let timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    if (early) globalThis.addEventListener?.("online", soon);
  });
}

/** Gives one request up when nothing is heard of it for too long. */
export interface Watchdog {
  /** What the request is made with. */
  readonly signal: AbortSignal;
  /** Whether nothing was heard for too long. */
  silent: boolean;
  /** Something has to be heard within so many milliseconds. */
  allow(ms: number): void;
  /** Nothing is waited for now. */
  rest(): void;
  /** The request is over, and its connection. */
  end(): void;
}

/** The watchdog of a request that ends with `parent`. */
export function watchdog(parent: AbortSignal): Watchdog {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  // A connection from before the network was away is dead, whether it knows that or not.
  const stale = (): void => controller.abort(new RestiveError("The network was away."));
  const dog: Watchdog = {
    signal: either(parent, controller.signal),
    silent: false,
    rest() {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", stale);
    },
    allow(ms) {
      dog.rest();
      globalThis.addEventListener?.("online", stale);
      timer = setTimeout(() => {
        dog.silent = true;
        controller.abort(new RestiveError(`Nothing came for ${ms} ms.`));
      }, ms);
    },
    end() {
      dog.rest();
      controller.abort();
    },
  };
  return dog;
}

/** A body as it comes, each piece within so many milliseconds; a slow reader is waited for. */
export async function* chunks(
  response: Response,
  dog: Watchdog,
  within: () => number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const reader = response.body?.getReader();
  while (reader) {
    dog.allow(within());
    const { value, done } = await reader.read();
    dog.rest();
    if (done) return;
    yield value;
  }
}

/** The whole body, each piece of it within so many milliseconds. */
export async function wholeBody(response: Response, dog: Watchdog, within: number): Promise<Blob> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for await (const part of chunks(response, dog, () => within)) parts.push(part);
  return new Blob(parts);
}

// -- again --------------------------------------------------------------------------------------

/**
 * Calls `send` until it gives an answer that is not `later`, for `connectWithin` at most. Then the last answer
 * counts, or `Unreachable` is thrown where there was none. `send` gets how often it was called before. The reason
 * of `signal` is thrown once it is aborted, and what `fatal` says of an error that must not be followed by another
 * try.
 */
export async function persist(
  server: Server,
  signal: AbortSignal,
  send: (tries: number) => Promise<Response>,
  later: (response: Response) => boolean,
  fatal: (cause: unknown) => unknown = () => null,
): Promise<Response> {
  const { policy } = server;
  const end = performance.now() + policy.connectWithin;
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    const { response, cause } = await tried(send, tries);
    signal.throwIfAborted();
    const ended = response ? null : fatal(cause);
    if (ended) throw ended;
    if (response && !later(response)) return response;
    const again = retryAfter(response?.headers.get("retry-after") ?? null, Date.now());
    const ms = (again ?? 0) + delay(policy, tries, Math.random());
    if (performance.now() + ms > end) {
      if (response) return response;
      throw new Unreachable(`${server.base.origin} did not answer.`, { cause });
    }
    await response?.body?.cancel();
    await pause(ms, signal, again === null);
  }
}

async function tried(
  send: (tries: number) => Promise<Response>,
  tries: number,
): Promise<{ response?: Response; cause?: unknown }> {
  try {
    return { response: await send(tries) };
  } catch (cause) {
    return { cause };
  }
}
