/**
 * The I/O of all watches of one server: does what the machine says, and tells it what came of it.
 * Where nobody is there, all watches end, and begin again from their tags: so does what changes the credentials.
 */
import { ask } from "./asking.js";
import { Unreachable, UsageError, WatchEnded } from "./errors.js";
import type { SocketRequest } from "./fetch.js";
import type { Action, Ask, End } from "./machine/attempt.js";
import { Machine } from "./machine/machine.js";
import { failure } from "./machine/news.js";
import type { Transport } from "./machine/policy.js";
import { type State, same } from "./machine/state.js";
import { recall, remember } from "./memory.js";
import { type Present, presence } from "./presence.js";
import { type Server, joined } from "./server.js";
import { LiveSocket, type RequestsOver } from "./socket.js";
import type { Event } from "./wire/frames.js";

type Telling =
  "watch" | "unwatch" | "opened" | "news" | "event" | "answer" | "alive" | "failed" | "reopenSocket" | "tick";
type Timed<Arguments> = Arguments extends [...infer First, number] ? First : never;

/** Tell the machine by one of its methods what happened, now; what it wants is done. */
export type Tell = <What extends Telling & keyof Machine>(
  what: What,
  ...told: Timed<Parameters<Machine[What]>>
) => void;

/** Whether what a watch has shown is the latest. */
export interface Status {
  /** `"live"`: it is; `"paused"`: nobody looks, or the network is off; `"ended"`: there is no later one. */
  readonly is: "connecting" | "live" | "paused" | "ended";
  /** What delivers, while it is live. */
  readonly transport: Transport | null;
}

/** One watch, for its user. */
export interface Watcher {
  readonly target: string;
  readonly rungs: readonly Transport[];
  readonly headers: HeadersInit | undefined;
  etag: string | null;
  last: State | null;
  status: Status;
  /** A newer state. */
  show(state: State): void;
  /** It has become live, lost its connection, … */
  changed(): void;
  /** Nothing comes any more. */
  over(error: Error | null): void;
  /** The machine's name for it; 0 while there is none. */
  _key: number;
  /** When it was refused last, and asked again. */
  _refused: number;
  /** Anything was ever delivered. */
  _ever: boolean;
}

/** What a frame may hold beside what the server's `socket_headers=` names. */
const FRAME_HEADERS = ["accept", "accept-language", "authorization"];

/** The longest time of a timer (HTML, 8.6). */
const MOST_TIMER = 2 ** 31 - 1;

/** All watches of one server. Nothing is opened before the first; with `requestsOver` a socket takes requests. */
export class Origin {
  readonly _server: Server;
  readonly _requestsOver: RequestsOver | undefined;
  readonly _machine: Machine;
  readonly _watchers = new Set<Watcher>();
  readonly _keys = new Map<number, Watcher>();
  readonly _requests = new Map<number, () => void>();
  readonly _actions: Action[] = [];
  _busy = false;
  _socket: LiveSocket | null = null;
  _lastKey = 0;
  _timer: ReturnType<typeof setTimeout> | undefined;
  _due = Infinity;
  _paused = false;
  _leave: (() => void) | null = null;
  _renewing: Promise<boolean> | null = null;

  constructor(server: Server, requestsOver?: RequestsOver) {
    this._server = server;
    this._requestsOver = requestsOver;
    this._machine = new Machine(server.policy, Math.random);
    this._machine.distrust(recall(server.base.origin), performance.now());
  }

  // -- the user ----------------------------------------------------------------------------

  /** Begin a watch. */
  add(watcher: Watcher): void {
    this._watchers.add(watcher);
    this._leave ??= presence(this._server.policy.hiddenAfter, this._present);
    void this._begin(watcher);
  }

  /** End a watch; one that has ended is left alone. */
  remove(watcher: Watcher): void {
    if (!this._watchers.delete(watcher)) return;
    this._halt(watcher);
    this._judge(watcher);
    if (this._watchers.size) return;
    this._leave?.();
    this._leave = null;
    this._paused = false;
  }

  /** Begin all anew, with the credentials of now. */
  reconnect(): void {
    for (const watcher of this._watchers) watcher.etag = watcher.last = null;
    this._haltAll();
    this._server.forget();
    this._restart();
  }

  /** End all. */
  close(): void {
    for (const watcher of this._watchers) this._end(watcher, null);
    this._tell("reopenSocket");
  }

  /** A request over the socket; null where none is open. */
  request(request: SocketRequest): Promise<Event> | null {
    return this._socket?.request(request) ?? null;
  }

  // -- the machine -------------------------------------------------------------------------

  readonly _tell: Tell = (what, ...told) => {
    const machine = this._machine;
    const say = machine[what] as (...told: unknown[]) => Action[] | void;
    this._actions.push(...(say.call(machine, ...told, performance.now()) ?? []));
    // What a user's function does meanwhile comes after what is to be done already.
    if (this._busy || what === "alive") return;
    this._busy = true;
    for (let action; (action = this._actions.shift());) this._perform(action);
    this._busy = false;
    for (const watcher of this._watchers) this._judge(watcher);
    this._setTimer();
  };

  _setTimer(): void {
    const due = this._machine.deadline();
    if (due === this._due) return;
    clearTimeout(this._timer);
    this._due = due;
    if (due === Infinity) return;
    const tick = () => {
      this._due = Infinity;
      this._tell("tick");
    };
    this._timer = setTimeout(tick, Math.min(MOST_TIMER, due - performance.now()));
  }

