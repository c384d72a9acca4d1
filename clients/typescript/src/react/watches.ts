/**
 * The watches of one client that components look at. Those who want the same share one, which begins with the first
 * who looks and ends a moment after the last: StrictMode mounts twice, and the next view may want it again.
 * A view is replaced, never changed, as `useSyncExternalStore` wants it. Rendering alone begins nothing but what it
 * waits for.
 */
import type { Live, Status, WatchOptions } from "../watch.js";

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
export interface Wanted extends Pick<WatchOptions, "transport" | "headers"> {
  readonly url: string;
}

/** Before anything is known. */
export const CONNECTING: LiveView<never> = { data: undefined, etag: null, status: "connecting", error: null };

/** Milliseconds that a watch goes on when nobody looks any more. */
const LINGER = 1_000;

/** The same for what a render waits for, which React may have to finish later, or never. */
const AWAITED = 30_000;

class Watched {
  view: LiveView = CONNECTING;
  readonly lookers = new Set<() => void>();
  /** Resolves with the first state, or with an end without any. */
  readonly first: Promise<void>;
  _resolve: () => void = () => {};
  _timer: ReturnType<typeof setTimeout> | undefined;
  _stop: () => void = () => {};
  readonly _forget: () => void;

  constructor(client: () => Live, { url, ...options }: Wanted, forget: () => void) {
    this.first = new Promise((resolve) => (this._resolve = resolve));
    this._forget = forget;
    try {
      this._stop = client().watch(url, (data, { etag }) => this._change({ data, etag }), {
        ...options,
        onError: (error) => this._change({ error }),
        onStatus: ({ is }) => this._change({ status: is }),
      });
    } catch (error) {
      this._change({ status: "ended", error: error as Error });
    }
  }

  /** It ends in `ms` milliseconds unless somebody looks until then. */
  rest(ms: number): void {
    clearTimeout(this._timer);
    if (!this.lookers.size) this._timer = setTimeout(() => this.end(), ms);
  }

  look(looker: () => void): () => void {
    clearTimeout(this._timer);
    this.lookers.add(looker);
    return () => {
      this.lookers.delete(looker);
      this.rest(LINGER);
    };
  }

  end(): void {
    clearTimeout(this._timer);
    this._forget();
    this._stop();
  }

  _change(news: Partial<LiveView>): void {
    const before = this.view;
    this.view = { ...before, ...news };
    if (before.status === this.view.status && "status" in news) this.view = before;
    const { data, status, error } = this.view;
    if (data !== undefined || status === "ended") this._resolve();
    if (error) this.rest(LINGER);
    for (const look of this.lookers) look();
  }
}

/** All that components watch by one client. */
export class Watches {
  readonly _client: () => Live;
  readonly _watched = new Map<string, Watched>();

  constructor(client: () => Live) {
    this._client = client;
  }

  /** What is known now. */
  view(key: string): LiveView {
    return this._watched.get(key)?.view ?? CONNECTING;
  }

  /** Have `looker` called at each change of the view, from now on; returns what ends that. */
  look(key: string, wanted: Wanted, looker: () => void): () => void {
    const found = this._watched.get(key);
    // Who mounts a view anew wants to try it anew.
    if (found?.view.error && !found.lookers.size) found.end();
    return this._get(key, wanted).look(looker);
  }

  /** Resolves once there is a first state, or will be none. */
  first(key: string, wanted: Wanted): Promise<void> {
    const watched = this._get(key, wanted);
    watched.rest(AWAITED);
    return watched.first;
  }

  _get(key: string, wanted: Wanted): Watched {
    const found = this._watched.get(key);
    if (found) return found;
    const made: Watched = new Watched(this._client, wanted, () => {
      if (this._watched.get(key) === made) this._watched.delete(key);
    });
    this._watched.set(key, made);
    return made;
  }
}
