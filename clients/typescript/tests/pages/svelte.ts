/** A page of the recipe for Svelte: the store, subscribed to as `$order` in a component does. */
import { watched } from "./live-store.js";

const shown = document.body.appendChild(document.createElement("p"));
shown.id = "shown";
const leave = watched<{ n: number }>("/document").subscribe(({ data, error }) => {
  shown.textContent = error?.name ?? `${data?.n ?? ""}`;
});
const away = document.body.appendChild(document.createElement("button"));
away.textContent = "Away";
away.onclick = leave;
