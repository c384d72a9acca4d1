/**
 * The states of one watch, and the actions that the machine asks its shell for.
 *
 *     waiting ──due──> asking ──first news──> live          (streams and the socket)
 *        ^                └──the answer──> waiting          (polls: the next request)
 *        └─────────────── failed ─────────────┘
 *
 * A number names one request or one socket: what comes for another one is late, and ignored.
 */

import type { Carrier } from "./carrier.js";
import type { HeaderLines, Problem } from "../wire/frames.js";
import type { Kind } from "./news.js";
import type { Transport } from "./policy.js";
import type { State } from "./state.js";

/** What the user asked for. */
export interface Want {
  /** Path and query in RFC 3986 normal form. */
  readonly target: string;
  /** The transports to try, the best first. */
  readonly rungs: readonly Transport[];
  /** These add to the client's. */
  readonly headers: HeaderLines;
  /** What the user has already, or null. */
  readonly etag: string | null;
}

/** Why a watch is over: the server ended it, or no transport ever delivered anything. */
export type End =
  | { readonly code: "ended"; readonly problem: Problem }
  | { readonly code: "unreachable"; readonly cause: unknown };

// -- what the shell has to do -------------------------------------------------------------------

/** A resource that is asked for, and what the client has of it. */
export interface Target {
  readonly uri: string;
  readonly headers: HeaderLines;
  readonly etag: string | null;
  /** The state before was text. */
  readonly text: boolean;
}

/**
 * Make the request `number` over HTTP and report what it says under this number.
 * One target is asked for at its own URI; several are together at `/-/live`.
 */
export interface Ask {
  readonly do: "ask";
  readonly number: number;
  readonly transport: Transport;
  readonly targets: readonly Target[];
}

/** Nobody waits for request `number` any more. */
export interface Stop {
  readonly do: "stop";
  readonly number: number;
}

/** Open a socket; report `opened` or `failed` under this number. */
export interface OpenSocket {
  readonly do: "open-socket";
  readonly number: number;
}

/** Send a text frame on socket `number`. */
export interface SendFrame {
  readonly do: "send";
  readonly number: number;
  readonly text: string;
}

/** Close socket `number`; nothing needs to be reported of it any more. */
export interface CloseSocket {
  readonly do: "close-socket";
  readonly number: number;
}

/** A state for the user of watch `key`. */
export interface Show {
  readonly do: "show";
  readonly key: number;
  readonly state: State;
}

/** Watch `key` is over: with an error, or with null because its last state is final. */
export interface Finish {
  readonly do: "finish";
  readonly key: number;
  readonly error: End | null;
}

export type Action = Ask | Stop | OpenSocket | SendFrame | CloseSocket | Show | Finish;

// -- what the machine keeps ---------------------------------------------------------------------
// Of times, 0 stands for never.

/** One transport at work for one watch. */
export interface Attempt {
  readonly _watch: Watched;
  readonly _transport: Transport;
  /** It asks when it is due; or has asked, and fails then unless something comes; or something came. */
  _phase: "waiting" | "asking" | "live";
  _due: number;
  /** Where it asked last. */
  _carrier?: Carrier;
  /** Of its request, or of the socket; 0: not asked yet. */
  _number: number;
  /** What others ask for is not asked for with it. */
  _alone: boolean;
  /** Since when answers to all on its carrier have left it out. */
  _unheard: number;
  /** What it resumed from. */
  _etag: string | null;
  /** How many states had been shown when it asked. */
  _shown: number;
  /** When something came first. */
  _delivered: number;
  /** The last tag it spoke of. */
  _told?: string | null;
  /** Newer states than it has told were shown, so what it tells may be old. */
  _behind?: boolean;
  /** Fetch: in a row. */
  _failures: number;
  /** Fetch: ask once more when the answer is there. */
  _repeat?: boolean;
  /** Fetch: the tag was announced although we have it, so it is a coarse one. */
  _coarse: boolean;
}

/** An attempt that asks at `due`. */
export const attempt = (
  watch: Watched,
  transport: Transport,
  due: number,
  alone = false,
  coarse = false,
): Attempt => ({
  _watch: watch,
  _transport: transport,
  _phase: "waiting",
  _due: due,
  _number: 0,
  _alone: alone,
  _unheard: 0,
  _etag: null,
  _shown: 0,
  _delivered: 0,
  _failures: 0,
  _coarse: coarse,
});

/** Puts `attempt` off. */
export function wait(attempt: Attempt, until: number): void {
  attempt._phase = "waiting";
  attempt._due = until;
}

/** One watch: what it has, and the attempts at work for it. */
export interface Watched {
  readonly _key: number;
  readonly _want: Want;
  readonly _started: number;
  _main: Attempt;
  /** A better transport, tried while `_main` goes on. */
  _trial?: Attempt | null;
  /** A GET for a state that was only announced. */
  _fetch?: Attempt | null;
  _etag: string | null;
  _last?: State;
  _shown: number;
  /** No GET asks before whether the state is final, or has become so. */
  _checkAt: number;
  _failures: number;
  /** Delivered nothing since the last news. */
  _suspects: Map<Transport, Kind>;
  /** Anything was ever delivered. */
  _ever?: boolean;
  /** Final; only the fetch is still awaited. */
  _ending?: boolean;
  /** It is over. */
  _over?: boolean;
  /** A better transport is not tried before. */
  _betterAt: number;
  /** When the machine will look at this watch by itself. */
  _wake: number;
}

/** A watch that begins `now`; its first attempt, which points back at it, is still to be set. */
export const watched = (key: number, want: Want, now: number): Watched =>
  ({
    _key: key,
    _want: want,
    _started: now,
    _etag: want.etag,
    _shown: 0,
    _checkAt: 0,
    _failures: 0,
    _suspects: new Map(),
    _betterAt: 0,
    _wake: Infinity,
  }) as unknown as Watched;

/** Those at work now. */
export const attempts = ({ _main, _trial, _fetch }: Watched): Attempt[] =>
  [_main, _trial, _fetch].filter((found) => !!found);
