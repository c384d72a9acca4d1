/**
 * How long the client waits for what, and how it spreads its attempts. Values and pure functions only.
 * All times are in milliseconds.
 */

/** The ways to watch. */
export type Transport = "websocket" | "sse" | "ndjson" | "long-poll" | "poll";

/** What `transport: "auto"` tries, the best first. */
export const AUTO: readonly Transport[] = ["websocket", "sse", "long-poll", "poll"];

/** A server that names a longer time is asked again after this one. */
const MOST_RETRY_AFTER = 3_600_000;

/** The client's times, all in milliseconds. */
export interface Policy {
  /** A transport that has delivered nothing for so long is given up for the next one. */
  readonly patience: number;
  /** An event stream without even a comment (the server sends one every 15 s) for so long is dead. */
  readonly silence: number;
  /** How long a long poll asks the server to wait. */
  readonly wait: number;
  /** Between two polls, where the server names no time of its own by `Retry-After`. */
  readonly pollInterval: number;
  /** The first retry comes after a random part of this; it doubles with each failure in a row … */
  readonly backoff: number;
  /** … up to this. */
  readonly mostBackoff: number;
  /** A connection that lived for so long ends a row of failures. */
  readonly stable: number;
  /** A better transport that did not work is tried again after about this; doubled each time, … */
  readonly betterAfter: number;
  /** … up to this. */
  readonly mostBetterAfter: number;
  /** The socket is closed so long after its last watch. */
  readonly linger: number;
  /**
   * So long a request that watches share waits for more of them to come or go, before it is replaced. While that
   * does not end it waits twice as long each time, …
   */
  readonly gather: number;
  /** … up to this. */
  readonly mostGather: number;
  /** A watch to which nothing was ever delivered gives up after this; `Infinity`: never. */
  readonly connectWithin: number;
}

/** The times that are used where nothing else is said. */
export const POLICY: Policy = {
  patience: 12_000, // the server announces what it cannot look at in 10 s
  silence: 45_000,
  wait: 30_000,
  pollInterval: 5_000,
  backoff: 500,
  mostBackoff: 30_000,
  stable: 5_000,
  betterAfter: 60_000,
  mostBetterAfter: 3_600_000,
  linger: 1_000,
  gather: 30,
  mostGather: 2_000,
  connectWithin: 60_000,
};

/** Full jitter: a random part of a time that doubles with each failure. */
export const delay = (policy: Policy, failures: number, random: number): number =>
  random * Math.min(policy.mostBackoff, policy.backoff * 2 ** failures);

/** When to try a better transport again that has failed `times` times before. */
export const betterDelay = (policy: Policy, times: number, random: number): number =>
  (0.75 + random / 2) * Math.min(policy.mostBetterAfter, policy.betterAfter * 2 ** times);

/**
 * The milliseconds that a `Retry-After` names (RFC 9110 10.2.3); null where that makes no sense.
 * `unixNow` is the time of now, as `Date.now()` gives it.
 */
export function retryAfter(value: string | null, unixNow: number): number | null {
  const text = (value ?? "").trim();
  const ms = /^\d+$/.test(text) ? +text * 1000 : /:/.test(text) ? Date.parse(text) - unixNow : NaN;
  return ms === ms ? Math.min(Math.max(0, ms), MOST_RETRY_AFTER) : null;
}
