/** Where OpenVINO's C library may lie: what the user names, Python packages, system installs. */

import { readdirSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";

/** What is read of the machine; other than in tests, this one. */
export interface Place {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly platform: NodeJS.Platform;
  /** Names in a folder; none where there is no folder. */
  list(folder: string): readonly string[];
}

const here: Place = {
  env: process.env,
  home: homedir(),
  platform: process.platform,
  list(folder) {
    try {
      return readdirSync(folder);
    } catch {
      return [];
    }
  },
};

/** `libopenvino_c.so`, or with the year and release that it is of: `.2641` is 2026.4.1. */
const fileNames: Partial<Record<NodeJS.Platform, RegExp>> = {
  linux: /^libopenvino_c\.so(\.\d+)*$/,
  darwin: /^libopenvino_c(\.\d+)*\.dylib$/,
};

/** Folders below a named or unpacked OpenVINO that hold its libraries: an archive's, a wheel's, a prefix's. */
const below: readonly string[] = [
  "",
  "runtime/lib/intel64",
  "runtime/lib/aarch64",
  "runtime/lib/arm64/Release",
  "libs",
  "openvino/libs",
  "lib",
  "lib64",
];

const systemFolders: readonly string[] = [
  "/usr/local/lib",
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib/aarch64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
  "/opt/homebrew/lib",
];

/**
 * Paths of libraries, the likeliest first. `OPENVINO_DIR` stands alone where it is set: a user who names one means it.
 * Nothing is looked for from the current folder up, which may be someone else's.
 */
export function openvinoLibraries(place: Place = here): string[] {
  const pattern = fileNames[place.platform];
  if (pattern === undefined) return [];
  const found = (folder: string): string[] =>
    place
      .list(folder)
      .filter((name) => pattern.test(name))
      .sort((a, b) => b.length - a.length || (a < b ? 1 : -1)) // the fullest name first: links lead to it
      .slice(0, 1)
      .map((name) => join(folder, name));
  const named = place.env.OPENVINO_DIR;
  if (named !== undefined && named !== "") return below.flatMap((part) => found(join(named, part)));

  const archives = [
    ...(place.env.INTEL_OPENVINO_DIR === undefined ? [] : [place.env.INTEL_OPENVINO_DIR]), // set by its setupvars
    ...place
      .list("/opt/intel")
      .filter((name) => name.startsWith("openvino"))
      .sort()
      .reverse()
      .map((name) => join("/opt/intel", name)),
  ];
  const folders = [
    ...pythonPrefixes(place).flatMap((prefix) => packagesOf(prefix, place)),
    ...archives.flatMap((folder) => below.map((part) => join(folder, part))),
    ...systemFolders,
  ];
  return [...new Set(folders.flatMap(found))];
}

/** Of the active virtual environment, of every python3 on the path, and the user's own. */
function pythonPrefixes({ env, home, list, platform }: Place): string[] {
  const onPath = (env.PATH ?? "")
    .split(platform === "win32" ? ";" : delimiter)
    .filter((folder) => folder !== "" && list(folder).includes("python3"))
    .map(dirname);
  const active = env.VIRTUAL_ENV === undefined ? [] : [env.VIRTUAL_ENV];
  return [...new Set([...active, join(home, ".local"), ...onPath, "/usr/local", "/usr"])];
}

/** Where packages of a Python lie: Debian calls the folder of its own dist-packages. */
function packagesOf(prefix: string, { list }: Place): string[] {
  const versions = list(join(prefix, "lib")).filter((name) => /^python3(\.\d+)?$/.test(name));
  return versions.flatMap((version) =>
    ["site-packages", "dist-packages"].map((kind) => join(prefix, "lib", version, kind, "openvino", "libs")),
  );
}
