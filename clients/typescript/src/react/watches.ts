/**
 * The watches of one client that components look at. Those who want the same share one, which begins with the first
 * who looks and ends a moment after the last: StrictMode mounts twice, and the next view may want it again.
 * A view is replaced, never changed, as `useSyncExternalStore` wants it. Rendering alone begins nothing but what it
 * waits for.
 */
import type { Live, Status, Transport } from "../watch.js";

/** What a component sees of a watch. */
export interface LiveView<T = unknown> {
  /** The latest state; undefined before the first one. It stays when the watch has ended. */
  readonly data: T | undefined;
  /** Its entity tag. */
  readonly etag: string | null;
  /** `"live"`: `data` is the latest there is; `"idle"`: there is no URL; else as `status` of a watch. */
  readonly status: Status["is"] | "idle";
  /** The watch ended with it: `WatchEnded`, `Unreachable`, or `UsageError`. */
  readonly error: Error | null;
}

/** What is watched, and how. */
export interface Wanted {
  /** The same for all who can share a watch. */
  readonly _key: string;
  readonly _url: string;
  /** As the client does, where none is given. */
  readonly _transport: "auto" | Transport | undefined;
  readonly _headers: [string, string][];
}

/** Before anything is known. */
export const CONNECTING: LiveView<never> = { data: undefined, etag: null, status: "connecting", error: null };

/** Milliseconds that a watch goes on when nobody looks any more. */
const LINGER = 1_000;

/** The same for what a render waits for, which React may finish later, or never. */
const AWAITED = 30_000;

class Watched {
  _view: LiveView = CONNECTING;
  readonly _lookers = new Set<() => void>();
  /** Resolves with the first state, or with an end without any. */
  readonly _first: Promise<void>;
  readonly _forget: () => void;
  _resolve: () => void = () => {};
  _stop: () => void = () => {};
  _timer: ReturnType<typeof setTimeout> | undefined;

  constructor(client: Live, { _url, _transport, _headers }: Wanted, forget: () => void) {
    this._first = new Promise((resolve) => (this._resolve = resolve));
    this._forget = forget;
    try {
      this._stop = client.watch(_url, (data, { etag }) => this._change({ data, etag }), {
        ...(_transport && { transport: _transport }),
        headers: _headers,
        onError: (error) => this._change({ error }),
        onStatus: ({ is }) => is === this._view.status || this._change({ status: is }),
      });
    } catch (error) {
      this._change({ status: "ended", error: error as Error });
    }
  }

  _look(looker: () => void): () => void {
    clearTimeout(this._timer);
    this._lookers.add(looker);
    return () => {
      this._lookers.delete(looker);
      this._rest(LINGER);
    };
  }

  /** It ends in `ms` milliseconds unless somebody looks until then. */
  _rest(ms: number): void {
    clearTimeout(this._timer);
    if (!this._lookers.size) this._timer = setTimeout(() => this._end(), ms);
  }

  _end(): void {
    clearTimeout(this._timer);
    this._forget();
    this._stop();
  }

  _change(news: Partial<LiveView>): void {
    this._view = { ...this._view, ...news };
    const { data, status, error } = this._view;
    if (data !== undefined || status === "ended") this._resolve();
    if (error) this._rest(LINGER);
    for (const look of this._lookers) look();
  }
}

/** All that components watch by one client. */
export class Watches {
  readonly _client: () => Live;
  readonly _all = new Map<string, Watched>();

  constructor(client: () => Live) {
    this._client = client;
  }

  /** What is known now. */
  _view({ _key }: Wanted): LiveView {
    return this._all.get(_key)?._view ?? CONNECTING;
  }

  /** Have `looker` called at each change of the view from now on. Returns what ends that. */
  _look(wanted: Wanted, looker: () => void): () => void {
    const found = this._all.get(wanted._key);
    // Who mounts a component anew wants to try anew.
    if (found?._view.error && !found._lookers.size) found._end();
    return this._get(wanted)._look(looker);
  }

  /** Resolves once there is a first state, or will be none. */
  _first(wanted: Wanted): Promise<void> {
    const watched = this._get(wanted);
    watched._rest(AWAITED);
    return watched._first;
  }

  _get(wanted: Wanted): Watched {
    const { _key } = wanted;
    let watched = this._all.get(_key);
    if (!watched)
      this._all.set(_key, (watched = new Watched(this._client(), wanted, () => this._all.delete(_key))));
    return watched;
  }
}
