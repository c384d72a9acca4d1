/** `restive/watch`: watching alone, for pages that need nothing else. */
import { Origin } from "./origin.js";
import { type ClientOptions, type Server, serverAt } from "./server.js";
import { type OnState, type Watch, type WatchOptions, watch } from "./watching.js";

export { RestiveError, Unreachable, UsageError, WatchEnded } from "./errors.js";
export type { Problem } from "./errors.js";
export type { Policy, Transport } from "./machine/policy.js";
export type { State } from "./machine/state.js";
export type { Status } from "./origin.js";
export type { ClientOptions, OnState, Watch, WatchOptions };

/** A client of one server. */
export interface Live {
  /**
   * Show `url`, a path such as `"/orders/3"`, now and whenever it changes. The watch survives servers that
   * restart and networks that fail; it ends when it is called, when its signal is aborted, after a final
   * state, and where the server ends it. Raises `UsageError`.
   */
  watch<T = unknown>(url: string | URL, onState: OnState<T>, options?: WatchOptions): Watch<T>;
  /** The same, to be iterated over. */
  watch<T = unknown>(url: string | URL, onState?: undefined, options?: WatchOptions): Watch<T>;
  /** The credentials have changed: all watches begin anew, over new connections, and show what they get. */
  reconnect(): void;
  /** End all watches. */
  close(): void;
}

/** A client of `base`, by default of the page's own server. Raises `UsageError`. */
export function restive(base?: string | URL, options: ClientOptions = {}): Live {
  const server = serverAt(base, options);
  return liveOf(server, new Origin(server));
}

/** What the watches of `origin` are reached by. */
export function liveOf(server: Server, origin: Origin): Live {
  return {
    watch: <T>(url: string | URL, onState?: OnState<T>, options?: WatchOptions) =>
      watch(origin, server, url, onState, options),
    reconnect: () => origin.reconnect(),
    close: () => origin.close(),
  };
}
