/**
 * What carries watches: the socket, or the HTTP request that all watches of a transport share.
 *
 *     board ──> riders ──ask──> number ──> down: rests, and its riders are told
 *                 ^  └─ coming and going: the socket by frames, a request by the next one ─┘
 *
 * A request names its riders, so that another takes its place when they change; changes within a short time are
 * gathered, and nothing is lost, since each rider resumes by its tag. Polls and fetches ride alone.
 */

import { type HeaderLines, unwatchFrame, watchFrame } from "../wire/frames.js";
import { type Action, type Attempt, type Target, type Watched, attempts, wait } from "./attempt.js";
import { type Ladder, blame, jitter, shares } from "./ladder.js";
import type { Failure } from "./news.js";
import type { Transport } from "./policy.js";
import { sameTag } from "./state.js";

/** Watches on one request: what a server takes by default. */
const TOGETHER = 200;

/** What a frame's headers may hold everywhere. */
const FRAME_HEADERS = /^(accept|accept-language|authorization)$/;

/** A socket, or one HTTP request after the other. */
export interface Carrier {
  readonly _transport: Transport;
  /** False: it is for one attempt. */
  readonly _shared: boolean;
  readonly _riders: Set<Attempt>;
  /** Of what is under way; 0: nothing is. */
  _number: number;
  /** The socket's handshake is done. */
  _opened: boolean;
  /** What is under way names several targets. */
  _many: boolean;
  /** When it was made. */
  _asked: number;
  /** When bytes came on it last. */
  _alive: number;
  /** Since when it delivers. */
  _heard: number;
  /** When the server wants us back. */
  _again: number | null;
  /** A request is made then, as riders have come or gone. */
  _due: number;
  /** How long it waited for more of them before the last one. */
  _gather: number;
  /** Answers in a row that came at once (long poll). */
  _quick: number;
  _failures: number;
  /** It is not used before. */
  _rest: number;
  /** The socket is given up, as nobody needs it. */
  _until: number;
}

/** All watches of one origin, and what carries them. */
export interface Carriers extends Ladder {
  readonly _watches: Map<number, Watched>;
  readonly _out: Action[];
  readonly _underWay: Map<number, Carrier>;
  readonly _carriers: Carrier[];
  _numbers: number;
}

const carrier = (transport: Transport, shared: boolean): Carrier => ({
  _transport: transport,
  _shared: shared,
  _riders: new Set(),
  _number: 0,
  _opened: false,
  _many: false,
  _asked: 0,
  _alive: -Infinity,
  _heard: 0,
  _again: null,
  _due: Infinity,
  _gather: 0,
  _quick: 0,
  _failures: 0,
  _rest: 0,
  _until: Infinity,
});

/** Those whom news of what is under way concern. */
export const told = ({ _riders, _number }: Carrier): Attempt[] =>
  [..._riders].filter((rider) => _number && rider._number === _number);

/** The attempts for `target`. */
export const attemptsFor = (m: Carriers, target: string): Attempt[] =>
  [...m._watches.values()].filter(({ _want }) => _want.target === target).flatMap(attempts);

/** Whether two watches have the same headers. */
export const sameHeaders = (a: HeaderLines, b: HeaderLines): boolean => `${a}` === `${b}`;

const isSocket = ({ _transport }: Carrier): boolean => _transport === "websocket";

// -- coming and going ------------------------------------------------------------------------

/** Let `attempt` ask, now or with others. */
export function board(m: Carriers, attempt: Attempt): void {
  const found = (attempt._carrier = carrierFor(m, attempt));
  if (found._rest > m._now) {
    wait(attempt, found._rest);
    return;
  }
  found._riders.add(attempt);
  attempt._number = 0;
  attempt._phase = "asking";
  attempt._due = Infinity;
  if (isSocket(found)) joinSocket(m, found, attempt);
  else if (found._shared) touch(m, found);
  else ask(m, found);
}

