/**
 * One operation of the server: its document, followed by a watch, and what its links lead to.
 * Nothing is kept but its URL and its latest document, so that it can be found again from any page, at any time.
 * There is at most one watch of it, as long as anybody looks, whatever is looked at.
 */
import {
  type Asker,
  type OperationState,
  type Progress,
  documentIn,
  isDocument,
  isFinal,
  notAnOperation,
  ownLink,
  send,
} from "./document.js";
import { Closed, OperationCanceled, OperationFailed, UsageError } from "./errors.js";
import { problemOf } from "./machine/news.js";
import { targetOf } from "./server.js";

/** A finished part of an operation. */
export interface Part {
  readonly name: string;
  /** Absolute. */
  readonly url: string;
  /** Its media type. */
  readonly type: string;
  /** In bytes. */
  readonly size: number;
  /** As `Repr-Digest` (RFC 9530) has it. */
  readonly digest: string;
  /** GETs it. Throws `RequestRefused` and `Unreachable`. */
  response(): Promise<Response>;
  /** The same, as its bytes … */
  bytes(): Promise<Uint8Array>;
  /** … or as the value of its JSON. */
  json<V = unknown>(): Promise<V>;
}

/** Begins a watch of a target, and returns what ends it. */
export type Watch = (
  target: string,
  onState: (data: unknown) => void,
  options: {
    headers: HeadersInit;
    onError: (error: Error) => void;
    onStatus: (status: { readonly is: string }) => void;
  },
) => () => void;

/** Somebody who looks at the operation. */
interface Looker {
  _state(state: OperationState): void;
  _error(error: unknown): void;
}

interface Inbox {
  _unread: OperationState | null;
  _failure: { readonly _error: unknown } | null;
  _wake: () => void;
}

/** One operation. Made by `live.operation`. */
export class Operation<T = unknown> {
  /** Absolute: with it `live.operation(url)` finds the operation again. */
  readonly url: string;
  /** The latest document that is known. */
  state: OperationState<T>;
  /** Called with an error that ends what `onprogress` sees. */
  onerror: ((error: unknown) => void) | null = null;

  readonly _asker: Asker;
  readonly _watch: Watch;
  readonly _lookers = new Set<Looker>();
  _stop: (() => void) | null = null;
  _onprogress: ((progress: Progress, state: OperationState<T>) => void) | null = null;
  _ignore: (() => void) | null = null;

  /** Made by `live.operation`. */
  constructor(url: string, state: OperationState<T>, asker: Asker, watch: Watch) {
    this.url = url;
    this.state = state;
    this._asker = asker;
    this._watch = watch;
  }

  /** The last segment of its URL. */
  get id(): string {
    return this.state.id;
  }

  /** Called with the progress, and the document, now and whenever there is a newer one; null ends that. */
  get onprogress(): ((progress: Progress, state: OperationState<T>) => void) | null {
    return this._onprogress;
  }

  set onprogress(call: ((progress: Progress, state: OperationState<T>) => void) | null) {
    if (call && typeof call !== "function") throw new UsageError("onprogress is a function, or null.");
    this._ignore?.();
    this._onprogress = call;
    if (!call) return;
    this._ignore = this._look({
      _state: (state) => call(state.progress, state as OperationState<T>),
      _error: (error) => this.onerror?.(error),
    });
  }

  /**
   * The document as it is known, then each newer one; the last has a final status. A slow reader skips some.
   * Throws `WatchEnded` where it was deleted or may not be read any more, and `Unreachable`.
   */
  async *states(): AsyncGenerator<OperationState<T>, void, undefined> {
    const inbox: Inbox = { _unread: null, _failure: null, _wake: () => {} };
    const ignore = this._look({
      _state(state) {
        inbox._unread = state;
        inbox._wake();
      },
      _error(error) {
        inbox._failure = { _error: error };
        inbox._wake();
      },
    });
    try {
      for (;;) {
        while (!inbox._unread && !inbox._failure)
          await new Promise<void>((resolve) => (inbox._wake = resolve));
        const state = inbox._unread as OperationState<T> | null;
        if (!state) throw inbox._failure?._error;
        inbox._unread = null;
        yield state;
        if (isFinal(state)) return;
      }
    } finally {
      ignore();
    }
  }

