/** `koala download`: a model from the hub into the cache as the hub has it now, ready for `--offline`. */

import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import type { HubChange } from "../../hub.ts";
import { type OpenModelOptions, parseHubLocation } from "../../open-model.ts";
import { interruptible } from "../interruptible.ts";
import { progressFor } from "../progress.ts";
import { bytes } from "../units.ts";
import type { World } from "../world.ts";

interface Options {
  readonly json?: true;
  readonly quiet?: true;
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  command
    .argument(
      "<HUB_ID>",
      "owner/name, such as etri-vilab/koala-lightning-700m; with @REVISION a branch, tag or commit",
    )
    .option("--json", "print one JSON object: the model, how many files and bytes, what has changed")
    .option("--quiet", "say nothing but errors and the result")
    .option("--verbose", "say where an error comes from")
    .action(async (id: string, o: Options) => finish(await download(id, o, world)));
}

async function download(id: string, o: Options, world: World): Promise<number> {
  check(parseHubLocation(id) !== null, "E_FLAG", () => ({
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
      let change: HubChange | null = null;
      // more than every host's options: this command is Node's alone, and so is the cache
      const opening: OpenModelOptions = {
        isRefreshed: true,
        signal,
        onProgress: (file, done, total) => progress.transfer("download", file, done, total),
        onFetched: (what) => {
          change = what;
        },
      };
      const files = await world.openModel(id, opening);
      const paths = await files.list();
      let total = 0;
      for (const path of paths) total += await files.size(path);
      progress.end();
      if (o.json) {
        const said = { model: id, files: paths.length, bytes: total, ...facts(change) };
        world.stdout.write(`${JSON.stringify(said)}\n`);
      } else world.stdout.write(`${id}: ${paths.length} files, ${bytes(total)}; ${sentence(change)}\n`);
    },
  );
}

/** Whether anything has changed; null for what is not known, since the hub was not asked. */
const facts = (
  change: HubChange | null,
): { fetched: number | null; commit: string | null; isChanged: boolean | null } => ({
  fetched: change?.files ?? null,
  commit: change?.commit ?? null,
  isChanged: change === null ? null : change.files > 0 || change.commit !== change.before,
});

function sentence(change: HubChange | null): string {
  if (change === null) return "offline or a folder here, so the hub was not asked";
  const { files, commit, before } = change;
  const short = (hash: string): string => hash.slice(0, 7); // as git and the hub's pages abbreviate
  const moved =
    before === null || before === commit ? "" : `, commit ${short(commit)} after ${short(before)}`;
  if (files > 0) return `${files} fetched${moved}`;
  return before === commit ? "nothing has changed" : `nothing to fetch${moved}`;
}
