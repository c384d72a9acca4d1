// Node's `ws` and, for event streams, its own http: channels, their latest state, and who holds them.
//
//   node node_server.mjs FOLDER --port PORT       `ws` is in FOLDER/node_modules
//
// GET /ready answers 200. GET /watch/3 or /watch/1,2,3 is a watcher: a WebSocket, or else an event stream.
// PUT /orders takes a JSON list of states; each goes to those who watch the channel of its `number`.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [folder, , port] = process.argv.slice(2);
const { WebSocketServer } = createRequire(`${folder}/`)("ws");
const latest = new Map();
const sockets = new Map();
const streams = new Map();
const wires = new WeakMap(); // of each WebSocket its TCP socket

const channelsOf = (url) => url.slice(url.lastIndexOf("/") + 1).split(",");

function join(members, channels, client) {
  for (const channel of channels) {
    if (!members.has(channel)) members.set(channel, new Set());
    members.get(channel).add(client);
  }
  client.on("close", () => channels.forEach((channel) => members.get(channel).delete(client)));
}

// The bytes are made once for all; `ws` frames them for each client. Several go out in one write.
function publish(states) {
  const corked = new Set();
  for (const state of states) {
    const channel = String(state.number);
    const text = Buffer.from(JSON.stringify(state));
    const event = Buffer.from(`data: ${text}\n\n`);
    latest.set(channel, text);
    for (const socket of sockets.get(channel) ?? []) {
      if (states.length > 1) cork(wires.get(socket), corked);
      socket.send(text, { binary: false });
    }
    for (const stream of streams.get(channel) ?? []) stream.write(event);
  }
  for (const wire of corked) wire.uncork();
}

function cork(wire, corked) {
  if (!corked.has(wire)) wire.cork();
  corked.add(wire);
}

function stream(response, channels) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.write(channels.map((channel) => `data: ${latest.get(channel)}\n\n`).join(""));
  join(streams, channels, response);
}

const server = createServer((request, response) => {
  const { method, url } = request;
  if (method === "GET" && url.startsWith("/watch/")) return stream(response, channelsOf(url));
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    if (method === "PUT") publish(JSON.parse(Buffer.concat(pieces)));
    response.writeHead(200, { "Content-Length": 0 }).end();
  });
});

new WebSocketServer({ server, perMessageDeflate: false }).on("connection", (socket, request) => {
  const channels = channelsOf(request.url);
  wires.set(socket, request.socket);
  for (const channel of channels) socket.send(latest.get(channel), { binary: false });
  join(sockets, channels, socket);
});

server.listen({ host: "127.0.0.1", port: Number(port), backlog: 4096 });
process.on("SIGTERM", () => process.exit(0));
