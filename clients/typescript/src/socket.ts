/**
 * One WebSocket: opens it, sends frames, tells the machine what comes, under the socket's number.
 * A page is not told why a handshake failed, so the server is asked for its health; nor is it told of pings,
 * so a socket that was silent for long is asked for what it watches, and given up where nothing comes.
 */
import type { SocketRequest, SocketRequests } from "./fetch.js";
import { type Kind, failure } from "./machine/news.js";
import type { Tell } from "./origin.js";
import type { Server } from "./server.js";
import { type Event, parseEvent } from "./wire/frames.js";

const PROTOCOL = "restive.v1";

interface Frame {
  watch?: string;
  unwatch?: string;
  etag?: string | undefined;
}

/** What serves requests over a socket, for clients that make any. */
export type RequestsOver = (send: (text: string) => void) => SocketRequests;

/** Socket `number`, opening or open. Throws where the page may open none there. */
export class LiveSocket {
  readonly _server: Server;
  readonly _number: number;
  readonly _tell: Tell;
  readonly _socket: WebSocket;
  readonly _requests: SocketRequests | undefined;
  /** The frames that watch what is watched, with the tags of now. */
  readonly _watched = new Map<string | undefined, Frame>();
  _heard = 0;
  _asked = false;
  _is: "opening" | "open" | "closed" = "opening";

  constructor(server: Server, number: number, tell: Tell, requestsOver?: RequestsOver) {
    this._server = server;
    this._number = number;
    this._tell = tell;
    const socket = (this._socket = new WebSocket(server.endpoint.href.replace("http", "ws"), PROTOCOL));
    this._requests = requestsOver?.((text) => socket.send(text));
    socket.onopen = () => this._opened();
    socket.onclose = ({ code, reason }) => void this._lost(`The socket was closed: ${code} ${reason}`);
    socket.onmessage = ({ data }) => this._received(data);
  }

  /** Send a text frame, in order. */
  send(text: string): void {
    const frame = JSON.parse(text) as Frame;
    if (frame.watch) this._watched.set(frame.watch, frame);
    else this._watched.delete(frame.unwatch);
    this._socket.send(text);
  }

  /** Close it, once no request is under way; the machine is told nothing any more. */
  close(): void {
    this._is = "closed";
    if (this._requests) this._requests.release(() => this._socket.close());
    else this._socket.close();
  }

  /** A request over it; null where it takes none. */
  request(request: SocketRequest): Promise<Event> | null {
    return (this._is === "open" && this._requests?.request(request)) || null;
  }

  /** Called every few seconds: see whether it still lives. */
  check(): void {
    const { patience, silence } = this._server.policy;
    const silent = performance.now() - this._heard - silence;
    const [frame] = this._watched.values();
    if (this._is !== "open" || !frame || silent < 0) return;
    if (!this._asked) this._socket.send(JSON.stringify(frame));
    else if (silent > patience) this._failed("dropped", "The socket is silent.");
    this._asked = true;
  }

  _opened(): void {
    if (this._is === "closed") return;
    this._is = "open";
    this._heard = performance.now();
    this._tell("opened", this._number);
  }

  _received(data: string): void {
    this._heard = performance.now();
    this._asked = false;
    const event = parseEvent(data);
    if (!event || this._requests?.answered(event) || this._is !== "open") return;
    const { on, etag, end } = event;
    const frame = this._watched.get(on);
    if (end) this._watched.delete(on);
    else if (frame && etag) frame.etag = etag;
    this._tell("event", this._number, event);
  }

  async _lost(why: string): Promise<void> {
    const opening = this._is === "opening";
    this._failed(opening ? await whyNot(this._server) : "dropped", why);
  }

  _failed(kind: Kind, why: string): void {
    this._requests?.lost(why);
    if (this._is === "closed") return;
    this.close();
    this._tell("failed", this._number, failure(kind, why));
  }
}

/** What a failed handshake says of the server, or of WebSockets on the way to it. */
async function whyNot({ ask, endpoint }: Server): Promise<Kind> {
  try {
    const health = new URL("health/ready", endpoint).href;
    const { status } = await ask(health, { method: "HEAD", mode: "no-cors", redirect: "follow" });
    return status < 500 ? "refused" : "busy";
  } catch {
    return "unreachable";
  }
}
