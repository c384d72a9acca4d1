// Runs tests/*.test.ts, or those whose names contain an argument, on Node: `test.mjs watching`. Node 20 has its
// WebSocket behind an option; without it watches begin with the event stream.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { common } from "./options.mjs";

const wanted = process.argv.slice(2);
const names = readdirSync("tests", { recursive: true })
  .filter((name) => name.endsWith(".test.ts"))
  .filter((name) => !wanted.length || wanted.some((part) => name.includes(part)));
mkdirSync("dist", { recursive: true });
const folder = mkdtempSync("dist/tests-");
try {
  await build({
    ...common,
    entryPoints: names.map((name) => join("tests", name)),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    outbase: "tests",
    platform: "node",
    packages: "external",
    sourcemap: "inline",
  });
  const files = names.map((name) => join(folder, name.replace(/\.ts$/, ".mjs")));
  const options = [
    "--enable-source-maps",
    "--experimental-websocket",
    "--test",
    "--test-timeout=60000",
    ...files,
  ];
  process.exitCode = spawnSync(process.execPath, options, { stdio: "inherit" }).status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
