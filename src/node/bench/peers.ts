/**
 * The programs that ours stand beside, where they are installed: diffusers, OpenVINO by its own tools, stable-diffusion.cpp.
 * Their scripts lie in scripts/peers, which comes with the package.
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { Command } from "./child.ts";

export const peerNames = ["diffusers", "openvino", "sdcpp"] as const;
export type PeerName = (typeof peerNames)[number];

/** What a contender computes in; `int8` and `int4` of ours and of OpenVINO's are those of their own tools. */
export const precisionNames = ["f32", "bf16", "f16", "int8", "int4"] as const;
export type PrecisionName = (typeof precisionNames)[number];

interface Peer {
  readonly title: string;
  /** Python packages that it needs, as pip lists them. */
  readonly needs: readonly string[];
  readonly precisions: readonly PrecisionName[];
  /** Packages that a precision needs besides. */
  readonly alsoNeeds: Partial<Record<PrecisionName, string>>;
}

export const peers: Readonly<Record<PeerName, Peer>> = {
  diffusers: {
    title: "diffusers",
    needs: ["torch", "diffusers", "transformers"],
    precisions: ["f32", "bf16"],
    alsoNeeds: {},
  },
  openvino: {
    title: "OpenVINO",
    // torch and diffusers: its converter reads models through them
    needs: ["openvino", "torch", "diffusers", "transformers"],
    precisions: ["f32", "bf16", "int8"],
    alsoNeeds: { int8: "nncf" },
  },
  sdcpp: {
    title: "stable-diffusion.cpp",
    needs: ["stable_diffusion_cpp_python"],
    precisions: ["f16", "int8", "int4"],
    alsoNeeds: {},
  },
};

/** A Python with what it has installed. */
export interface Python {
  readonly program: string;
  /** Versions by the name of the package. */
  readonly versions: Readonly<Record<string, string>>;
}

/** Where a Python with the peers may be: what the user names, the active environment, the folder's own, the system's. */
export function pythonPaths(
  named: string | undefined,
  env: NodeJS.ProcessEnv,
  folders: readonly string[],
): string[] {
  if (named !== undefined) return [named];
  const environments = [
    ...(env.VIRTUAL_ENV === undefined ? [] : [env.VIRTUAL_ENV]),
    ...folders.map((f) => join(f, ".venv")),
  ];
  const onPath = (env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return [...environments.map((folder) => join(folder, "bin")), ...onPath].map((folder) =>
    join(folder, "python3"),
  );
}

/** The first of them that answers; null where none does. */
export function findPython(paths: readonly string[], versionsScript: string): Python | null {
  for (const program of paths) {
    if (!existsSync(program)) continue;
    const { status, stdout } = spawnSync(program, [versionsScript], { encoding: "utf8" });
    if (status === 0) return { program, versions: JSON.parse(stdout) as Record<string, string> };
  }
  return null;
}

/** Why that peer cannot take part here in that precision, in a sentence's end; null where it can. */
export function whyNot(name: PeerName, precision: PrecisionName, python: Python | null): string | null {
  if (python === null) return "there is no Python with it; scripts/peers/install.sh makes one";
  const { needs, alsoNeeds } = peers[name];
  const also = alsoNeeds[precision];
  const lacking = [...needs, ...(also === undefined ? [] : [also])].filter(
    (one) => !(one in python.versions),
  );
  if (lacking.length === 0) return null;
  return `${python.program} has no ${lacking.join(", ")}; scripts/peers/install.sh installs it`;
}

/** A script of scripts/peers with its one argument. */
export const script = (
  python: Python,
  folder: string,
  name: string,
  asked: Readonly<Record<string, unknown>>,
): Command => ({
  program: python.program,
  args: [join(folder, `${name}.py`), JSON.stringify(asked)],
});

/** The environment that Python is of: where our own engine finds the OpenVINO that is installed there. */
export const prefixOf = ({ program }: Python): string => dirname(dirname(program));
