/**
 * The client without I/O: all watches of one origin, their transports and what carries them.
 *
 * Its methods say what happened and when; they return what the shell has to do now, in order. `deadline()` says
 * when `tick` is due at the latest: at once, where a request waits for others that begin in this turn. `carrier`
 * has the socket and the requests, `outcome` what becomes of a watch, `ladder` chooses transports.
 * It does what the Python client's machine does: both play the worlds of `tests/client/vectors`.
 */

import type { Event, HeaderLines } from "../wire/frames.js";
import {
  type Action,
  type Attempt,
  type Want,
  type Watched,
  attempts,
  attempt as newAttempt,
  wait,
  watched,
} from "./attempt.js";
import {
  type Carrier,
  type Carriers,
  answered,
  askDue,
  attemptsFor,
  board,
  down,
  leave,
  opened,
  reopen,
  sameHeaders,
  settle,
  split,
  told,
} from "./carrier.js";
import { better, blame, choose } from "./ladder.js";
import { type Failure, type News, failure, ofEvent, problemOf, unchanged } from "./news.js";
import { fail, forget, heed } from "./outcome.js";
import { goOn, isOneShot, nextDue } from "./pace.js";
import type { Policy, Transport } from "./policy.js";

/** One origin. `random` gives numbers from 0 to 1; every `now` is above 0, in milliseconds of one steady clock. */
export class Machine implements Carriers {
  readonly _policy: Policy;
  _random: () => number;
  readonly _blamed: Carriers["_blamed"] = new Map();
  readonly _split: Carriers["_split"] = new Map();
  readonly _watches = new Map<number, Watched>();
  readonly _underWay = new Map<number, Carrier>();
  readonly _carriers: Carrier[] = [];
  /** When to look at which watch, the first one first; those that are not its `_wake` any more are void. */
  readonly _queue: [number, Watched][] = [];
  readonly _out: Action[] = [];
  _numbers = 0;
  _now = 0;

  constructor(policy: Policy, random: () => number) {
    this._policy = policy;
    this._random = random;
  }

  // -- the user ----------------------------------------------------------------------------

  /** Begin watch `key`, a number that was never used before. */
  watch(key: number, want: Want, now: number): Action[] {
    this._now = now;
    const watch = watched(key, want, now);
    watch._main = newAttempt(watch, choose(this, want.rungs), now);
    this._watches.set(key, watch);
    return turn(this, [watch._main]);
  }

  /** End watch `key`; one that has ended is left alone. */
  unwatch(key: number, now: number): Action[] {
    this._now = now;
    const watch = this._watches.get(key);
    if (watch) forget(this, watch);
    return turn(this);
  }

  /** Whether such a watch could join the socket, which has one watch for each target. */
  sharesSocket(target: string, headers: HeaderLines): boolean {
    return attemptsFor(this, target).every(({ _watch }) => sameHeaders(_watch._want.headers, headers));
  }

  /** What delivers to watch `key`; null while nothing does. */
  delivering(key: number): Transport | null {
    const main = this._watches.get(key)?._main;
    return main?._delivered ? main._transport : null;
  }

  /** An earlier page found that these do not work here. */
  distrust(transports: readonly Transport[], now: number): void {
    this._now = now;
    for (const transport of transports) blame(this, this._blamed, transport);
  }

  /** The client's credentials have changed: go on over a new socket. */
  reopenSocket(now: number): Action[] {
    this._now = now;
    return turn(this, reopen(this));
  }

  // -- what comes --------------------------------------------------------------------------

  /** The handshake of socket `number` is done. */
  opened(number: number, now: number): Action[] {
    this._now = now;
    const carrier = this._underWay.get(number);
    if (carrier && !carrier._opened) opened(this, carrier);
    return turn(this);
  }

  /** Request `number` said something, of all that it asks for. */
  news(number: number, news: News, now: number): Action[] {
    this._now = now;
    const carrier = this._underWay.get(number);
    if (!carrier) return [];
    const riders = heard(this, carrier);
    const due = nextDue(carrier, news, this);
    for (const attempt of riders) tell(this, attempt, news, due);
    return turn(this, riders);
  }

  /** The socket, or a stream for many, said this. */
  event(number: number, event: Event, now: number): Action[] {
    this._now = now;
    const carrier = this._underWay.get(number);
    if (!carrier || (carrier._transport === "websocket" && !carrier._opened)) return [];
    if (event.retry !== undefined) {
      carrier._again = event.retry;
      return [];
    }
    if (ofEvent(event)) mark(this, carrier);
    const riders = concerned(this, event, carrier._riders, number);
    const due = nextDue(carrier, unchanged(), this);
    for (const attempt of riders) take(this, attempt, event, due);
    return turn(this, riders);
  }

  /** The long poll for many says this. What it leaves out the server could not look at yet. */
  answer(number: number, events: readonly Event[], now: number): Action[] {
    this._now = now;
    const carrier = this._underWay.get(number);
    if (!carrier) return [];
    const change = events.map(ofEvent).find((news) => news && news.is !== "unchanged");
    const due = nextDue(carrier, change ?? unchanged(), this);
    const riders = heard(this, carrier);
    const aboard = new Set(riders);
    const left = new Set(riders);
    for (const event of events) {
      for (const attempt of concerned(this, event, aboard, number)) {
        left.delete(attempt);
        take(this, attempt, event, due);
      }
    }
    for (const attempt of left) {
      attempt._unheard ||= now;
      goOn(attempt, due);
    }
    return turn(this, riders);
  }

