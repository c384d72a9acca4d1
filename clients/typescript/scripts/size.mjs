// What a page loads, gzipped; hooks beside React itself. Watching alone has a limit; fails above it.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { common } from "./options.mjs";

const LIMIT = 6144;
const ENTRIES = { "./watch": "src/watch.ts", ".": "src/index.ts", "./react": "src/react.ts" };

for (const [name, entry] of Object.entries(ENTRIES)) {
  const options = { ...common, external: ["react"], minify: true, write: false };
  const { outputFiles } = await build({ ...options, entryPoints: [entry] });
  const [{ contents }] = outputFiles;
  const size = gzipSync(contents, { level: 9 }).length;
  console.log(`${name.padEnd(8)} ${contents.length} bytes, ${size} gzipped`);
  if (name === "./watch" && size > LIMIT) {
    console.error(`\nWatching alone has at most ${LIMIT} bytes.`);
    process.exitCode = 1;
  }
}
