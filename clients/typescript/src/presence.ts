/**
 * Whether anybody looks at the page and can be reached: it pauses where a tab has been hidden for a while, the
 * page is kept for later (back/forward cache), frozen or offline, and says when the machine has slept.
 * Outside of pages only the clock tells anything.
 */

/** Called with true: nothing is to be watched now; with false: go on; without: some seconds are over. */
export type Present = (away?: boolean) => void;

/** Milliseconds between two looks at the clock. */
const EVERY = 5_000;

/** Later than this is a machine that slept, not a busy one; timers of hidden tabs are late by a minute. */
const SLEPT = 15_000;

/** Listen from now on. Returns what ends that. `hiddenAfter` is in milliseconds. */
export function presence(hiddenAfter: number, present: Present): () => void {
  const reasons = new Set<string>();
  const listening = new AbortController();
  const page = globalThis.document;
  let hiding: ReturnType<typeof setTimeout> | undefined;
  let clock = Date.now();

  const away = (reason: string) => {
    if (!reasons.size) present(true);
    reasons.add(reason);
  };
  const back = (reason: string) => reasons.delete(reason) && !reasons.size && present(false);
  const on = (target: EventTarget | undefined, type: string, then: () => unknown) =>
    target?.addEventListener?.(type, then, { signal: listening.signal });
  const seen = () => {
    clearTimeout(hiding);
    if (page?.hidden) hiding = setTimeout(away, hiddenAfter, "hidden");
    else back("hidden");
  };
  const tick = () => {
    const late = Date.now() - clock - EVERY;
    clock += late + EVERY;
    if (late > SLEPT && !page?.hidden && !reasons.size) {
      present(true);
      present(false);
    } else present();
  };

  const timer: ReturnType<typeof setInterval> & { unref?(): void } = setInterval(tick, EVERY);
  timer.unref?.();
  seen();
  on(page, "visibilitychange", seen);
  on(page, "freeze", () => away("kept"));
  on(page, "resume", () => back("kept"));
  on(globalThis, "pagehide", () => away("kept"));
  on(globalThis, "pageshow", () => back("kept"));
  on(globalThis, "offline", () => away("offline"));
  on(globalThis, "online", () => back("offline"));
  return () => {
    listening.abort();
    clearInterval(timer);
    clearTimeout(hiding);
  };
}
