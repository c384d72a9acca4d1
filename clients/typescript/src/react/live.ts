/** `useLive`: the latest state of a URL, in a component. */
import { useCallback, useSyncExternalStore } from "react";
import { Closed, UsageError } from "../errors.js";
import { linesOf } from "../server.js";
import type { WatchOptions } from "../watch.js";
import { useShared } from "./provider.js";
import { CONNECTING, type LiveView } from "./watches.js";

export type { LiveView };

/** How a component watches. */
export interface UseLiveOptions<T = unknown> extends Pick<WatchOptions, "transport" | "headers"> {
  /** Shown until the first state comes, and by a server that renders the page. */
  initialData?: T;
  /** Wait for the first state: `<Suspense>` shows its fallback meanwhile, an error boundary shows the error. */
  suspense?: boolean;
}

const IDLE: LiveView<never> = { ...CONNECTING, status: "idle" };
const nothing = () => () => {};

/**
 * The latest state of `url`, rendered anew with each newer one. All components that want the same of one client share
 * one watch, which ends a moment after the last of them is unmounted. Null watches nothing. On a server it shows
 * `initialData` and opens nothing. What ends the watch is in `error`.
 */
export function useLive<T = unknown>(
  url: string | URL,
  options: UseLiveOptions<T> & ({ suspense: true } | { initialData: T }),
): LiveView<T> & { readonly data: T };
export function useLive<T = unknown>(url: string | URL | null, options?: UseLiveOptions<T>): LiveView<T>;
export function useLive<T = unknown>(
  url: string | URL | null,
  { initialData, suspense, transport = "auto", headers }: UseLiveOptions<T> = {},
): LiveView<T> {
  const { watches } = useShared();
  const wanted = url === null ? null : { url: `${url}`, transport, headers: linesOf(headers) as [string, string][] };
  const key = wanted && JSON.stringify(wanted);
  const look = useCallback((looker: () => void) => watches.look(key!, wanted!, looker), [watches, key]);
  const now = () => (key === null ? IDLE : watches.view(key));
  const atServer = () => {
    // React's server sends the fallback in place of a render that throws, and the page renders it then.
    if (key !== null && suspense && initialData === undefined) throw new UsageError(NO_DATA);
    return key === null ? IDLE : CONNECTING;
  };
  const view = useSyncExternalStore(key === null ? nothing : look, now, atServer) as LiveView<T>;

  if (view.data !== undefined) return view;
  if (initialData !== undefined) return { ...view, data: initialData };
  if (!wanted || !suspense) return view;
  if (view.status === "ended") throw view.error ?? new Closed(`${wanted.url} is not watched any more.`);
  throw watches.first(key!, wanted);
}

const NO_DATA = "Only a page can wait for data: give initialData to what a server renders.";
