/**
 * What a transport can say, whichever it is: the machine's input, and how frames and responses become it.
 *
 * The readers are pure. A response is read by its status; a status that speaks of the server's health, not of
 * the resource, is a failure, after which the client comes back. Times are in milliseconds.
 */

import { type Event, type Problem, parsed } from "../wire/frames.js";
import type { SSEEvent } from "../wire/sse.js";
import { type Transport, retryAfter } from "./policy.js";
import type { State } from "./state.js";

/** A state. `again`: after this time the server wants to be polled again. */
export interface Snapshot {
  readonly is: "snapshot";
  readonly state: State;
  readonly final: boolean;
  readonly again: number | null;
}

/** Nothing new; `etag` is what the server believes the client to have, where it says so. */
export interface Unchanged {
  readonly is: "unchanged";
  readonly etag: string | null;
  readonly final: boolean;
  readonly again: number | null;
}

/** A new state that the client has to GET. */
export interface Announced {
  readonly is: "announced";
  readonly etag: string | null;
}

/** The watch is over: with a problem, or with null where the last state is final. */
export interface Ended {
  readonly is: "ended";
  readonly problem: Problem | null;
}

export type News = Snapshot | Unchanged | Announced | Ended;

/** Why a transport delivered nothing (more). */
export type Kind =
  | "unreachable" // no connection at all: says nothing about the transport
  | "busy" // 429 or 5xx: says nothing about it either, unless another transport gets through
  | "refused" // the server, or something before it, does not speak this transport
  | "silent" // it may be open, yet nothing came in time
  | "dropped" // closed before its time
  | "slow" // it works, yet nothing came of this resource in time
  | "misfit"; // this one watch cannot use it, others can; or many cannot share it, and one can

/** `cause` is for the user, `again` is when the server wants to be asked again. */
export interface Failure {
  readonly is: "failure";
  readonly kind: Kind;
  readonly cause: unknown;
  readonly again: number | null;
}

/** What is read of a response's header; `Headers` are that. */
export interface Fields {
  get(name: string): string | null;
}

/** Seconds; what says `immutable` and lives so long never changes. */
const FINAL_AFTER = 31_536_000;

/** Statuses that speak of the server's health. */
const LATER = /^(408|425|429)$|^[5-9]../;

/** A failure of this kind. */
export const failure = (kind: Kind, cause: unknown = null, again: number | null = null): Failure => ({
  is: "failure",
  kind,
  cause,
  again,
});

const snapshot = (data: unknown, etag: string | null, text: string | null = null): Snapshot => ({
  is: "snapshot",
  state: { data, etag, text, fetch: false },
  final: false,
  again: null,
});

/** Nothing new. */
export const unchanged = (
  etag: string | null = null,
  final = false,
  again: number | null = null,
): Unchanged => ({
  is: "unchanged",
  etag,
  final,
  again,
});

const ended = (problem: Problem | null): Ended => ({ is: "ended", problem });

/** What an object of the socket that speaks of a resource says. */
export function ofEvent(event: Event): News | null {
  const { data, text, etag = null, end, patch, fetch, current } = event;
  if (end) return ended(end["status"] === 200 ? null : problemOf(end));
  if (patch || fetch) return { is: "announced", etag };
  if (current) return unchanged(etag);
  if (text !== undefined) return snapshot(text, etag, text);
  return data === undefined ? null : snapshot(data, etag);
}

/**
 * What an event says. A stream does not tell text from JSON: `text` says that it was text before.
 * Throws `SyntaxError` for an end that is no JSON.
 */
export function ofSse({ name, data, id }: SSEEvent, text: boolean): News | null {
  const event: Event = id ? { etag: id } : {};
  if (name === "message") {
    const json = text ? undefined : parsed(data);
    return ofEvent(json === undefined ? { ...event, text: data } : { ...event, data: json });
  }
  return /^(current|fetch|end)$/.test(name) ? ofEvent({ ...event, [name]: JSON.parse(data) }) : null;
}

