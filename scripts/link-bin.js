// Makes `npx koala` work in the repository itself, where npm links no bin: node_modules/.bin/koala runs bin/koala.js.
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../node_modules/.bin/", import.meta.url));
mkdirSync(folder, { recursive: true });
if (process.platform === "win32") {
  writeFileSync(`${folder}koala.cmd`, '@node "%~dp0..\\..\\bin\\koala.js" %*\r\n');
} else {
  rmSync(`${folder}koala`, { force: true });
  symlinkSync("../../bin/koala.js", `${folder}koala`);
}
