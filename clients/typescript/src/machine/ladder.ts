/**
 * Which transport to use: the best that is not known to fail on this origin.
 *
 * A transport is blamed only when another one delivered where it did not: a server that is down says nothing
 * about its transports. A blamed one is tried again later, each time later than before.
 */

import type { Attempt, Watched } from "./attempt.js";
import type { Failure, Kind } from "./news.js";
import { type Policy, type Transport, betterDelay, delay } from "./policy.js";

type Blames = Map<Transport, { readonly _until: number; readonly _times: number }>;

/** The memory of one origin, shared by all of its watches, and the time of now. */
export interface Ladder {
  readonly _policy: Policy;
  /** Numbers from 0 to 1. */
  _random: () => number;
  /** What does not work here. */
  readonly _blamed: Blames;
  /** What takes one watch on a request, not several. */
  readonly _split: Blames;
  _now: number;
}

/** Kinds of failure, by how they begin. */
const BUT_MISFIT = /^[^m]/;
const BUSY_OR_DROPPED = /^(busy|dro)/;

/** How often in a row a transport may be cut soon after it has delivered, before another one is tried. */
const SHORT_LIVES = 3;

type Suspects = ReadonlyMap<Transport, Kind>;

/** A random pause after so many failures. */
export const jitter = (ladder: Ladder, failures = 0): number =>
  delay(ladder._policy, failures, ladder._random());

/** The best of `rungs` that is neither blamed now nor in `skip`, else the least bad. */
export function choose(ladder: Ladder, rungs: readonly Transport[], skip?: Suspects): Transport {
  const left = rungs.filter((rung) => !skip?.has(rung));
  const free = left.filter((rung) => until(ladder._blamed, rung) <= ladder._now);
  return [...free, ...left, ...rungs][0] as Transport;
}

/** `transport` works here, and what delivered nothing before it does not. */
export function delivered(ladder: Ladder, watch: Watched, transport: Transport): void {
  ladder._blamed.delete(transport);
  const suspects = watch._suspects;
  acquit(watch, BUT_MISFIT);
  if (suspects.size === watch._suspects.size) return;
  for (const [suspect, kind] of suspects) accuse(ladder, suspect, kind);
  waitForBetter(ladder, watch);
}

/** A better transport was tried beside the one that works, and delivered nothing. */
export function trialFailed(ladder: Ladder, watch: Watched, transport: Transport, kind: Kind): void {
  waitForBetter(ladder, watch);
  if (kind === "misfit") watch._suspects.set(transport, kind);
  accuse(ladder, transport, kind);
}

/** The transport to try after `failure`, and after how many milliseconds. */
export function nextRung(ladder: Ladder, attempt: Attempt, failure: Failure): [Transport, number] {
  const { kind, again } = failure;
  const { _watch: watch, _transport: transport } = attempt;
  const { rungs } = watch._want;
  let step = false;
  if (isSuspicious(attempt, failure)) {
    watch._suspects.set(transport, kind);
    step = rungs.some((rung) => !watch._suspects.has(rung));
    if (!step) acquit(watch, BUT_MISFIT); // from the top again, slower
  } else if (/^(busy|unr)/.test(kind)) acquit(watch, BUSY_OR_DROPPED); // the server itself is down
  let pause = step ? 0 : jitter(ladder, watch._failures++);
  if (step || again !== null) pause = (again ?? 0) + jitter(ladder);
  return [choose(ladder, rungs, watch._suspects), pause];
}

/** When to try which better transport beside the one that works; undefined where there is none. */
export function better(ladder: Ladder, watch: Watched): [number, Transport] | undefined {
  const { _main: main, _betterAt: soonest } = watch;
  const { rungs } = watch._want;
  if (!main._delivered || watch._trial || watch._ending) return undefined;
  const [rung] = rungs
    .slice(0, rungs.indexOf(main._transport))
    .filter((above) => !watch._suspects.has(above))
    .sort((a, b) => until(ladder._blamed, a) - until(ladder._blamed, b));
  return rung && [Math.max(until(ladder._blamed, rung), soonest), rung];
}

/** Whether several watches may be asked for together. */
export const shares = (ladder: Ladder, transport: Transport): boolean =>
  transport !== "poll" && until(ladder._split, transport) <= ladder._now;

/** For a time. Further blame in that time, by other watches, changes nothing. */
export function blame(ladder: Ladder, blamed: Blames, transport: Transport): void {
  if (until(blamed, transport) > ladder._now) return;
  const times = (blamed.get(transport)?._times ?? -1) + 1;
  blamed.set(transport, { _until: later(ladder, times), _times: times });
}

/** Of a look that is slow, and of a watch that does not fit, other watches know nothing. */
function accuse(ladder: Ladder, transport: Transport, kind: Kind): void {
  if (!/slow|fit/.test(kind)) blame(ladder, ladder._blamed, transport);
}

const until = (blamed: Blames, transport: Transport): number => blamed.get(transport)?._until ?? 0;

const later = (ladder: Ladder, times = 0): number =>
  ladder._now + betterDelay(ladder._policy, times, ladder._random());

function waitForBetter(ladder: Ladder, watch: Watched): void {
  watch._betterAt = later(ladder);
}

/** Those of these kinds are no suspects any more. */
function acquit(watch: Watched, kinds: RegExp): void {
  watch._suspects = new Map([...watch._suspects].filter(([, kind]) => !kinds.test(kind)));
}

/** Whether a failure of this kind speaks against the transport. */
const isSuspicious = ({ _watch, _delivered, _transport }: Attempt, { kind, again }: Failure): boolean => {
  if (!BUSY_OR_DROPPED.test(kind)) return kind !== "unreachable";
  if (!_delivered) return kind === "dropped" || _transport === "websocket";
  // A server that goes away says when to come back; a proxy cuts what it does not like, again and again.
  return kind === "dropped" && again === null && _watch._failures >= SHORT_LIVES;
};
