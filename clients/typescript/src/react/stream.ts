/** `useStream`: the latest items of a stream, in a component. */
import { useEffect, useMemo } from "react";
import { UsageError } from "../errors.js";
import { linesOf } from "../server.js";
import type { StreamOptions } from "../stream.js";
import { useShared } from "./provider.js";
import { useStateOf } from "./state.js";

/** How a component reads a stream. */
export interface UseStreamOptions extends Pick<StreamOptions, "offset" | "headers" | "transport"> {
  /** How many items are kept at most, the latest ones; 1,000 unless another number is given. */
  keep?: number;
}

/** What a component sees of a stream. */
export interface StreamView<T = unknown> {
  /** The latest items, in order. */
  readonly items: readonly T[];
  /** There are no more, ever. */
  readonly closed: boolean;
  /** Reading ended with it: `WatchEnded`, `Unreachable`, or `UsageError`. */
  readonly error: Error | null;
}

const NOTHING: StreamView<never> = { items: [], closed: false, error: null };

/**
 * The latest items of the stream at `url`, from its start or from `offset` on. Batches are rendered as a whole.
 * Reading ends when the component is unmounted, and begins anew where `url` or an option is another one. Null reads
 * nothing, and so does a server. Throws `UsageError` for a `keep` that is no number of items.
 */
export function useStream<T = unknown>(
  url: string | URL | null,
  options: UseStreamOptions = {},
): StreamView<T> {
  const { keep = 1_000, ...how } = options;
  if (!(keep >= 1)) throw new UsageError(`keep is how many items are kept, 1 or more; not ${keep}.`);
  const { _client: client } = useShared();
  const key = JSON.stringify([url, keep, how.offset, how.transport, linesOf(how.headers)]);
  const source = useMemo(() => ({ _client: client, _key: key }), [client, key]);
  const [view, change] = useStateOf<StreamView<T>>(source, NOTHING);

  useEffect(() => {
    if (url === null) return undefined;
    const stop = new AbortController();
    const { signal } = stop;
    const read = async () => {
      const stream = client().stream<T>(url, { ...how, signal });
      // What was hidden, as by <Activity>, is read anew.
      change(() => NOTHING);
      for await (const { items, closed } of stream.batches()) {
        if (signal.aborted) return;
        change((view) => ({ ...view, items: view.items.concat(items).slice(-keep), closed }));
      }
    };
    read().catch((error: Error) => signal.aborted || change((view) => ({ ...view, error })));
    return () => stop.abort();
  }, [source]);

  return view;
}
