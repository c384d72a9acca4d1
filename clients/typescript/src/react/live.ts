/** `useLive`: the latest state of a URL, in a component. */
import { useCallback, useSyncExternalStore } from "react";
import { Closed, UsageError } from "../errors.js";
import { linesOf } from "../server.js";
import type { WatchOptions } from "../watch.js";
import { useShared } from "./provider.js";
import { CONNECTING, type LiveView, type Wanted } from "./watches.js";

export type { LiveView };

/** How a component watches. */
export interface UseLiveOptions<T = unknown> extends Pick<WatchOptions, "transport" | "headers"> {
  /** Shown until the first state comes, and by a server that renders the page. */
  initialData?: T;
  /** Wait for the first state: `<Suspense>` shows its fallback meanwhile, an error boundary shows the error. */
  suspense?: boolean;
}

const IDLE: LiveView<never> = { ...CONNECTING, status: "idle" };

/**
 * The latest state of `url`, rendered anew with each newer one. All components that want the same of one client share
 * one watch, which ends a moment after the last of them is unmounted. Null watches nothing. On a server it shows
 * `initialData` and opens nothing. What ends the watch is in `error`; with `suspense` it is thrown where there is
 * nothing to show.
 */
export function useLive<T = unknown>(
  url: string | URL,
  options: UseLiveOptions<T> & ({ suspense: true } | { initialData: T }),
): LiveView<T> & { readonly data: T };
export function useLive<T = unknown>(url: string | URL | null, options?: UseLiveOptions<T>): LiveView<T>;
export function useLive<T = unknown>(url: string | URL | null, options: UseLiveOptions<T> = {}): LiveView<T> {
  const { initialData, suspense } = options;
  const { _watches: watches } = useShared();
  const wanted = wantedOf(url, options);
  const look = useCallback(
    (looker: () => void) => (wanted ? watches._look(wanted, looker) : () => {}),
    [watches, wanted?._key],
  );
  const known = () => (wanted ? watches._view(wanted) : IDLE);
  const atServer = () => {
    if (!wanted) return IDLE;
    // React's server sends the fallback in place of a render that throws, and the page renders it then.
    if (suspense && initialData === undefined) throw new UsageError(NO_DATA);
    return CONNECTING;
  };
  const view = useSyncExternalStore(look, known, atServer) as LiveView<T>;

  if (view.data !== undefined) return view;
  if (initialData !== undefined) return { ...view, data: initialData };
  if (!wanted || !suspense) return view;
  if (view.status === "ended") throw view.error ?? new Closed(`${wanted._url} is not watched any more.`);
  // A promise that is thrown suspends React 18 and 19 alike; `use` is not in 18.
  throw watches._first(wanted);
}

const NO_DATA = "Only a page can wait for data: give initialData to what a server renders.";

function wantedOf(url: string | URL | null, { transport, headers }: UseLiveOptions): Wanted | null {
  if (url === null) return null;
  const lines = linesOf(headers) as [string, string][];
  const key = JSON.stringify([`${url}`, transport, lines]);
  return { _key: key, _url: `${url}`, _transport: transport, _headers: lines };
}
