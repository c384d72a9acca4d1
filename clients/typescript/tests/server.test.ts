/** Targets in the only form that servers take, and credentials that are asked for no more often than needed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "../src/errors.js";
import { serverAt, targetOf } from "../src/server.js";

const base = new URL("https://api.test/v1/");

const NORMAL: [string, string][] = [
  ["/orders/3", "/orders/3"],
  ["orders", "/v1/orders"],
  ["https://api.test/a?b=c", "/a?b=c"],
  ["/a/../b/./c", "/b/c"],
  ["/a[1]|^{}", "/a%5B1%5D%7C%5E%7B%7D"],
  ["/%7euser/%c3%a9", "/~user/%C3%A9"],
  ["/é ü?q=ö'\"", "/%C3%A9%20%C3%BC?q=%C3%B6%27%22"],
  ["/a%2fb", "/a%2Fb"],
  ["/a?x=[1]", "/a?x=%5B1%5D"],
];

for (const [url, target] of NORMAL)
  test(`${url} is ${target}`, () => assert.equal(targetOf(url, base), target));

for (const url of [
  "",
  "https://other.test/a",
  "//other.test/a",
  "/a#b",
  "/a#",
  "http://[",
  "/" + "a".repeat(8192),
]) {
  test(`${url.slice(0, 30)} is refused`, () => assert.throws(() => targetOf(url, base), UsageError));
}

test("outside of a page the server has to be named", () => {
  assert.throws(() => serverAt(undefined, {}), UsageError);
  assert.throws(() => serverAt("/api", {}), UsageError);
  assert.throws(() => serverAt("ws://api.test", {}), UsageError);
});

test("credentials are asked for once, and again when they are renewed", async () => {
  let asked = 0;
  const server = serverAt("https://api.test", {
    headers: async () => ({ "X-Tenant": "a" }),
    token: () => `t${++asked}`,
  });
  const lines = [
    ["authorization", "Bearer t1"],
    ["x-tenant", "a"],
  ];
  assert.deepEqual(await server.fields(), lines);
  assert.deepEqual(await server.fields(), lines);
  assert.equal(await server.renew(), true);
  assert.deepEqual((await server.fields())[0], ["authorization", "Bearer t2"]);
  assert.equal(asked, 2);
});

test("credentials that stay the same are no new ones", async () => {
  const server = serverAt("https://api.test", { token: () => "always" });
  await server.fields();
  assert.equal(await server.renew(), false);
});
