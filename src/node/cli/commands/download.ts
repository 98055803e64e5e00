/** `koala download`: a model from the hub into the cache, ready for `--offline`. */

import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { interruptible } from "../interruptible.ts";
import { progressFor } from "../progress.ts";
import { bytes } from "../units.ts";
import type { World } from "../world.ts";

interface Options {
  readonly json?: true;
  readonly quiet?: true;
}

/** `owner/name`, with an optional `@revision`, by the hub's own rule for names. */
const hubId = /^[\w.-]+\/[\w.-]+(@[\w./-]+)?$/;

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument("<HUB_ID>", "owner/name, such as etri-vilab/koala-lightning-700m")
    .option("--json", "print one JSON object: where the files are, how many, how many bytes")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (id: string, o: Options) => finish(await download(id, o, world)));
}

async function download(id: string, o: Options, world: World): Promise<number> {
  check(hubId.test(id), "E_FLAG", () => ({
    where: "koala download",
    expected: "a hub id, owner/name",
    got: JSON.stringify(id),
  }));
  const progress = progressFor(world.stderr, o.quiet === true);
  return interruptible(
    world,
    progress,
    "Stopped; the same command goes on where it ended.",
    async (signal) => {
      const files = await world.openModel(id, {
        signal,
        onProgress: (file, done, total) => progress.transfer("download", file, done, total),
      });
      const paths = await files.list();
      let total = 0;
      for (const path of paths) total += await files.size(path);
      progress.end();
      if (o.json) world.stdout.write(`${JSON.stringify({ model: id, files: paths.length, bytes: total })}\n`);
      else world.stdout.write(`${id}: ${paths.length} files, ${bytes(total)}\n`);
    },
  );
}
