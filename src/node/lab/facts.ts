/** What of a teacher decides what a study can ask of it, read off its folder's configs. */

import { KoalaError } from "../../core/errors.ts";
import { defaultsFor } from "../../models/detect.ts";
import { ditConfig } from "../../models/dit-config.ts";
import { unetConfig } from "../../models/unet-config.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { readJson } from "../../weights/layout.ts";
import type { TeacherFacts } from "./study.ts";

const unique = (numbers: readonly number[]): number[] => [...new Set(numbers)].sort((a, b) => a - b);

/** Of pictures beside latents: only the size of pictures would need the VAE's, and it is not asked here. */
const anyFactor = 8;

/** @throws KoalaError E_MODEL where the folder has neither a U-Net nor a transformer; E_CONFIG, E_FILE */
export async function teacherFacts(files: ModelFiles): Promise<TeacherFacts> {
  const { location } = files;
  const paths = await files.list();
  const has = (name: string): boolean => paths.includes(`${name}/config.json`);
  if (!paths.includes("model_index.json") || (!has("unet") && !has("transformer")))
    throw new KoalaError("E_MODEL", {
      where: location,
      expected: "a teacher: a diffusers folder with a U-Net or a transformer",
      got: paths.includes("model_index.json") ? "one without either" : "a folder without model_index.json",
    });
  const modelIndex = await readJson(files, "model_index.json");
  const scheduler = await readJson(files, "scheduler/scheduler_config.json");
  const known = { location, modelIndex, scheduler, factor: anyFactor };
  if (has("transformer")) {
    const config = await readJson(files, "transformer/config.json");
    const { guidance } = defaultsFor({ ...known, transformer: config });
    const depths = [ditConfig(config).layers];
    return { kind: "transformer", config, stages: [], depths, hasMid: false, isXL: false, guidance };
  }
  const config = await readJson(files, "unet/config.json");
  const { down, mid, up, added } = unetConfig(config, `${location}/unet/config.json`);
  const { guidance } = defaultsFor({ ...known, unet: config });
  const named = (way: string, levels: typeof down): string[] =>
    levels.flatMap(({ depths }, i) => (depths.some((d) => d > 0) ? [`${way}-${i + 1}`] : []));
  const midDepths = mid?.depths ?? [];
  return {
    ...{ kind: "unet", config, hasMid: mid !== null, isXL: added !== null, guidance },
    stages: [...named("DW", down), ...(midDepths.some((d) => d > 0) ? ["Mid"] : []), ...named("UP", up)],
    depths: unique([...[...down, ...up].flatMap(({ depths }) => depths), ...midDepths].filter((d) => d > 0)),
  };
}
