/** The document of an operation as a client has it, and the requests that read it. */
import { RequestRefused, RestiveError } from "./errors.js";
import { isBusy, persist, problemIn, watchdog, wholeBody } from "./requesting.js";
import { type Server, joined } from "./server.js";
import type { HeaderLines, Problem } from "./wire/frames.js";

/** The statuses of an operation; the last three never change. */
export type OperationStatus = "queued" | "running" | "succeeded" | "failed" | "canceled";

/** How far an operation is. */
export interface Progress {
  readonly completed: number;
  readonly total: number | null;
  readonly unit: string | null;
  readonly message: string | null;
  /** Per second. */
  readonly rate: number | null;
  /** Seconds left. */
  readonly eta: number | null;
}

/** The document of an operation. Dates are RFC 3339 texts. */
export interface OperationState<T = unknown> {
  readonly id: string;
  readonly status: OperationStatus;
  readonly created: string;
  readonly started: string | null;
  readonly finished: string | null;
  /** The run that it is in, or waits for: 1 for the first. */
  readonly attempt: number;
  /** Where it stands while it is queued: 1 is the next; null is not known. */
  readonly queue: { readonly position: number | null; readonly starts: string | null } | null;
  readonly progress: Progress;
  /** How many are finished. */
  readonly parts: number;
  /** Null while it is not there, and where it is long: `result()` has it always. */
  readonly result: T | null;
  readonly error: Problem | null;
  readonly links: Readonly<Record<string, string>>;
}

/** Whether it will never change again. */
export const isFinal = ({ status }: OperationState): boolean => /^(succeeded|failed|canceled)$/.test(status);

/** The document that `url` was answered with. Throws `RestiveError` for what is none. */
export async function documentIn<T>(response: Response, url: string): Promise<OperationState<T>> {
  const data: unknown = await response.json().catch(() => null);
  if (!isDocument(data)) throw notAnOperation(url);
  return data as OperationState<T>;
}

/** Whether it is the document of an operation. */
export const isDocument = (data: unknown): data is OperationState =>
  typeof data === "object" && data !== null && "status" in data && typeof data.status === "string";

/** The error for what is none. */
export const notAnOperation = (url: string): RestiveError =>
  new RestiveError(`${url} is no operation: it has no document with a status.`);

/** A link as an absolute URL. The client's credentials go with it, so it must not lead elsewhere. */
export function ownLink(base: string, reference: string): string {
  const url = new URL(reference, base);
  if (url.origin !== new URL(base).origin) {
    throw new RestiveError(`${base} links to ${url}, on another server.`);
  }
  return url.href;
}

// -- requests -----------------------------------------------------------------------------------

/** What the operation's requests are made with. */
export interface Asker {
  readonly _server: Server;
  readonly _headers: HeaderLines;
  readonly _signal: AbortSignal;
}

/** Which answers count, and how they are read. */
interface Reading {
  /** A status that is fine although it is no success; `tries` is how often it was asked before. */
  _fine?: (status: number, tries: number) => boolean;
  /** The body is the caller's to read, as it comes. */
  _open?: boolean;
  /** Milliseconds that the server was asked to wait. */
  _wait?: number;
}

/** A request that is safe to repeat, repeated until it is answered. Throws `RequestRefused` for what is no success. */
export async function send(
  asker: Asker,
  url: string,
  init: RequestInit,
  reading: Reading = {},
): Promise<Response> {
  const { _server: server, _signal: signal } = asker;
  let tried = 0;
  let renewed = false;
  const again = async (tries: number): Promise<Response> => {
    tried = tries;
    const response = await sendOnce(asker, url, init, reading);
    if (renewed || (response.status !== 401 && response.status !== 403)) return response;
    renewed = true;
    await response.body?.cancel();
    await server.renew();
    return sendOnce(asker, url, init, reading);
  };
  const later = ({ status, headers }: Response): boolean =>
    isBusy(status) || (status === 409 && headers.has("retry-after"));
  const response = await persist(server, signal, again, later);
  if (response.ok || reading._fine?.(response.status, tried)) return response;
  throw new RequestRefused(await problemIn(response));
}

async function sendOnce(
  { _server: server, _headers: headers, _signal: signal }: Asker,
  url: string,
  init: RequestInit,
  { _open, _wait = server.policy.wait }: Reading,
): Promise<Response> {
  const fields = joined(joined(await server.fields(), headers as [string, string][]), init.headers);
  const dog = watchdog(signal);
  // How long an upload takes nobody knows.
  if (!init.body) dog.allow(server.policy.patience + _wait);
  try {
    const response = await server.ask(url, {
      ...init,
      headers: fields as [string, string][],
      signal: dog.signal,
    });
    if (_open || !response.ok) return response;
    const body = await wholeBody(response, dog, server.policy.patience);
    return new Response(body.size ? body : null, response);
  } finally {
    dog.rest();
  }
}
