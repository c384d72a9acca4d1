// What a page loads, gzipped. Watching alone has a limit; fails above it.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { common } from "./options.mjs";

const LIMIT = 6144;
const ENTRIES = { "./watch": "src/watch.ts", ".": "src/index.ts" };

for (const [name, entry] of Object.entries(ENTRIES)) {
  const { outputFiles } = await build({ ...common, entryPoints: [entry], minify: true, write: false });
  const [{ contents }] = outputFiles;
  const size = gzipSync(contents, { level: 9 }).length;
  console.log(`${name.padEnd(8)} ${contents.length} bytes, ${size} gzipped`);
  if (name === "./watch" && size > LIMIT) {
    console.error(`\nWatching alone has at most ${LIMIT} bytes.`);
    process.exitCode = 1;
  }
}
