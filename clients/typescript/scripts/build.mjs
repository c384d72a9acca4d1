// Builds dist/: ESM modules with types for bundlers, and client.js, everything in one file, for pages.
// That file also goes into the Python package, which serves it. `build.mjs FOLDER` writes client.js there instead.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { common } from "./options.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const dist = join(root, "dist");
const [folder] = process.argv.slice(2);

await page(join(folder ?? dist, "client.js"));
if (!folder) {
  await modules();
  types();
  const served = join(root, "../../src/restive/client_js");
  mkdirSync(served, { recursive: true });
  copyFileSync(join(dist, "client.js"), join(served, "client.js"));
}

async function page(outfile) {
  const { version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  await build({
    ...common,
    absWorkingDir: root,
    entryPoints: ["src/index.ts"],
    outfile,
    minify: true,
    banner: { js: `/*! restive ${version}, ${license} */` },
  });
}

async function modules() {
  rmSync(join(dist, "esm"), { recursive: true, force: true });
  await build({
    ...common,
    absWorkingDir: root,
    entryPoints: ["src/index.ts", "src/watch.ts", "src/react.ts"],
    outdir: "dist/esm",
    external: ["react"],
    splitting: true,
    minifySyntax: true,
  });
}

function types() {
  const out = join(dist, "types");
  rmSync(out, { recursive: true, force: true });
  const options = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", out];
  execFileSync(join(root, "node_modules/.bin/tsc"), options, { cwd: root, stdio: "inherit" });
  for (const name of readdirSync(out, { recursive: true })) {
    if (!name.endsWith(".d.ts")) continue;
    // NodeNext wants whole names.
    const text = readFileSync(join(out, name), "utf8");
    writeFileSync(join(out, name), text.replace(/(from "\.[^"]*?)(\.js)?"/g, '$1.js"'));
  }
}
