/**
 * The JSON frames of `restive.v1`: what the server says, and how the client watches.
 * Lines of NDJSON hold the same objects. Members that are not named here are ignored.
 */

/** A problem document (RFC 9457). */
export interface Problem {
  readonly status: number;
  readonly type?: string;
  readonly title?: string;
  readonly detail?: string;
  readonly [member: string]: unknown;
}

/** What the server says. Which member is there tells the kind; `on` is the target it speaks of. */
export interface Event {
  readonly on?: string;
  /** The tag of what `data`, `text`, `patch`, `fetch` or `current` speak of. */
  readonly etag?: string;
  /** The representation: decoded JSON … */
  readonly data?: unknown;
  /** … or text, which the response to a request may be too. */
  readonly text?: string;
  /** How the representation with the tag `base` becomes this one (RFC 6902). */
  readonly patch?: readonly unknown[];
  readonly base?: string;
  /** It has changed and is too big or binary: GET it. */
  readonly fetch?: boolean;
  /** What the client has is up to date. */
  readonly current?: boolean;
  /** The watch is over: a problem, or `{"status": 200}` where the last state is final. */
  readonly end?: Readonly<Record<string, unknown>>;
  /** Items of a stream; `offset` resumes behind the last of them. */
  readonly items?: readonly unknown[];
  readonly offset?: string;
  readonly encoding?: string;
  /** The stream has no more items, ever. */
  readonly closed?: boolean;
  /** A frame was refused: the one about `on`, or the request `id`. */
  readonly error?: Readonly<Record<string, unknown>>;
  /** The connection closes; come back after about so many milliseconds. */
  readonly retry?: number;
  /** The response to the request `id`. */
  readonly id?: number | string;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: unknown;
  readonly base64?: string;
  readonly truncated?: boolean;
  readonly cookies?: boolean;
}

/** Names and values of header fields, names in lower case. */
export type HeaderLines = readonly (readonly [string, string])[];

/** The value that JSON holds; undefined for what is no JSON. */
export function parsed(json: string | undefined): unknown {
  try {
    return JSON.parse(json ?? "");
  } catch {
    return undefined;
  }
}

/** The event that `text` is, or null where it is none. */
export function parseEvent(text: string): Event | null {
  const event = parsed(text);
  return event && typeof event === "object" ? event : null;
}

/** The frame that watches `target`; `etag` is what the client has. */
export const watchFrame = (target: string, etag: string | null, headers: HeaderLines): string =>
  JSON.stringify({
    watch: target,
    etag: etag ?? undefined,
    headers: headers.length ? Object.fromEntries(headers) : undefined,
  });

/** The frame that ends the watch of `target`. */
export const unwatchFrame = (target: string): string => JSON.stringify({ unwatch: target });
