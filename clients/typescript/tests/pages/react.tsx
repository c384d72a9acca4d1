/** A page of all three hooks, on the page's own client. */
import { StrictMode, Suspense, useState } from "react";
import { createRoot } from "react-dom/client";
import { useLive, useOperation, useStream } from "restive/react";

function Document({ name }: { name: string }) {
  const { data } = useLive<{ n: number }>("/document", { suspense: true });
  return <p id={name}>{data.n}</p>;
}

function Messages() {
  const { items, closed } = useStream<number>("/rooms/react/messages", { keep: 5 });
  return <p id="messages">{items.join(" ") + (closed ? " closed" : "")}</p>;
}

function Count() {
  const [url, setUrl] = useState(() => location.hash.slice(1) || null);
  const { start, cancel, state, progress, parts, result, error } = useOperation<{ lines: number }>(url);
  const post = async (text: string) => {
    const body = new FormData();
    body.set("file", new Blob([text]), "lines.txt");
    const op = await start("/counts?hold=0.2", { body });
    if (op) setUrl((location.hash = new URL(op.url).pathname));
  };
  return (
    <>
      <button onClick={() => post("a\nb\nc\n")}>Count</button>
      <button onClick={() => post("x\n".repeat(600))}>Count long</button>
      <button onClick={cancel}>Cancel</button>
      <p id="count">
        {state?.status} {progress?.completed} {parts.map(({ name }) => name).join(" ")}
      </p>
      <p id="end">{result ? `${result.lines} lines` : error?.name}</p>
    </>
  );
}

createRoot(document.querySelector("#root")!).render(
  <StrictMode>
    <Suspense fallback={<p id="waiting">…</p>}>
      <Document name="first" />
      <Document name="second" />
      <Messages />
      <Count />
    </Suspense>
  </StrictMode>,
);