/** The problem that `document` describes; `status` is used where it names none. */
export const problemOf = (document: Readonly<Record<string, unknown>>): Problem => ({
  status: 500,
  ...document,
});

/**
 * What the whole response to a poll, a long poll or a GET says, or the refusal of a stream.
 * `unixNow` is the time of now, as `Date.now()` gives it.
 */
export function ofAnswer(
  transport: Transport,
  status: number,
  headers: Fields,
  body: Uint8Array,
  unixNow: number,
): News | Failure {
  const again = retryAfter(headers.get("retry-after"), unixNow);
  const final = isFinal(headers);
  const etag = headers.get("etag");
  const whole = /poll/.test(transport);
  if (status === 304) return unchanged(etag, final, again);
  if (status === 204 && !whole) return ended(null);
  if (status === 204 && transport === "long-poll") return unchanged(etag, final);
  if (/^20[034]$/.test(`${status}`) && whole) return { ...content(headers, body), final, again };
  return refused(transport, status, ofRefusal(status, headers, body), again);
}

function refused(
  transport: Transport,
  status: number,
  problem: Problem,
  again: number | null,
): News | Failure {
  const poll = transport === "poll";
  // A gateway did not wait as long as the server would have.
  if (status === 504 && !poll) return failure("silent", problem);
  if (LATER.test(`${status}`)) return failure("busy", problem, again);
  // With these the resource itself ends a watch, whatever the transport.
  return poll || /^(40[13456]|410|451)$|^3../.test(`${status}`)
    ? ended(problem)
    : failure("refused", problem);
}

/** What the response to a request for many says, where it holds no events. */
export function ofMany(
  status: number,
  headers: Fields,
  body: Uint8Array,
  unixNow: number,
): Unchanged | Failure {
  if (status === 204) return unchanged();
  const problem = ofRefusal(status, headers, body);
  if (status === 504) return failure("silent", problem);
  // Whether each of them may be watched says its own URI.
  if (status === 501 || !LATER.test(`${status}`)) return failure("misfit", problem);
  return failure("busy", problem, retryAfter(headers.get("retry-after"), unixNow));
}

/** The problem that a response tells, whether it is a problem document or not. */
export function ofRefusal(status: number, headers: Fields, body: Uint8Array): Problem {
  const found = /json/.test(headers.get("content-type") ?? "") && parsed(decoded(body));
  const location = headers.get("location");
  return {
    ...(location && { location }),
    ...(typeof found === "object" && !Array.isArray(found) && found),
    status,
  };
}

function isFinal(headers: Fields): boolean {
  const list = `,${headers.get("cache-control")},`.toLowerCase().replace(/\s*,\s*/g, ",");
  return /,immutable,/.test(list) && Number(/,max-age="*(\d+)"*,/.exec(list)?.[1]) >= FINAL_AFTER;
}

function content(headers: Fields, body: Uint8Array): Snapshot {
  const etag = headers.get("etag");
  const [type = "", charset] = (headers.get("content-type") ?? "")
    .toLowerCase()
    .split(/\s*;.*?(?:charset="?|$)/);
  const kind = /^(?:application\/|.*\+)(json|xml)$|^text\//.exec(type.trim());
  if (!body.length) return snapshot(null, etag);
  const value = kind?.[1] === "json" ? parsed(decoded(body)) : undefined;
  if (value !== undefined) return snapshot(value, etag);
  // What is not RFC 8259 is text.
  const text = kind && decoded(body, /^[^\s";]+/.exec(charset ?? "")?.[0]);
  return text == null ? snapshot(body, etag) : snapshot(text, etag, text);
}

/** Undefined for what is not in `charset`, or where nobody knows it. */
function decoded(body: Uint8Array, charset?: string): string | undefined {
  try {
    return new TextDecoder(charset, { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return undefined;
  }
}