  /** Bytes came for request `number`, be it only a comment. */
  alive(number: number, now: number): void {
    const carrier = this._underWay.get(number);
    if (carrier) carrier._alive = now;
  }

  /** Request `number` is over and said nothing (more); or the socket did not open, or is gone. */
  failed(number: number, failure: Failure, now: number): Action[] {
    this._now = now;
    const carrier = this._underWay.get(number);
    if (!carrier) return [];
    if (carrier._many && failure.kind === "misfit") return turn(this, split(this, carrier));
    if (carrier._shared) return turn(this, downWith(this, carrier, failure));
    const riders = answered(this, carrier);
    for (const attempt of riders) fail(this, attempt, failure);
    return turn(this, riders);
  }

  // -- time --------------------------------------------------------------------------------

  /** When `tick` is due at the latest; `Infinity` while nothing has to happen by itself. */
  deadline(): number {
    const times = this._carriers.flatMap(({ _due, _until }) => [_due, _until]);
    return Math.min(this._queue[0]?.[0] ?? Infinity, ...times);
  }

  /** Do what is due. */
  tick(now: number): Action[] {
    this._now = now;
    for (let first = this._queue[0]; first && first[0] <= now; first = this._queue[0]) {
      const [when, watch] = first;
      this._queue.shift();
      if (!watch._over && watch._wake === when) {
        watch._wake = Infinity;
        advance(this, watch);
      }
    }
    for (const { _watch } of askDue(this)) schedule(this, _watch);
    return turn(this);
  }
}

/** Go on with the watches of these attempts. */
function turn(m: Machine, touched: Attempt[] = []): Action[] {
  for (const { _watch } of touched) advance(m, _watch);
  settle(m);
  return m._out.splice(0);
}

function advance(m: Machine, watch: Watched): void {
  for (const attempt of attempts(watch)) {
    if (!watch._over && attempts(watch).includes(attempt)) advanceAttempt(m, attempt);
  }
  if (watch._over) return;
  const found = better(m, watch);
  if (found && found[0] <= m._now) {
    advanceAttempt(m, (watch._trial = newAttempt(watch, found[1], m._now)));
  }
  schedule(m, watch);
}

function advanceAttempt(m: Machine, attempt: Attempt): void {
  if (attempt._due > m._now) return;
  if (attempt._phase === "waiting") board(m, attempt);
  else if (attempt._carrier) expire(m, attempt, attempt._carrier);
}

function schedule(m: Machine, watch: Watched): void {
  const times = attempts(watch).map(({ _due }) => _due);
  const due = Math.max(m._now, Math.min(...times, better(m, watch)?.[0] ?? Infinity));
  if (due >= watch._wake) return;
  watch._wake = due;
  m._queue.push([due, watch]);
  m._queue.sort(([a, one], [b, other]) => a - b || one._key - other._key);
}

function expire(m: Machine, attempt: Attempt, carrier: Carrier): void {
  const lives = carrier._alive + m._policy[attempt._phase === "live" ? "silence" : "patience"];
  if (lives > m._now) {
    attempt._due = lives; // others on it, or comments, have shown so
    return;
  }
  const slow = attempt._transport === "websocket" ? carrier._heard : attempt._unheard;
  if (!carrier._shared || slow) {
    leave(m, attempt);
    fail(m, attempt, failure(slow ? "slow" : "silent"));
    return;
  }
  for (const { _watch } of downWith(m, carrier, failure("silent"), true)) {
    if (_watch !== attempt._watch && !_watch._over) schedule(m, _watch);
  }
}

/** All on the carrier failed, and wait equally long; who was on it. */
function downWith(m: Machine, carrier: Carrier, why: Failure, stop = false): Attempt[] {
  const [found, failed, riders] = down(m, carrier, why, stop);
  const random = m._random;
  const once = random();
  m._random = () => once;
  for (const attempt of failed) fail(m, attempt, found, carrier._rest);
  m._random = random;
  return riders;
}

/** It delivers; to whom. A request that has one answer is over. */
function heard(m: Machine, carrier: Carrier): Attempt[] {
  mark(m, carrier);
  return isOneShot(carrier._transport) ? answered(m, carrier) : told(carrier);
}

function mark(m: Machine, carrier: Carrier): void {
  carrier._heard ||= m._now;
  // The pings of a socket tell whether it lives.
  if (carrier._transport !== "websocket") carrier._alive = m._now;
}

/** Those on `number` whom `event` is for. */
const concerned = (m: Machine, event: Event, aboard: Set<Attempt>, number: number): Attempt[] =>
  attemptsFor(m, event.on ?? "").filter((attempt) => attempt._number === number && aboard.has(attempt));

function take(m: Machine, attempt: Attempt, event: Event, due: number): void {
  const news = ofEvent(event);
  if (event.error) {
    leave(m, attempt, true);
    if (attempt._transport === "websocket") {
      fail(m, attempt, failure("misfit", problemOf(event.error)));
    } else {
      attempt._alone = true; // its own URI says more
      wait(attempt, m._now);
    }
  } else if (news) tell(m, attempt, news, due);
}

function tell(m: Machine, attempt: Attempt, news: News, due: number): void {
  const { _watch: watch, _transport: transport } = attempt;
  const trial = attempt === watch._trial;
  heed(m, attempt, news, due);
  if (!trial || watch._main !== attempt) return;
  for (const other of m._watches.values()) {
    // What has worked for one is tried by all, at once.
    if (better(m, other)?.[1] !== transport) continue;
    other._betterAt = m._now;
    schedule(m, other);
  }
}
