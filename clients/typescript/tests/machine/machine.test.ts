/** The machine lives again in every world of the Python client's, and does what that one did. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Machine } from "../../src/machine/machine";
import { AUTO, POLICY, type Policy } from "../../src/machine/policy";
import { vectors } from "../vectors";

/** Method, arguments, now, the random numbers that were drawn, what it returned, and the deadline after it. */
type Call = [keyof Machine, unknown[], number, number[], unknown, number | null];

interface World {
  name: string;
  policy: Record<keyof Policy, number | null>;
  calls: Call[];
}

/** Times in the table are rounded to a microsecond. */
const HALF = 0.000_501;

for (const file of ["scenes", "weathers", "chaos"]) {
  for (const world of vectors<World>(file)) test(world.name, () => play(world));
}

function play({ policy, calls }: World): void {
  const draws: number[] = [];
  const times = { ...policy, connectWithin: policy.connectWithin ?? Infinity } as Policy;
  const machine = new Machine(times, () => draws.shift() ?? assert.fail("a random number too many"));
  calls.forEach(([method, given, now, drawn, expected, due], index) => {
    const what = `call ${index}: ${method} at ${now} ms`;
    draws.push(...drawn);
    const call = machine[method] as (...values: unknown[]) => unknown;
    const returned = call.apply(machine, [...given, now]);
    assert.deepEqual(returned ?? null, expected, what);
    assert.deepEqual(draws, [], `${what}: random numbers are left`);
    const deadline = machine.deadline();
    const near = due === null ? deadline === Infinity : Math.abs(deadline - due) < HALF;
    assert.ok(near, `${what}: the deadline is ${deadline}, not ${due}`);
  });
}

test("what an earlier page distrusted is not tried first, and what delivers can be asked", () => {
  const machine = new Machine(POLICY, () => 0.5);
  machine.distrust(["websocket", "sse"], 1);
  const want = { target: "/r", rungs: AUTO, headers: [], etag: null };
  assert.deepEqual(machine.watch(1, want, 1), []);
  const [asked] = machine.tick(1);
  assert.equal(asked?.do === "ask" && asked.transport, "long-poll");
  assert.equal(machine.delivering(1), null);
  const state = { data: 1, etag: '"a"', text: null, fetch: false };
  machine.news(1, { is: "snapshot", state, final: false, again: null }, 2);
  assert.equal(machine.delivering(1), "long-poll");
  assert.equal(machine.delivering(2), null);
});
