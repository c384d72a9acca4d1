/** Starting an operation by a POST that is safe to repeat, or finding one again by its URL. */
import { type Asker, documentIn, ownLink, send } from "./document.js";
import { UsageError } from "./errors.js";
import { Operation, type Watch } from "./handle.js";
import { either, headerLines } from "./requesting.js";
import { type Server, targetOf } from "./server.js";

export type { OperationState, OperationStatus, Progress } from "./document.js";
export type { Operation, Part, Watch } from "./handle.js";

/** What an operation is started with, or found again. */
export interface OperationOptions {
  /** `"POST"` starts one; without it the one at the URL is found again. */
  method?: string;
  /** A form, a file, a text, or a plain object or array, which is sent as JSON. */
  body?: FormData | Blob | string | URLSearchParams | ArrayBuffer | ArrayBufferView | object;
  /** Header fields beside those of the client, of every request about the operation. */
  headers?: HeadersInit;
  /** What makes the POST safe to repeat; one is made where none is given. 1 to 255 visible characters. */
  idempotencyKey?: string;
  /** Milliseconds that the server may wait for the end before it answers. */
  wait?: number;
  /** Gives up: what is under way throws its reason, and nothing is watched any more. */
  signal?: AbortSignal;
}

/**
 * Starts an operation by a POST to `url`, or finds the one at `url` again. The POST carries an Idempotency-Key and
 * is repeated after a lost connection, so that it makes one operation. Throws `UsageError`, `RequestRefused`
 * (with the server's problem), `Unreachable`, and the reason of the signal.
 */
export async function operationAt<T = unknown>(
  server: Server,
  watch: Watch,
  url: string | URL,
  options: OperationOptions = {},
  closing?: AbortSignal,
): Promise<Operation<T>> {
  const { method, signal } = options;
  const target = targetOf(url, server.base);
  const asker: Asker = {
    _server: server,
    _headers: headerLines(options.headers),
    _signal: either(signal, closing),
  };
  const init = method === undefined ? existing(options) : starting(method, options);
  const asked = new URL(target, server.base).href;
  const response = await send(asker, asked, init, { _wait: options.wait ?? server.policy.wait });
  const state = await documentIn<T>(response, target);
  // A page of another origin may not see the fields that say where it is.
  const { headers } = response;
  const found = headers.get("location") ?? headers.get("content-location") ?? state.links?.["self"] ?? asked;
  return new Operation<T>(ownLink(asked, found), state, asker, watch);
}

function existing({ body, idempotencyKey, wait }: OperationOptions): RequestInit {
  if (body !== undefined || idempotencyKey !== undefined || wait !== undefined) {
    throw new UsageError('body, idempotencyKey and wait start an operation: say method: "POST" too.');
  }
  return {};
}

function starting(method: string, { body, headers, idempotencyKey, wait }: OperationOptions): RequestInit {
  if (method !== "POST") throw new UsageError(`method: "POST" starts an operation, not ${String(method)}.`);
  const waits = wait === undefined || (Number.isFinite(wait) && wait >= 0);
  if (!waits) throw new UsageError("wait is a number of milliseconds.");
  const fields = new Headers(headers);
  const key = idempotencyKey ?? fields.get("idempotency-key") ?? newKey();
  if (typeof key !== "string" || !/^[!-~]{1,255}$/.test(key)) {
    throw new UsageError("idempotencyKey has 1 to 255 visible characters of ASCII.");
  }
  fields.set("idempotency-key", fields.get("idempotency-key") ?? `"${key.replace(/["\\]/g, "\\$&")}"`);
  if (wait !== undefined) fields.set("prefer", `wait=${Math.ceil(wait / 1000)}`);
  const content = bodyOf(body);
  const json = typeof body === "object" && typeof content === "string";
  if (json && !fields.has("content-type")) fields.set("content-type", "application/json");
  return { method, headers: fields, body: content };
}

function bodyOf(body: OperationOptions["body"]): BodyInit | null {
  if (body === undefined || body === null) return null;
  if (typeof body === "string" || ArrayBuffer.isView(body)) return body as BodyInit;
  if ([FormData, Blob, URLSearchParams, ArrayBuffer].some((known) => body instanceof known))
    return body as BodyInit;
  const prototype: unknown = typeof body === "object" && Object.getPrototypeOf(body);
  if (Array.isArray(body) || prototype === null || (prototype && !Object.getPrototypeOf(prototype))) {
    try {
      return JSON.stringify(body);
    } catch (cause) {
      throw new UsageError(`This body cannot be sent as JSON: ${(cause as Error).message}`, { cause });
    }
  }
  throw new UsageError(
    "body is FormData, a Blob, a text, bytes, or a plain object; a stream cannot be repeated.",
  );
}

/** 128 random bits; `crypto.randomUUID` is there in secure contexts only. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
