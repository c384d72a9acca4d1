import { readable } from "svelte/store";
import { restive } from "restive";

const live = restive();

/** The latest state of a URL, as a store: watched while anybody subscribes. */
export const watched = <T>(url: string) =>
  readable<{ data?: T; error?: Error }>({}, (set) =>
    live.watch<T>(url, (data) => set({ data }), { onError: (error) => set({ error }) }),
  );
