/**
 * What one read of a stream says, by the Durable Streams protocol 1.0: pages, and events. No I/O.
 * What is no stream's throws `SyntaxError`.
 */
import type { SSEEvent } from "./wire/sse.js";

/** Some items of a stream, in order. */
export interface Batch<T = unknown> {
  /** JSON values where the stream is JSON; else one piece of text, or of bytes. */
  readonly items: readonly T[];
  /** Behind the last of them: `stream(url, { offset })` goes on there. */
  readonly offset: string;
  /** There are no more, ever. */
  readonly closed: boolean;
  /** Nothing lies behind them for now. */
  readonly upToDate: boolean;
  /** To be sent back with the next live read. */
  readonly cursor: string | null;
}

/** How a stream's items are sent. */
export type Kind = "json" | "text" | "bytes";

/** By its media type. */
export function kindOf(contentType: string | null): Kind {
  const type = (contentType ?? "").split(";")[0]!.trim().toLowerCase();
  return type === "application/json" ? "json" : type.startsWith("text/") ? "text" : "bytes";
}

/** The answer to a catch-up read or a long poll. */
export function ofPage(headers: Headers, body: Uint8Array): Batch {
  const offset = headers.get("stream-next-offset");
  if (!offset) throw new SyntaxError("The answer is not a stream's: it has no Stream-Next-Offset.");
  const closed = says(headers, "stream-closed");
  const kind = kindOf(headers.get("content-type"));
  return {
    items: !body.length
      ? []
      : kind === "bytes"
        ? [body]
        : texts(kind, new TextDecoder("utf-8", BOM).decode(body)),
    offset,
    closed,
    upToDate: closed || says(headers, "stream-up-to-date"),
    cursor: headers.get("stream-cursor"),
  };
}

/** A byte order mark is content. */
const BOM = { ignoreBOM: true };

const says = (headers: Headers, name: string): boolean => headers.get(name)?.toLowerCase() === "true";

/** Puts the events of a live read together: the batch that an event completes, or null. */
export function assembler(kind: Kind): (event: SSEEvent) => Batch | null {
  let items: unknown[] = [];
  return ({ name, data }) => {
    if (name === "data") items = items.concat(kind === "bytes" ? unbase64(data) : texts(kind, data));
    if (name !== "control") return null;
    const said = JSON.parse(data) as Partial<Record<string, unknown>>;
    const { streamNextOffset: offset, streamCursor: cursor, streamClosed, upToDate } = said;
    if (typeof offset !== "string" || !offset)
      throw new SyntaxError("A control event has no streamNextOffset.");
    const closed = streamClosed === true;
    const batch = {
      items,
      offset,
      closed,
      upToDate: closed || upToDate === true,
      cursor: typeof cursor === "string" ? cursor : null,
    };
    items = [];
    return batch;
  };
}

function texts(kind: Kind, text: string): unknown[] {
  if (kind === "text") return [text];
  const found: unknown = JSON.parse(text);
  if (!Array.isArray(found)) throw new SyntaxError("A read of a JSON stream is no array.");
  return found;
}

/** The bytes that a base64 text stands for; also where it was sent on several lines. */
function unbase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    throw new SyntaxError("An event of a stream of bytes is not base64.");
  }
}
