/** One watch as its user holds it: a function that ends it, with its latest state, to be iterated over. */
import { UsageError } from "./errors.js";
import { AUTO, type Transport } from "./machine/policy.js";
import type { State } from "./machine/state.js";
import type { Origin, Status, Watcher } from "./origin.js";
import { type Server, targetOf } from "./server.js";

/** What a watch can be told. */
export interface WatchOptions {
  /** It ended with an error: `WatchEnded`, or `Unreachable` where nothing was ever delivered. */
  onError?: (error: Error) => void;
  /** It has become live, lost its connection, was paused or has ended. */
  onStatus?: (status: Status) => void;
  /** How to watch, if not as the client does. */
  transport?: "auto" | Transport;
  /** Header fields beside the client's. A socket takes accept, accept-language and authorization. */
  headers?: HeadersInit;
  /** The entity tag of the state that you have already: only a later one is shown. */
  etag?: string;
  /** Ends the watch. */
  signal?: AbortSignal;
}

/**
 * A watch. Calling it ends it. `for await (const data of watch)` gives the states, now and whenever there is a
 * newer one: a slow reader skips states and always gets the last one. Without a function to show states it begins
 * with the iteration, and `break` ends it.
 */
export interface Watch<T = unknown> extends AsyncIterable<T> {
  (): void;
  /** The latest state, with its entity tag; null before the first. */
  readonly state: State<T> | null;
  /** Whether that is the latest which the server has. */
  readonly status: Status;
}

/** Shows a state. `state` holds its entity tag too. */
export type OnState<T> = (data: T, state: State<T>) => void;

const CONNECTING: Status = { is: "connecting", transport: null };

/** Watch `url`; see `Live.watch`. Raises `UsageError`. */
export function watch<T>(
  origin: Origin,
  server: Server,
  url: string | URL,
  onState?: OnState<T>,
  options: WatchOptions = {},
): Watch<T> {
  const { onError, onStatus, headers, etag = null, signal } = options;
  if (onState && typeof onState !== "function") {
    throw new UsageError(
      "The second argument of watch() is a function that shows a state; options come third.",
    );
  }
  let unread: State<T> | null = null;
  let begun = false;
  let over = false;
  let failure: Error | null = null;
  let wake = () => {};

  const watcher: Watcher = {
    target: targetOf(url, server.base),
    rungs: rungsOf(options.transport ?? server.options.transport ?? "auto"),
    headers,
    etag,
    last: null,
    status: CONNECTING,
    _key: 0,
    _refused: -Infinity,
    _ever: false,
    show(state) {
      unread = state as State<T>;
      wake();
      guarded(() => onState?.(state.data as T, state as State<T>));
    },
    changed: () => guarded(() => onStatus?.(watcher.status)),
    over(error) {
      over = true;
      failure = error;
      wake();
      if (error && onError) guarded(() => onError(error));
      else if (error && onState) complain(error);
    },
  };
  const begin = () => {
    if (begun) return;
    begun = true;
    if (!signal?.aborted) origin.add(watcher);
    else over = true;
    signal?.addEventListener("abort", stop);
  };
  const stop = () => {
    begun = over = true;
    signal?.removeEventListener("abort", stop);
    origin.remove(watcher);
    wake();
  };
  const iterator: AsyncIterator<T> = {
    async next() {
      begin();
      while (!unread && !over) await new Promise<void>((resolve) => (wake = resolve));
      const state = unread;
      unread = null;
      if (state) return { value: state.data, done: false };
      const error = failure;
      failure = null;
      if (error) throw error;
      return { value: undefined, done: true };
    },
    async return() {
      stop();
      return { value: undefined, done: true };
    },
  };

  if (onState) begin();
  return Object.defineProperties(stop as Watch<T>, {
    state: { get: () => watcher.last },
    status: { get: () => watcher.status },
    [Symbol.asyncIterator]: { value: () => iterator },
  });
}

/** The transports to try, the best first. Raises `UsageError`. */
function rungsOf(transport: "auto" | Transport): readonly Transport[] {
  const known = globalThis.WebSocket ? AUTO : AUTO.slice(1);
  const rungs = transport === "auto" ? known : known.filter((rung) => rung === transport);
  if (!rungs.length) throw new UsageError(`transport is one of auto, ${known.join(", ")}; not ${transport}.`);
  return rungs;
}

function guarded(call: () => void): void {
  try {
    call();
  } catch (error) {
    complain(error);
  }
}

/** As for an error in an event listener. */
const complain = (error: unknown): void => (globalThis.reportError ?? console.error)(error);
