/** `restive`: the whole client, with streams, operations and requests beside watches. */
import { Closed } from "./errors.js";
import { type Fetch, fetchOf, requestsOver } from "./fetch.js";
import { type Operation, type OperationOptions, operationAt } from "./operation.js";
import { Origin } from "./origin.js";
import { type ClientOptions, serverAt } from "./server.js";
import { type Stream, type StreamOptions, streamAt } from "./stream.js";
import { type Live, liveOf } from "./watch.js";

export { Closed, OperationCanceled, OperationFailed, OutcomeUnknown, RequestRefused } from "./errors.js";
export { RestiveError, Unreachable, UsageError, WatchEnded } from "./watch.js";
export type { ClientOptions, Fields, Times } from "./server.js";
export type {
  Live,
  OnState,
  Policy,
  Problem,
  State,
  Status,
  Transport,
  Watch,
  WatchOptions,
} from "./watch.js";
export type { Fetch } from "./fetch.js";
export type {
  Operation,
  OperationOptions,
  OperationState,
  OperationStatus,
  Part,
  Progress,
} from "./operation.js";
export type { Batch, Stream, StreamOptions } from "./stream.js";

/** A client of one server. */
export interface Client extends Live {
  /** As the global `fetch`, over the socket where the server allows that and one is open, else over HTTP. */
  readonly fetch: Fetch;
  /** Every item of the stream at `url`, in order and once, by `for await`. Raises `UsageError`. */
  stream<T = unknown>(url: string | URL, options?: StreamOptions): Stream<T>;
  /** Start an operation with `method: "POST"`, or find the one at `url` again. */
  operation<T = unknown>(url: string | URL, options?: OperationOptions): Promise<Operation<T>>;
}

/** A client of `base`, by default of the page's own server. Raises `UsageError`. */
export function restive(base?: string | URL, options: ClientOptions = {}): Client {
  const server = serverAt(base, options);
  const origin = new Origin(server, requestsOver);
  const live = liveOf(server, origin);
  const closing = new AbortController();
  return {
    ...live,
    fetch: fetchOf(server, origin),
    stream: (url, given) => streamAt(server, url, given, closing.signal),
    operation: (url, given) => operationAt(server, live.watch, url, given, closing.signal),
    close() {
      closing.abort(new Closed("The client was closed."));
      live.close();
    },
  };
}
