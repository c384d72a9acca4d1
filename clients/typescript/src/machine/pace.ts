/** What an attempt does after it has delivered something: goes on listening, or asks again, and when. */

import type { Attempt } from "./attempt.js";
import type { Carrier } from "./carrier.js";
import type { Ladder } from "./ladder.js";
import type { News } from "./news.js";
import { type Transport, delay } from "./policy.js";

/** A long poll that is answered faster than this, some times in a row, is slowed down … */
const AT_ONCE = 200;
const IN_A_ROW = 3;
/** … by so many milliseconds each time, up to a second. */
const SLOWER = 50;

/** Whether there is one answer for each request. */
export const isOneShot = (transport: Transport): boolean => /poll/.test(transport);

/** When all that ride on `carrier` are due again after `news` of one of them. */
export function nextDue(
  carrier: Carrier,
  news: News,
  { _policy: policy, _random, _now: now }: Ladder,
): number {
  const { _transport: transport } = carrier;
  if (transport === "websocket") return Infinity; // its pings tell whether it lives
  if (!isOneShot(transport)) return now + policy.silence;
  if (transport === "poll") {
    const again = "again" in news ? news.again : null;
    const pause = again === null ? policy.pollInterval : Math.max(again, policy.backoff);
    return now + pause * (0.9 + _random() / 5);
  }
  const took = now - carrier._asked;
  if (news.is === "unchanged" && took < policy.wait / 2) return now + 1000 + delay(policy, 0, _random());
  carrier._quick = took < AT_ONCE ? carrier._quick + 1 : 0;
  return now + Math.min(1000, SLOWER * Math.max(0, carrier._quick - IN_A_ROW));
}

/** What came for `attempt` is dealt with: it goes on until it is `due`. */
export function goOn(attempt: Attempt, due: number): void {
  attempt._phase = isOneShot(attempt._transport) ? "waiting" : "live";
  attempt._due = due;
}