  _perform(action: Action): void {
    if (action.do === "ask") this._ask(action);
    else if (action.do === "stop") this._requests.get(action.number)?.();
    else if (action.do === "open-socket") this._openSocket(action.number);
    else if (action.do === "send") this._socket?.send(action.text);
    else if (action.do === "close-socket") this._socket?.close();
    else {
      const watcher = this._keys.get(action.key);
      if (!watcher) return;
      if (action.do === "show") this._show(watcher, action.state);
      else this._finished(watcher, action.error);
    }
  }

  _ask(action: Ask): void {
    const { number } = action;
    const over = () => this._requests.delete(number);
    this._requests.set(number, ask(this._server, action, this._tell, over));
  }

  _openSocket(number: number): void {
    try {
      this._socket = new LiveSocket(this._server, number, this._tell, this._requestsOver);
    } catch (error) {
      this._tell("failed", number, failure("refused", error)); // a page's policy may forbid it
    }
  }

  _show(watcher: Watcher, state: State): void {
    watcher.etag = state.etag;
    // A watch that went on after a pause may get what it had, where that has no tag.
    if (!watcher.last || !same(watcher.last, state)) watcher.show((watcher.last = state));
  }

  /** Tell its user whether it is live. */
  _judge(watcher: Watcher): void {
    const transport = this._machine.delivering(watcher._key);
    const rest = this._paused ? "paused" : "connecting";
    const is = transport ? "live" : this._watchers.has(watcher) ? rest : "ended";
    if (watcher.status.is === is && watcher.status.transport === transport) return;
    if (transport) {
      watcher._ever = true;
      remember(this._server.base.origin, transport);
    }
    watcher.status = { is, transport };
    watcher.changed();
  }

  // -- the life of a watch -----------------------------------------------------------------

  async _begin(watcher: Watcher): Promise<void> {
    const { options, policy } = this._server;
    try {
      const headers = joined(await this._server.fields(), watcher.headers);
      if (this._paused || watcher._key || !this._watchers.has(watcher)) return;
      const { target, etag } = watcher;
      const allowed = [...FRAME_HEADERS, ...(options.socketHeaders ?? [])];
      const fits =
        headers.every(([name]) => allowed.includes(name)) && this._machine.sharesSocket(target, headers);
      const rungs = watcher.rungs.filter((rung) => fits || rung !== "websocket");
      if (!rungs.length)
        throw new UsageError(`A WebSocket takes ${allowed} for each watch: use another transport.`);
      this._keys.set((watcher._key = ++this._lastKey), watcher);
      this._tell("watch", this._lastKey, { target, rungs, headers, etag });
    } catch (error) {
      // What gives the credentials has failed: at first it is wrong, later it may only be out of reach.
      if (watcher._ever) setTimeout(() => this._begin(watcher), policy.patience * Math.random());
      else this._end(watcher, error as Error);
    }
  }

  _halt(watcher: Watcher): void {
    const key = watcher._key;
    watcher._key = 0;
    if (this._keys.delete(key)) this._tell("unwatch", key);
  }

  _haltAll(): void {
    for (const watcher of this._watchers) this._halt(watcher);
    this._tell("reopenSocket");
  }

  _restart(): void {
    for (const watcher of this._watchers) {
      this._halt(watcher);
      void this._begin(watcher);
    }
  }

  _finished(watcher: Watcher, why: End | null): void {
    this._halt(watcher);
    const now = performance.now();
    if (why?.code !== "ended") {
      if (why && watcher._ever) void this._begin(watcher);
      else this._end(watcher, why && unreachable(this._server, watcher.target, why.cause));
      return;
    }
    const error = new WatchEnded(why.problem);
    if (!isRefusal(why.problem.status) || now - watcher._refused < this._server.policy.patience) {
      this._end(watcher, error);
      return;
    }
    watcher._refused = now;
    void this._retry(watcher, error);
  }

  /** Refused: once more with the credentials of now, which may be cookies that only a new socket carries. */
  async _retry(watcher: Watcher, error: WatchEnded): Promise<void> {
    const server = this._server;
    try {
      this._renewing ??= server.renew().finally(() => (this._renewing = null));
      if (await this._renewing) return this._restart();
      const headers = joined(await server.fields(), watcher.headers) as [string, string][];
      const { status, body } = await server.ask(watcher.target, { headers });
      await body?.cancel();
      if (isRefusal(status)) return this._end(watcher, error);
      this._tell("reopenSocket");
    } catch {
      // Whoever cannot be reached now will be asked by the watch itself.
    }
    await this._begin(watcher);
  }

  _end(watcher: Watcher, error: Error | null): void {
    if (!this._watchers.has(watcher)) return;
    this.remove(watcher);
    watcher.over(error);
  }

  readonly _present: Present = (away) => {
    if (away === undefined) this._socket?.check();
    else if ((this._paused = away)) this._haltAll();
    else this._restart();
  };
}

const isRefusal = (status: number): boolean => status === 401 || status === 403;

function unreachable({ base, policy }: Server, target: string, cause: unknown): Unreachable {
  const here = globalThis.location?.origin;
  const hint = here && here !== base.origin ? ` Is ${here} in its allow_origins=?` : "";
  const seconds = policy.connectWithin / 1000;
  return new Unreachable(`No transport delivered ${base.origin}${target} in ${seconds} s.${hint}`, { cause });
}
