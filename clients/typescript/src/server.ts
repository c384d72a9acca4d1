/**
 * Where the server is, and with which header fields it is asked: what watches, streams, operations and requests share.
 * The credentials are asked for once and kept until they are renewed: after a 401 or 403, and by `reconnect()`.
 */
import { UsageError } from "./errors.js";
import { POLICY } from "./machine/policy.js";
import type { Policy, Transport } from "./machine/policy.js";
import type { HeaderLines } from "./wire/frames.js";

/** Header fields, or a function that gives those of now. */
export type Fields = HeadersInit | (() => HeadersInit | Promise<HeadersInit>);

/** The client's times, all in milliseconds. */
export interface Times extends Policy {
  /** A tab that was hidden for so long is paused, and catches up when it is shown. */
  readonly hiddenAfter: number;
}

/** What a client is made with. */
export interface ClientOptions {
  /** Header fields of every request and watch; a function is asked again for new ones after a 401 or 403. */
  headers?: Fields;
  /** Gives the bearer token for every request and watch; asked again after a 401 or 403. */
  token?: () => string | Promise<string>;
  /** Used in place of the global `fetch`. */
  fetch?: typeof fetch;
  /** Times in milliseconds that are to differ from the usual ones. */
  policy?: Partial<Times>;
  /** How to watch. `"auto"` takes the best that delivers something. */
  transport?: "auto" | Transport;
  /** Cookies of other origins: as for `fetch`, but `"include"` unless something else is said. */
  credentials?: RequestCredentials;
  /** The path of Restive's own `/-/live`, for an app below a root path or with another `prefix=`. */
  endpoint?: string;
  /** Names of further fields that the server's `socket_headers=` allows in a frame. */
  socketHeaders?: readonly string[];
}

/** One server and the credentials for it. */
export interface Server {
  readonly base: URL;
  readonly policy: Times;
  readonly options: ClientOptions;
  /** The absolute URL of Restive's own `/-/live`. */
  readonly endpoint: URL;
  /** The fields of every request, with the credentials as they were known last. */
  fields(): Promise<HeaderLines>;
  /** The credentials are asked for again when they are needed next. */
  forget(): void;
  /** Ask for the credentials again. Resolves to whether they have changed. */
  renew(): Promise<boolean>;
  /** A request with exactly these fields, never cached and never led elsewhere; else as `fetch`. */
  ask(target: string, init: RequestInit): Promise<Response>;
}

/** The longest target that a server takes, in bytes. */
const MAX_TARGET = 8192;

/** Header fields as pairs, names in lower case and sorted. */
export const linesOf = (fields?: HeadersInit): HeaderLines => [...new Headers(fields)];

/** The first lines and those of `more`, which replace them. */
export const joined = (lines: HeaderLines, more?: HeadersInit): HeaderLines => {
  const headers = new Headers(lines as [string, string][]);
  new Headers(more).forEach((value, name) => headers.set(name, value));
  return linesOf(headers);
};

/** A server; `base` is the page's own URL unless one is given. Raises `UsageError`. */
export function serverAt(base: string | URL | undefined, options: ClientOptions): Server {
  const here = globalThis.document?.baseURI;
  const url = URL.canParse(base ?? here ?? "", here) && new URL(base ?? here ?? "", here);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new UsageError(
      `Outside of a page name the server: restive("https://api.example.com"); not ${base}.`,
    );
  }
  const call = options.fetch ?? ((...args) => fetch(...args));
  let known: Promise<HeaderLines> | null = null;

  const server: Server = {
    base: url,
    options,
    policy: { ...POLICY, hiddenAfter: 60_000, ...options.policy },
    endpoint: new URL(options.endpoint ?? "/-/live", url),
    fields() {
      known ??= credentials(options);
      known.catch(() => (known = null));
      return known;
    },
    forget: () => (known = null),
    async renew() {
      const before = JSON.stringify(await known?.catch(() => null));
      known = null;
      return JSON.stringify(await server.fields()) !== before;
    },
    ask: async (target, init) =>
      call(new URL(target, url), {
        credentials: options.credentials ?? "include",
        cache: "no-store",
        redirect: "manual",
        ...init,
      }),
  };
  return server;
}

async function credentials({ headers, token }: ClientOptions): Promise<HeaderLines> {
  const lines = linesOf(typeof headers === "function" ? await headers() : headers);
  const bearer = await token?.();
  return bearer ? joined(lines, { authorization: `Bearer ${bearer}` }) : lines;
}

/**
 * The target of a URL, as the server wants it: path and query in RFC 3986 normal form (6.2.2).
 * Raises `UsageError` for what is no URL of `base`'s origin.
 */
export function targetOf(url: string | URL, base: URL): string {
  const bad = (why: string) => new UsageError(`${String(url) || "An empty text"} ${why}`);
  if ((typeof url !== "string" && !(url instanceof URL)) || !url || !URL.canParse(url, base)) {
    throw bad('is no URL: write a path such as "/orders/3".');
  }
  const { origin, href, pathname, search } = new URL(url, base);
  if (origin !== base.origin) throw bad(`is not on ${base.origin}: make a client by restive("${origin}").`);
  if (href.includes("#")) throw bad("has a fragment: leave out what begins with #.");
  const target = (pathname + search).replace(/%[\da-f]{2}|[^\w\-.~!$&'()*+,;=:@/?%]/gi, normal);
  if (target.length > MAX_TARGET) throw bad(`is too long: a URL has at most ${MAX_TARGET} bytes.`);
  return target;
}

function normal(found: string): string {
  const code = found[1] ? parseInt(found.slice(1), 16) : found.charCodeAt(0);
  const character = String.fromCharCode(code);
  return /[\w\-.~]/.test(character) ? character : "%" + code.toString(16).toUpperCase().padStart(2, "0");
}
