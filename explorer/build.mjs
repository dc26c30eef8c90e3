// The sources in src/ -> one HTML file with the bundle and the style inside. `node build.mjs [FILE]`.
import { createHash } from "node:crypto";
import { readFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const file = process.argv[2] ?? join(here, "../src/lastlayer/explore/explorer.html");

const shared = { bundle: true, minify: true, write: false, legalComments: "none", charset: "utf8", absWorkingDir: here };
const code = await build({
  ...shared,
  entryPoints: ["src/main.jsx"],
  format: "iife",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
});
const look = await build({ ...shared, entryPoints: ["src/style.css"] });

const script = code.outputFiles[0].text.trim();
const parts = {
  style: look.outputFiles[0].text.trim(),
  script,
  hash: createHash("sha256").update(script, "utf8").digest("base64"),
  // The bundle contains Preact, whose license goes with it.
  notice: readFileSync(join(here, "node_modules/preact/LICENSE"), "utf8").trim(),
};
const page = readFileSync(join(here, "src/page.html"), "utf8");
// A function as the replacement: a "$&" in the bundle is no pattern then.
const html = page.replace(/\{\{ (\w+) \}\}/g, (_, name) => parts[name]);
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, html);
