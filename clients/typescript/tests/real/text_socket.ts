/** The least of a WebSocket client (RFC 6455): Node 20 has none of its own. Text frames of any length, no fragments. */
import { randomBytes } from "node:crypto";
import { type Socket, connect } from "node:net";

export class TextSocket {
  onText: (text: string) => void = () => {};
  onClose: () => void = () => {};
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Opens `/-/live` of the server on `port`. */
  static open(port: number): Promise<TextSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      const opened = new TextSocket(socket);
      let head = "";
      const shake = (data: Buffer): void => {
        head += data.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        if (!head.startsWith("HTTP/1.1 101")) return reject(new Error(head));
        socket.off("data", shake).on("data", (more: Buffer) => opened.#take(more));
        opened.#take(Buffer.from(head.slice(end + 4), "latin1"));
        resolve(opened);
      };
      socket.on("data", shake);
      socket.on("error", reject);
      socket.on("close", () => opened.onClose());
      const key = randomBytes(16).toString("base64");
      const fields = [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        `sec-websocket-key: ${key}`,
      ];
      const lines = [
        `GET /-/live HTTP/1.1`,
        `host: 127.0.0.1:${port}`,
        ...fields,
        "sec-websocket-protocol: restive.v1",
      ];
      socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    });
  }

  send(text: string): void {
    const payload = Buffer.from(text);
    const mask = randomBytes(4);
    const long = payload.length > 125;
    const head = Buffer.from([0x81, 0x80 | (long ? 126 : payload.length)]);
    const length = Buffer.alloc(long ? 2 : 0);
    if (long) length.writeUInt16BE(payload.length);
    payload.forEach((byte, index) => (payload[index] = byte ^ (mask[index % 4] ?? 0)));
    this.#socket.write(Buffer.concat([head, length, mask, payload]));
  }

  close(): void {
    this.#socket.end();
    this.#socket.destroy();
  }

  /** Lose the connection. */
  destroy(): void {
    this.#socket.resetAndDestroy();
  }

  #take(more: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, more]);
    for (;;) {
      const [first = 0, second = 0] = this.#bytes;
      const head = second === 126 ? 4 : second === 127 ? 10 : 2;
      if (this.#bytes.length < head) return;
      const size =
        head === 4
          ? this.#bytes.readUInt16BE(2)
          : head === 10
            ? Number(this.#bytes.readBigUInt64BE(2))
            : second;
      if (this.#bytes.length < head + size) return;
      const text = this.#bytes.subarray(head, head + size).toString();
      this.#bytes = this.#bytes.subarray(head + size);
      if ((first & 15) === 1) this.onText(text);
    }
  }
}
