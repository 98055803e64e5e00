import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findPython, type Python, prefixOf, pythonPaths, whyNot } from "./peers.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-peers-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const python = (...packages: string[]): Python => ({
  program: "/env/bin/python3",
  versions: Object.fromEntries(packages.map((name) => [name, "1"])),
});

describe("peers", () => {
  it("are looked for in the folder's environment and then in the path, unless a Python is named", () => {
    const env = { VIRTUAL_ENV: "/active", PATH: "/usr/bin:/bin" };
    expect(pythonPaths(undefined, env, ["/here"])).toEqual([
      ...["/active/bin/python3", "/here/.venv/bin/python3", "/usr/bin/python3", "/bin/python3"],
    ]);
    expect(pythonPaths("mine", env, ["/here"])).toEqual(["mine"]);
  });

  it("are what the first Python that answers has", () => {
    const [broken, right] = [join(folder, "broken"), join(folder, "right")];
    writeFileSync(broken, "#!/bin/sh\nexit 1\n");
    writeFileSync(right, '#!/bin/sh\necho \'{"torch": "2.13.0"}\'\n');
    for (const file of [broken, right]) chmodSync(file, 0o755);
    expect(findPython([join(folder, "none"), broken, right], "versions.py")).toEqual({
      ...{ program: right, versions: { torch: "2.13.0" } },
    });
    expect(findPython([broken], "versions.py")).toBeNull();
    expect(prefixOf(python())).toBe("/env");
  });

  it("say in one sentence's end what they miss", () => {
    expect(whyNot("diffusers", "f32", null)).toBe(
      "there is no Python with it; scripts/peers/install.sh makes one",
    );
    expect(whyNot("openvino", "int8", python("openvino", "torch", "diffusers", "transformers"))).toBe(
      "/env/bin/python3 has no nncf; scripts/peers/install.sh installs it",
    );
    expect(whyNot("openvino", "bf16", python("openvino", "torch", "diffusers", "transformers"))).toBeNull();
  });
});
