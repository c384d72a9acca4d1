/** `useOperation`: one operation in a component, which starts it, finds it again, shows and cancels it. */
import { useEffect, useMemo } from "react";
import type { Operation, OperationOptions, OperationState, Part, Progress } from "../operation.js";
import { useShared } from "./provider.js";
import { useStateOf } from "./state.js";

/** What an operation is started with. */
export type StartOptions = Omit<OperationOptions, "method" | "signal">;

/** What is known of an operation. */
interface Known<T> {
  /** Absolute: keep it, and a page that is reloaded finds the operation again. */
  readonly url: string | null;
  /** The latest document. */
  readonly state: OperationState<T> | null;
  /** What is ready of it, in order. */
  readonly parts: readonly Part[];
  /** What it returned, once it has. */
  readonly result: T | undefined;
  /** `OperationFailed`, `OperationCanceled`, or why it could not be started or followed. */
  readonly error: Error | null;
}

/** What a component sees of an operation, and what it can do. */
export interface OperationView<T = unknown> extends Known<T> {
  readonly progress: Progress | null;
  /** POST to `url`. The operation takes the place of the one before, which goes on. Null where `error` says why. */
  readonly start: (url: string | URL, options?: StartOptions) => Promise<Operation<T> | null>;
  /** Ask for the cancel. It never throws: `error` says what went wrong. */
  readonly cancel: () => Promise<void>;
}

const NOTHING: Known<never> = { url: null, state: null, parts: [], result: undefined, error: null };

type Open<T> = (signal: AbortSignal) => Promise<Operation<T>>;

/** Follows one operation at a time, and shows what is known of it. */
class Follower<T> {
  readonly _show: (known: (before: Known<T>) => Known<T>) => void;
  _opening: Promise<Operation<T> | null> | null = null;
  _stop = new AbortController();
  /** Of the one that is followed, or was until the component was hidden. */
  _url: string | null = null;
  /** What the component named last. */
  _named: string | null = null;

  constructor(show: (known: (before: Known<T>) => Known<T>) => void) {
    this._show = show;
  }

  /** Follow what `open` gives, in place of what was followed. */
  _follow(url: string | null, open: Open<T>): Promise<Operation<T> | null> {
    this._stop.abort();
    this._stop = new AbortController();
    this._url = url;
    this._show(() => NOTHING);
    return (this._opening = this._open(this._stop.signal, open));
  }

  /** The component names `url`; null is the one that it starts. */
  _name(url: string | null, open: (url: string) => Open<T>): void {
    if (url === null && this._named !== null) {
      this._stop.abort();
      this._url = null;
      this._show(() => NOTHING);
    }
    this._named = url;
    const wanted = url ?? this._url;
    const followed = this._url !== null && !this._stop.signal.aborted;
    if (wanted !== null && !(followed && isSame(wanted, this._url!))) void this._follow(wanted, open(wanted));
  }

  async _cancel(): Promise<void> {
    const { signal } = this._stop;
    try {
      await (await this._opening)?.cancel();
    } catch (error) {
      this._tell(signal, { error: error as Error });
    }
  }

  async _open(signal: AbortSignal, open: Open<T>): Promise<Operation<T> | null> {
    try {
      const operation = await open(signal);
      if (!signal.aborted) this._url = operation.url;
      this._tell(signal, { url: operation.url, state: operation.state });
      void this._read(signal, operation);
      return operation;
    } catch (error) {
      this._tell(signal, { error: error as Error });
      return null;
    }
  }

  async _read(signal: AbortSignal, operation: Operation<T>): Promise<void> {
    const states = async () => {
      for await (const state of operation.states()) this._tell(signal, { state });
    };
    const parts = async () => {
      const found: Part[] = [];
      for await (const part of operation.parts()) {
        found.push(part);
        // Those of one page come in one go, and are copied once, by the render.
        const all = (before: Known<T>) => before.parts.length === found.length;
        if (!signal.aborted)
          this._show((before) => (all(before) ? before : { ...before, parts: found.slice() }));
      }
    };
    const result = async () => this._tell(signal, { result: await operation.result() });
    const failed = (error: Error) => this._tell(signal, { error });
    await Promise.all([states(), parts(), result()]).catch(failed);
  }

  _tell(signal: AbortSignal, news: Partial<Known<T>>): void {
    if (!signal.aborted) this._show((before) => ({ ...before, ...news }));
  }
}

/**
 * One operation: that at `url`, or the one that `start` makes, with its progress, its parts as they become ready and
 * its result. When the component is unmounted the operation goes on, unseen: keep its `url` to find it again. A `url`
 * that is the one of the operation already asks for nothing.
 */
export function useOperation<T = unknown>(url: string | URL | null = null): OperationView<T> {
  const { _client: client } = useShared();
  const [known, show] = useStateOf<Known<T>>(client, NOTHING);
  const follower = useMemo(() => new Follower<T>(show), [show]);
  const named = url === null ? null : `${url}`;

  useEffect(
    () => follower._name(named, (found) => (signal) => client().operation(found, { signal })),
    [follower, named],
  );
  useEffect(() => () => follower._stop.abort(), [follower]);

  const actions = useMemo(
    () => ({
      start: (target: string | URL, options: StartOptions = {}) =>
        follower._follow(null, (signal) =>
          client().operation(target, { ...options, method: "POST", signal }),
        ),
      cancel: () => follower._cancel(),
    }),
    [follower],
  );
  return { ...known, ...actions, progress: known.state?.progress ?? null };
}

/** Whether both name one operation; `known` is absolute once it has answered. */
const isSame = (url: string, known: string): boolean =>
  url === known || (URL.canParse(url, known) && new URL(url, known).href === known);