function carrierFor(m: Carriers, attempt: Attempt): Carrier {
  const { _transport: transport, _carrier: own, _watch: watch, _alone: alone } = attempt;
  const { headers } = watch._want;
  const together = !alone && headers.every(([name]) => FRAME_HEADERS.test(name)) && shares(m, transport);
  if (transport !== "websocket" && !together) return own && !own._shared ? own : carrier(transport, false);
  const found = m._carriers.find((each) => each._transport === transport && takes(each, watch));
  return found ?? (m._carriers[m._carriers.length] = carrier(transport, true));
}

/** Whether there is room: a request has one watch for each target, as the socket has. */
const takes = (found: Carrier, { _want: { target, headers } }: Watched): boolean =>
  isSocket(found) ||
  (found._riders.size < TOGETHER &&
    [...found._riders].every(
      ({ _watch: { _want } }) => _want.target !== target || sameHeaders(_want.headers, headers),
    ));

/** Nobody listens to `attempt` any more. `knows`: the server knows, since it has ended it. */
export function leave(m: Carriers, attempt: Attempt, knows = false): void {
  const found = attempt._carrier;
  if (!found?._riders.delete(attempt)) return;
  const { target } = attempt._watch._want;
  const missed = !knows && ![...found._riders].some(({ _watch }) => _watch._want.target === target);
  if (isSocket(found)) {
    wait(attempt, Infinity);
    if (found._opened && missed)
      m._out.push({ do: "send", number: found._number, text: unwatchFrame(target) });
  } else if (!found._riders.size) close(m, found);
  else if (missed && attempt._number) touch(m, found);
}

/** Its riders have changed: it asks for those it has, and waits a little for more to change. */
function touch({ _now: now, _policy: policy }: Carriers, found: Carrier): void {
  const { _gather: gather } = found;
  if (!found._number) found._due = Math.min(found._due, now);
  else if (found._due === Infinity) {
    const calm = now - found._asked >= 2 * gather;
    found._gather = calm ? policy.gather : Math.min(policy.mostGather, 2 * gather);
    found._due = now + found._gather;
  }
}

// -- requests --------------------------------------------------------------------------------

/** Make the requests that are due; those who have asked. */
export function askDue(m: Carriers): Attempt[] {
  const due = m._carriers.filter(({ _due }) => _due <= m._now);
  for (const each of due) ask(m, each);
  return due.flatMap(({ _riders }) => [..._riders]);
}

/** A request for all riders takes the place of the one before. */
function ask(m: Carriers, found: Carrier): void {
  close(m, found);
  const number = begin(m, found);
  const targets = new Map<string, Target>();
  for (const { _watch: watch, _coarse } of found._riders) {
    const { target: uri, headers } = watch._want;
    const tag = _coarse ? null : watch._etag;
    const other = targets.get(uri);
    const etag = !other || tag === other.etag || sameTag(tag, other.etag) ? tag : null;
    targets.set(uri, { uri, headers, etag, text: watch._last?.text != null || !!other?.text });
  }
  found._many = targets.size > 1;
  for (const rider of found._riders)
    asked(m, rider, number, targets.get(rider._watch._want.target)?.etag ?? null);
  m._out.push({ do: "ask", number, transport: found._transport, targets: [...targets.values()] });
}

function asked(
  { _now: now, _policy: policy }: Carriers,
  attempt: Attempt,
  number: number,
  etag: string | null,
): void {
  const { _watch: watch, _unheard: unheard } = attempt;
  const waits = attempt._transport === "long-poll" && etag && !unheard;
  attempt._number = number;
  attempt._etag = etag;
  attempt._shown = watch._shown;
  // Without its tag, what comes may be older than what it has.
  attempt._behind = !etag && !!watch._etag && !attempt._coarse;
  attempt._phase = "asking";
  attempt._due = (unheard || now) + policy.patience + (waits ? policy.wait : 0);
}

function begin(m: Carriers, found: Carrier): number {
  found._number = ++m._numbers;
  found._asked = m._now;
  found._due = Infinity;
  found._alive = -Infinity;
  m._underWay.set(found._number, found);
  return found._number;
}

