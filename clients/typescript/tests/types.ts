/** What the types of streams, operations and requests promise: compiled, never run. Each wrong line must be an error. */
import {
  type Batch,
  type Operation,
  type OperationState,
  type Part,
  type Progress,
  restive,
} from "../src/index.js";

interface Message {
  text: string;
}

export async function streams(): Promise<void> {
  const live = restive("https://api.example.com");
  for await (const message of live.stream<Message>("/rooms/5/messages")) message.text satisfies string;
  const messages = live.stream<Message>(new URL("https://api.example.com/rooms/5/messages"), {
    offset: "now",
    headers: { "accept-language": "de" },
    signal: AbortSignal.timeout(1000),
    transport: "long-poll",
  });
  for await (const batch of messages.batches()) batch satisfies Batch<Message>;
  messages.offset satisfies string;
  messages.close();
  for await (const item of live.stream("/rooms/5/messages")) {
    item satisfies unknown;
    // @ts-expect-error: what nobody said is unknown
    item.text;
  }
  // @ts-expect-error: a stream has no WebSocket
  live.stream("/rooms/5/messages", { transport: "websocket" });
  // @ts-expect-error: an offset is a text
  live.stream("/rooms/5/messages", { offset: 3 });
}

export async function operations(form: FormData, bar: { value: number }): Promise<void> {
  const live = restive();
  const op = await live.operation<number>("/digests", {
    method: "POST",
    body: form,
    idempotencyKey: "k",
    wait: 500,
  });
  op satisfies Operation<number>;
  op.onprogress = (progress) => (bar.value = progress.completed / (progress.total ?? 1));
  op.onprogress = (progress: Progress, state: OperationState<number>) => [progress, state];
  op.onprogress = null;
  op.onerror = (error: unknown) => error;
  for await (const state of op.states()) state.result satisfies number | null;
  for await (const part of op.parts()) {
    part satisfies Part;
    (await part.json<Message>()).text satisfies string;
    (await part.bytes()) satisfies Uint8Array;
    (await part.response()) satisfies Response;
  }
  (await op.result()) satisfies number;
  (await op.cancel()).status satisfies "queued" | "running" | "succeeded" | "failed" | "canceled";
  (await op.delete()) satisfies void;
  [op.url, op.id] satisfies string[];
  await live.operation("/digests", { method: "POST", body: { a: [1] } });
  await live.operation("/digests", { method: "POST", body: [1, 2] });
  await live.operation("/digests", { method: "POST", body: new Uint8Array(3) });
  // @ts-expect-error: a number is no body
  await live.operation("/digests", { method: "POST", body: 3 });
  // @ts-expect-error: its URL stays
  op.url = "/elsewhere";
}

export async function requests(): Promise<void> {
  const live = restive();
  (await live.fetch("/orders/3", { method: "PUT", body: "{}" })) satisfies Response;
  (await live.fetch(new URL("https://api.example.com/orders/3"))) satisfies Response;
  // @ts-expect-error: a Request is taken apart by its maker
  await live.fetch(new Request("/orders/3"));
}
