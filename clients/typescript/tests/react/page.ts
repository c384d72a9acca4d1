/** A page for React on Node: a document by happy-dom, and roots in it. React is loaded behind it: it looks for one. */
import { type ReactElement, type ReactNode, StrictMode, createElement } from "react";
import type { Root } from "react-dom/client";
import { Window } from "happy-dom";
import type { Client } from "../../src/index.js";
import { LiveProvider } from "../../src/react.js";

const window = new Window({ url: "http://page.test/" });
for (const [name, value] of Object.entries({
  window,
  document: window.document,
  navigator: window.navigator,
})) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
const { createRoot, hydrateRoot } = await import("react-dom/client");

/** Some components in the page. */
export class Mounted {
  readonly #root: Root;
  readonly #element: HTMLElement;
  readonly #client: Client;
  /** What React could mend, such as a page that is not what the server has sent. */
  readonly mended: unknown[] = [];

  constructor(client: Client, first: ReactElement, html?: string) {
    this.#client = client;
    this.#element = document.createElement("div");
    document.body.append(this.#element);
    this.#element.innerHTML = html ?? "";
    const options = {
      onRecoverableError: (error: unknown) => this.mended.push(error),
      onCaughtError: () => {},
    };
    if (html !== undefined) {
      this.#root = hydrateRoot(this.#element, below(client, first), options);
      return;
    }
    this.#root = createRoot(this.#element, options);
    this.show(first);
  }

  show(element: ReactNode): void {
    this.#root.render(below(this.#client, element));
  }

  get text(): string {
    return this.#element.textContent ?? "";
  }

  end(): void {
    this.#root.unmount();
    this.#element.remove();
  }
}

/** `element` in StrictMode, with the hooks on `client`. */
export const below = (client: Client, element: ReactNode): ReactElement =>
  createElement(StrictMode, null, createElement(LiveProvider, { client, children: element }));