  /** Each part, once, as it becomes ready, from the first on; ends behind the last one. Throws as `states`. */
  async *parts(): AsyncGenerator<Part, void, undefined> {
    let offset = "";
    let seen = 0;
    for await (const state of this.states()) {
      const final = isFinal(state);
      while (final || state.parts > seen) {
        const response = await this._get(
          this._link("parts") + (offset && `?offset=${encodeURIComponent(offset)}`),
        );
        const found = (await response.json()) as Omit<Part, "response" | "bytes" | "json">[];
        for (const part of found) yield this._part(part);
        seen += found.length;
        offset = response.headers.get("stream-next-offset") ?? "";
        if (!found.length || !offset || response.headers.get("stream-closed") === "true") break;
      }
    }
  }

  /** What it returned, once it has. Throws `OperationFailed`, `OperationCanceled`, and as `states`. */
  async result(): Promise<T> {
    for await (const state of this.states()) {
      if (state.status === "failed") throw new OperationFailed(problemOf(state.error ?? { title: "Failed" }));
      if (state.status === "canceled") throw new OperationCanceled(`${this.url} was canceled.`);
      if (state.status !== "succeeded") continue;
      return state.result ?? ((await (await this._get(this._link("result"))).json()) as T);
    }
    throw new Closed(`${this.url} is not watched any more.`);
  }

  /** Asks for the cancel; the document as it is then. A final status stays as it is. */
  async cancel(): Promise<OperationState<T>> {
    const response = await send(this._asker, this._link("cancel"), { method: "POST" });
    const state = await documentIn<T>(response, this.url);
    // A watch may have told a later one.
    if (!this._stop || isFinal(state)) this._got(state);
    return state;
  }

  /** Forgets it, with its parts and its result; it is canceled if need be. */
  async delete(): Promise<void> {
    // What is gone when the request is repeated was deleted by it.
    const _fine = (status: number, tries: number): boolean => tries > 0 && (status === 404 || status === 410);
    await send(this._asker, this.url, { method: "DELETE" }, { _fine });
  }

  // -- its one watch -----------------------------------------------------------------------

  _look(looker: Looker): () => void {
    const ignore = (): void => {
      this._lookers.delete(looker);
      if (!this._lookers.size) this._rest();
    };
    looker._state(this.state);
    if (isFinal(this.state)) return ignore;
    this._lookers.add(looker);
    this._begin();
    return ignore;
  }

  _begin(): void {
    const { _signal: signal, _headers: headers, _server: server } = this._asker;
    if (signal.aborted) return this._failed(signal.reason);
    if (this._stop) return;
    const aborted = (): void => this._failed(signal.reason);
    // An end without an error comes behind a final state, or where the client was closed.
    const ended = (): void => {
      if (this._stop === stop) this._failed(new Closed("The client was closed."));
    };
    let end: (() => void) | undefined;
    const stop = (): void => {
      signal.removeEventListener("abort", aborted);
      end?.();
    };
    this._stop = stop;
    signal.addEventListener("abort", aborted);
    end = this._watch(targetOf(this.url, server.base), (data) => this._got(data), {
      headers: headers as [string, string][],
      onError: (error) => this._failed(error),
      onStatus: ({ is }) => is === "ended" && setTimeout(ended),
    });
    if (this._stop !== stop) end();
  }

  _rest(): void {
    const stop = this._stop;
    this._stop = null;
    stop?.();
  }

  _got(data: unknown): void {
    if (!isDocument(data)) return this._failed(notAnOperation(this.url));
    if (isFinal(this.state) || JSON.stringify(data) === JSON.stringify(this.state)) return;
    this.state = data as OperationState<T>;
    const lookers = [...this._lookers];
    if (isFinal(data)) {
      this._lookers.clear();
      this._rest();
    }
    for (const looker of lookers) looker._state(data);
  }

  _failed(error: unknown): void {
    const lookers = [...this._lookers];
    this._lookers.clear();
    this._rest();
    for (const looker of lookers) looker._error(error);
  }

  // -- its links ---------------------------------------------------------------------------

  _get(url: string): Promise<Response> {
    return send(this._asker, url, {});
  }

  _link(name: string): string {
    return ownLink(this.url, this.state.links?.[name] ?? `${this.url.replace(/\/$/, "")}/${name}`);
  }

  _part(found: Omit<Part, "response" | "bytes" | "json">): Part {
    const url = ownLink(this.url, found.url);
    return {
      ...found,
      url,
      response: () => send(this._asker, url, {}, { _open: true }),
      bytes: async () => new Uint8Array(await (await this._get(url)).arrayBuffer()),
      json: async () => (await this._get(url)).json(),
    };
  }
}
