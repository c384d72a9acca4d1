/**
 * The parser of server-sent events: the WHATWG algorithm (HTML, 9.2.6 "Interpreting an event stream") on text.
 * Bytes become text by a `TextDecoder` in stream mode, which also takes away the BOM. It acts on a lone CR at
 * once and swallows an LF that follows it in a later chunk; an event that the stream ends in is dropped.
 */

/** One dispatched event. */
export interface SSEEvent {
  /** `"message"` where the stream named none. */
  readonly name: string;
  readonly data: string;
  /** The last event ID at that moment, which events without one inherit. */
  readonly id: string;
}

/** Text in, events out; one for each response. */
export interface SSEParser {
  /** The reconnection time in milliseconds that the stream last named, or null. */
  retry: number | null;
  /** The events that `chunk` completes. */
  feed(chunk: string): SSEEvent[];
}

/** A parser; `id` is the event ID that events without one have at first. */
export function sseParser(id = ""): SSEParser {
  let rest = "";
  let afterCR = false;
  let name = "";
  let data = "";

  const take = (line: string): SSEEvent[] => {
    const [, field, value = ""] = /^([^:]*):? ?([^]*)/.exec(line) ?? [];
    if (field === "data") data += value + "\n";
    if (field === "event") name = value;
    if (field === "id" && !value.includes("\0")) id = value;
    if (field === "retry" && /^\d+$/.test(value)) parser.retry = Math.min(+value, 1e15);
    if (line) return [];
    const event = { name: name || "message", data: data.slice(0, -1), id };
    const found = data ? [event] : [];
    name = data = "";
    return found;
  };

  const parser: SSEParser = {
    retry: null,
    feed(chunk) {
      if (!chunk) return [];
      const lines = chunk.replace(afterCR ? /^\n/ : "", "").split(/\r\n|\r|\n/);
      afterCR = chunk.endsWith("\r");
      lines[0] = rest + lines[0];
      rest = lines.pop() ?? "";
      return lines.flatMap(take);
    },
  };
  return parser;
}
