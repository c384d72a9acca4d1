/** A socket that says nothing: it is asked, and given up where it does not answer. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { after, before, test } from "node:test";
import type { Failure } from "../src/machine/news.js";
import type { Tell } from "../src/origin.js";
import { serverAt } from "../src/server.js";
import { LiveSocket } from "../src/socket.js";
import { until } from "./real/running.js";

const KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const open: Socket[] = [];
let frames = 0;
let speaks = true;

/** Accepts every WebSocket, and answers each frame with the same one or with nothing. */
const server = createServer().on("upgrade", (request, socket: Socket) => {
  open.push(socket);
  const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}${KEY}`).digest("base64");
  const fields = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: restive.v1`;
  socket.write(`HTTP/1.1 101 Fine\r\n${fields}\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on("error", () => {});
  socket.on("data", () => {
    frames++;
    const frame = Buffer.from('{"on":"/a","etag":"1","current":true}');
    if (speaks) socket.write(Buffer.concat([Buffer.from([0x81, frame.length]), frame]));
  });
});

before(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
after(() => {
  for (const socket of open) socket.destroy();
  server.close();
});

test("is asked after a while, and gone when it does not answer", async () => {
  const told: [string, ...unknown[]][] = [];
  const { port } = server.address() as AddressInfo;
  const at = serverAt(`http://127.0.0.1:${port}`, { policy: { silence: 30, patience: 30 } });
  const tell = ((...what: [string, ...unknown[]]) => told.push(what)) as unknown as Tell;
  const socket = new LiveSocket(at, 7, tell);
  const count = (what: string) => told.filter(([name]) => name === what).length;
  await until("it is open", () => count("opened"));
  socket.send('{"watch":"/a"}');
  await until("it answers", () => count("event") === 1);
  socket.check();
  assert.equal(frames, 1, "it was heard just now");
  await until("it is asked", () => (socket.check(), frames === 2));
  await until("it answers", () => count("event") === 2);
  speaks = false;
  await until("it is given up", () => (socket.check(), count("failed")));
  assert.equal(frames, 3, "asked once");
  const [, number, failure] = told.at(-1) as [string, number, Failure];
  assert.deepEqual([number, failure.kind], [7, "dropped"]);
});
