/** `koala worker`: draws for a `koala serve --redis` on this or another machine. */

import type { Command } from "commander";
import { check } from "../../../core/assert.ts";
import { threadsFrom } from "../flags.ts";
import type { World } from "../world.ts";
import { addCrewFlags, type CrewFlags, loggerFor, placesFrom, untilStopped, workersOf } from "./serve.ts";

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  addCrewFlags(command);
  command.action(async (options: CrewFlags) => finish(await work(options, world)));
}

async function work(o: CrewFlags, world: World): Promise<number> {
  const { redis } = o;
  check(redis !== undefined, "E_FLAG", () => ({
    where: "koala worker",
    expected: "--redis URL",
    got: "nothing",
    hint: "The same that koala serve has: koala worker --redis redis://127.0.0.1:6379",
  }));
  const threads = threadsFrom(o.threads);
  const workers = workersOf(o);
  const { openWorker } = await import("../../server/crews.ts");
  const models = await placesFrom(o);
  const log = await loggerFor(o, world);
  const worker = await openWorker(redis, {
    ...{ models, workers, log },
    ...(threads === undefined ? {} : { threads }),
  });
  world.stdout.write(`${Object.keys(models).join(", ")}: waiting for jobs\n`);
  await untilStopped(world);
  await worker.close();
  return 0;
}
