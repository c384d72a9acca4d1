/** Which transport works with a server, so that the next page begins with it. A page may have no storage. */
import { AUTO, type Transport } from "./machine/policy.js";

const PREFIX = "restive:";

/** `transport` works with `origin`. */
export function remember(origin: string, transport: Transport): void {
  try {
    localStorage.setItem(PREFIX + origin, transport);
  } catch {
    // Storage is forbidden or full: the next page finds out by itself.
  }
}

/** Those better than what worked last. */
export function recall(origin: string): Transport[] {
  try {
    return AUTO.slice(0, Math.max(0, AUTO.indexOf(localStorage.getItem(PREFIX + origin) as Transport)));
  } catch {
    return [];
  }
}
