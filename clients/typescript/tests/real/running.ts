/**
 * A real `restive serve` on a free port, with its data in a folder of its own so that it can be started again, and a
 * hop of TCP before it that cuts, holds and refuses what passes. Nothing outlives the test file.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const WITHIN = 30_000;

// A test that takes too long is ended so.
process.once("SIGTERM", () => process.exit(1));

/** Until `done` says so; fails after `WITHIN`. */
export async function until(what: string, done: () => unknown): Promise<void> {
  const end = Date.now() + WITHIN;
  while (!(await done())) {
    if (Date.now() > end) throw new Error(`Never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A server of `tests/apps/work.py`. */
export class Running {
  readonly port: number;
  readonly url: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "restive-"));
  #process: ChildProcess | null = null;

  private constructor(port: number) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(): Promise<Running> {
    const running = new Running(await freePort());
    await running.start();
    return running;
  }

  async start(): Promise<void> {
    const options = ["--app-dir", "../../tests", "--port", `${this.port}`, "--log-level", "error"];
    const backend = ["--backend", `sqlite:///${join(this.#folder, "restive.db")}`];
    const command = ["-k", "2", "170", "restive", "serve", "apps.work:app", ...options, ...backend];
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", RESTIVE_HOME: this.#folder };
    const started = spawn("timeout", command, { stdio: "ignore", env });
    this.#process = started;
    process.once("exit", () => started.kill());
    await until("the server answers", async () => {
      if (started.exitCode !== null) throw new Error(`restive serve has ended with ${started.exitCode}.`);
      return fetch(`${this.url}/_/log`).then(
        (answer) => answer.ok,
        () => false,
      );
    });
  }

  async stop(): Promise<void> {
    const ending = this.#process;
    if (ending?.exitCode !== null) return;
    const ended = new Promise((resolve) => ending.once("exit", resolve));
    ending.kill();
    await ended;
  }

  async end(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** How often something happened there. */
  async count(what: string): Promise<number> {
    const found = (await (await fetch(`${this.url}/_/log`)).json()) as Record<string, number>;
    return found[what] ?? 0;
  }

  async post(path: string, body: unknown): Promise<void> {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(this.url + path, { method: "POST", body: JSON.stringify(body), headers });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  const port = await listening(probe);
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)),
  );
}

/** What is done with an answer: `pass` it, `hold` it for ever, `cut` the connection before it, or later. */
export type Fate =
  | "pass"
  | "hold"
  | "cut"
  /** Cut behind so many bytes. */
  | { after: number }
  /** Cut so many milliseconds after the request. */
  | { lives: number }
  /** Answered by the hop itself. */
  | { status: number; headers?: Record<string, string> };

/** A hop before a server. */
export class Hop {
  /** What becomes of a request: told by its first line, such as `GET /orders/3 HTTP/1.1`. */
  fate: (line: string) => Fate = () => "pass";
  /** The first lines of all requests. */
  lines: string[] = [];
  port = 0;
  readonly #target: number;
  readonly #server: Server;
  readonly #open = new Map<Socket, string>();

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async before(target: number): Promise<Hop> {
    const hop = new Hop(target);
    hop.port = await listening(hop.#server);
    return hop;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** How many connections are open whose last request had such a first line. */
  open(pattern: RegExp): number {
    return [...this.#open.values()].filter((line) => pattern.test(line)).length;
  }

  /** Reset all connections. */
  cut(): void {
    for (const socket of this.#open.keys()) socket.resetAndDestroy();
  }

  async end(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
  }

  count(pattern: RegExp): number {
    return this.lines.filter((line) => pattern.test(line)).length;
  }

  #serve(client: Socket): void {
    this.#open.set(client, "");
    const server = connect(this.#target, "127.0.0.1");
    let fate: Fate = "pass";
    let passed = 0;
    const over = (): void => {
      this.#open.delete(client);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on("error", over).on("close", over);
    client.on("data", (data) => {
      const line = /^[A-Z]+ \S+ HTTP\/1\.1/.exec(data.toString("latin1"))?.[0];
      if (line) {
        this.lines.push(line);
        this.#open.set(client, line);
        fate = this.fate(line);
        passed = 0;
      }
      const told = typeof fate === "object" ? fate : null;
      if (line && told && "lives" in told) setTimeout(() => client.resetAndDestroy(), told.lives);
      if (!told || !("status" in told)) server.write(data);
      else if (line) client.write(answer(told));
    });
    server.on("data", (data) => {
      const most = typeof fate === "object" && "after" in fate ? fate.after : fate === "cut" ? 0 : Infinity;
      const piece = data.subarray(0, Math.max(0, most - passed));
      passed += data.length;
      if (fate === "hold") return;
      if (passed < most) client.write(piece);
      else if (piece.length) client.write(piece, () => client.resetAndDestroy());
      else client.resetAndDestroy();
    });
  }
}

function answer({ status, headers = {} }: { status: number; headers?: Record<string, string> }): string {
  const lines = Object.entries({ "content-length": "0", ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  return `HTTP/1.1 ${status} As told\r\n${lines.join("")}\r\n`;
}