/** The request is over, and all on it may ask again; who they are. */
export function answered(m: Carriers, found: Carrier): Attempt[] {
  const riders = told(found);
  for (const rider of riders) found._riders.delete(rider);
  over(m, found);
  if (!found._riders.size) found._due = Infinity;
  return riders;
}

// -- the socket ------------------------------------------------------------------------------

function joinSocket(m: Carriers, found: Carrier, attempt: Attempt): void {
  if (!found._number) m._out.push({ do: "open-socket", number: begin(m, found) });
  attempt._number = found._number;
  attempt._due = m._now + m._policy.patience;
  if (found._opened) sendWatch(m, found, attempt);
}

/** The handshake is done: what waits for it is sent. */
export function opened(m: Carriers, found: Carrier): void {
  found._opened = true;
  for (const rider of told(found)) sendWatch(m, found, rider);
}

function sendWatch(m: Carriers, { _riders, _number: number }: Carrier, attempt: Attempt): void {
  const { target, headers } = attempt._watch._want;
  const etag = (attempt._etag = attempt._watch._etag);
  attempt._shown = attempt._watch._shown;
  // What is under way to another watch of this target comes to this one too.
  const isOther = (rider: Attempt): boolean => rider !== attempt && rider._watch._want.target === target;
  attempt._behind = !!etag && [..._riders].some(isOther);
  m._out.push({ do: "send", number, text: watchFrame(target, etag, headers) });
}

/** Close the socket; the riders that it had, and that open it anew. */
export function reopen(m: Carriers): Attempt[] {
  const found = m._carriers.find(isSocket);
  if (!found?._number) return [];
  close(m, found);
  return clear(found, m._now);
}

/** Close the socket when nobody has needed it for a while. */
export function settle(m: Carriers): void {
  const found = m._carriers.find(isSocket);
  if (!found) return;
  if (!found._number || found._riders.size) found._until = Infinity;
  else if (found._until === Infinity) found._until = m._now + m._policy.linger;
  else if (found._until <= m._now) close(m, found);
}

// -- the end ---------------------------------------------------------------------------------

/** End what is under way; nothing that comes of it later counts. Riders stay. */
function close(m: Carriers, found: Carrier): void {
  const { _number: number } = found;
  if (number) {
    m._out.push({ do: isSocket(found) ? "close-socket" : "stop", number });
    over(m, found);
  }
  found._due = Infinity;
}

function over(m: Carriers, found: Carrier): void {
  m._underWay.delete(found._number);
  found._number = 0;
  found._opened = false;
  if (!isSocket(found)) return;
  found._heard = 0;
  found._again = null;
  found._until = Infinity;
}

/**
 * All on a shared carrier failed, and so did it: one pause for them all. `stop`: it is to be ended. Returns the
 * failure with the time that the server named, who failed, and all that were on it.
 */
export function down(
  m: Carriers,
  found: Carrier,
  failure: Failure,
  stop: boolean,
): [Failure, Attempt[], Attempt[]] {
  const riders = told(found);
  if (found._heard && m._now - found._heard >= m._policy.stable) found._failures = 0;
  const again = failure.again ?? found._again;
  const failures = found._failures++;
  found._rest = m._now + jitter(m, again === null ? failures : 0) + (again ?? 0);
  if (stop) close(m, found);
  else over(m, found);
  found._heard = found._quick = 0;
  found._due = Infinity;
  return [{ ...failure, again }, riders, clear(found, found._rest)];
}

/** The server takes no request for many: those on it ask one by one. */
export function split(m: Carriers, found: Carrier): Attempt[] {
  blame(m, m._split, found._transport);
  close(m, found);
  return clear(found, m._now);
}

/** Its riders wait until then; who they are. */
function clear({ _riders }: Carrier, until: number): Attempt[] {
  const riders = [..._riders];
  for (const rider of riders) wait(rider, until);
  _riders.clear();
  return riders;
}
