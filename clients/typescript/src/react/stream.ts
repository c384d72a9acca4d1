/** `useStream`: the latest items of a stream, in a component. */
import { useEffect, useState } from "react";
import { linesOf } from "../server.js";
import type { Stream, StreamOptions } from "../stream.js";
import { useShared } from "./provider.js";

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

/** The view of a stream, and which one that is. */
interface Read<T> {
  readonly _of: unknown;
  readonly _view: StreamView<T>;
}

/**
 * The latest items of the stream at `url`, from its start or from `offset` on; rendered once for each batch. Reading
 * ends when the component is unmounted. Null reads nothing, and so does a server.
 */
export function useStream<T = unknown>(
  url: string | URL | null,
  { keep = 1_000, ...options }: UseStreamOptions = {},
): StreamView<T> {
  const { client } = useShared();
  const target = url === null ? null : `${url}`;
  const { offset, transport, headers } = options;
  const key = JSON.stringify([target, offset, transport, linesOf(headers)]);
  const [source, setSource] = useState({ client, key });
  const [read, setRead] = useState<Read<T>>({ _of: source, _view: NOTHING });
  // Another stream: what was read is not its own.
  if (source.client !== client || source.key !== key) setSource({ client, key });

  useEffect(() => {
    if (target === null) return undefined;
    const stop = new AbortController();
    const change = (next: (view: StreamView<T>) => Partial<StreamView<T>>) => {
      if (stop.signal.aborted) return;
      setRead(({ _of, _view }) => {
        const before = _of === source ? _view : NOTHING;
        return { _of: source, _view: { ...before, ...next(before) } };
      });
    };
    void follow(
      () => client().stream<T>(target, { ...options, signal: stop.signal }),
      stop.signal,
      (items, closed) => change((view) => ({ items: latest(view.items, items, keep), closed })),
      (error) => change(() => ({ error })),
    );
    return () => stop.abort();
  }, [source]);

  return read._of === source ? read._view : NOTHING;
}

async function follow<T>(
  open: () => Stream<T>,
  stopped: AbortSignal,
  got: (items: readonly T[], closed: boolean) => void,
  failed: (error: Error) => void,
): Promise<void> {
  // StrictMode mounts twice in one go: only the second one reads.
  await null;
  if (stopped.aborted) return;
  try {
    for await (const { items, closed } of open().batches()) got(items, closed);
  } catch (error) {
    failed(error as Error);
  }
}

const latest = <T>(before: readonly T[], items: readonly T[], keep: number): readonly T[] =>
  before.concat(items).slice(-keep);
