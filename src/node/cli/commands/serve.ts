/** `koala serve` and what `koala worker` shares with it: models behind HTTP, with a queue, a history and a page. */

import type { Command } from "commander";
import type { Logger } from "pino";
import { KoalaError } from "../../../core/errors.ts";
import { type PrecisionName, precisionNames } from "../../../pipeline/request.ts";
import { type NsfwPolicy, nsfwPolicies } from "../../nsfw/policy.ts";
import type { ModelPlaces } from "../../server/engine-messages.ts";
import type { RunningServer } from "../../server/serve.ts";
import { holdersOf } from "../../server/tokens.ts";
import { usual, usualData } from "../../server/usual.ts";
import { someOf, threadsFrom } from "../flags.ts";
import { numberOf, whole } from "../numbers.ts";
import { usualModel, usualModelName } from "../package.ts";
import type { World } from "../world.ts";

/** Flags of both commands. */
export interface CrewFlags {
  readonly model?: readonly string[];
  readonly base?: string;
  readonly engine?: string;
  readonly precisions?: string;
  readonly threads?: string;
  readonly workers?: string;
  readonly redis?: string;
  readonly offline?: true;
  readonly verbose?: true;
  readonly quiet?: true;
}

interface Options extends CrewFlags {
  readonly host?: string;
  readonly port?: string;
  readonly token?: readonly string[];
  readonly allowHost?: readonly string[];
  readonly cors?: readonly string[];
  readonly url?: string;
  readonly queue?: string;
  readonly data?: string;
  readonly runs?: string;
  readonly nsfw?: string;
  readonly maxSteps?: string;
  readonly maxSize?: string;
  readonly maxCount?: string;
}

const collect = (value: string, all: readonly string[] = []): string[] => [...all, value];

export function addCrewFlags(command: Command): void {
  command
    .option(
      "--model <DIR|HUB_ID>",
      `a model to offer; again for more, the first is used where none is named (default ${usualModelName})`,
      collect,
    )
    .option("--base <DIR|HUB_ID>", "what completes a checkpoint file: tokenizers, encoders, VAE")
    .option("--engine <NAME>", "what computes; koala engines lists them (default: the fastest that is here)")
    .option(
      "--precisions <LIST>",
      `that requests may name, of ${precisionNames.join(",")}; the first where they name none (default: as the command generate, and all that the engine has)`,
    )
    .option(
      "--workers <N>",
      `pictures drawn at once, each in a process of its own (default ${usual.workers})`,
    )
    .option("--threads <N>", "threads of each (default: the cores shared out among them)")
    .option("--redis <URL>", "draw through Redis, on any machine that runs koala worker")
    .option("--offline", "use only what is on this machine")
    .option("--verbose", "log every request, and say where an error comes from")
    .option("--quiet", "log only what is wrong");
}

export function define(command: Command, world: World, finish: (exitCode: number) => void): void {
  addCrewFlags(command);
  command
    .option(
      "--host <ADDRESS>",
      `where to listen; beyond this machine only with a token (default ${usual.host})`,
    )
    .option("--port <N>", `port, 0 for any that is free (default ${usual.port})`)
    .option(
      "--token <SECRET>",
      "who knows it may use the API; again for more, each with a history of its own, which NAME=SECRET keeps for NAME when the secret is replaced",
      collect,
    )
    .option(
      "--allow-host <NAME>",
      "another name under which the server is asked for, such as a proxy's",
      collect,
    )
    .option("--url <ORIGIN>", "where a proxy with TLS is reached: https://koala.example")
    .option("--cors <ORIGIN>", "let pages from there use the API: https://example.org", collect)
    .option("--queue <N>", `jobs that may wait (default ${usual.capacity})`)
    .option("--data <DIR>", "jobs, pictures and settings (default .koala in your home folder)")
    .option("--runs <DIR>", "show the training runs in this folder")
    .option("--nsfw <POLICY>", `explicit pictures: ${nsfwPolicies.join(", ")} (default off; needs nsfwjs)`)
    .option("--max-steps <N>", `most steps a request may ask for (default ${usual.limits.steps})`)
    .option("--max-size <PX>", `largest width and height (default ${usual.limits.side})`)
    .option("--max-count <N>", `most pictures of one request (default ${usual.limits.count})`)
    .action(async (options: Options) => finish(await serve(options, world)));
}

/** Of a checkout whose page was removed; a package has it. */
const notBuilt = "not built here: npm run studio builds it; all else works without";

/** What someone at a terminal wants to know. */
export function welcome(
  { url, hasPage }: Pick<RunningServer, "url" | "hasPage">,
  models: readonly string[],
  { tokens, data }: { readonly tokens: readonly string[]; readonly data: string },
): string {
  const [holder] = holdersOf(tokens);
  const page = holder === undefined ? `${url}/` : `${url}/?token=${encodeURIComponent(holder.secret)}`;
  const lines = [
    ["Studio", hasPage ? page : notBuilt],
    ["OpenAI", `${url}/v1`],
    ["A1111", url],
    ["API", `${url}/openapi.json`],
    ["Models", models.join(", ")],
    ["Data", data],
  ];
  return `${lines.map(([what = "", where = ""]) => `  ${what.padEnd(8)}${where}\n`).join("")}  Ctrl-C stops.\n`;
}

/** @throws KoalaError E_FLAG */
function policyFrom(text: string): NsfwPolicy {
  const found = nsfwPolicies.find((policy) => policy === text);
  if (found !== undefined) return found;
  throw new KoalaError("E_FLAG", {
    where: "--nsfw",
    expected: `one of ${nsfwPolicies.join(", ")}`,
    got: JSON.stringify(text),
  });
}

/** @throws KoalaError E_FLAG */
export const workersOf = (o: CrewFlags): number =>
  numberOf("--workers", o.workers, usual.workers, whole(1, 64));

/** @throws KoalaError E_FLAG */
const precisionsFrom = (o: CrewFlags): readonly PrecisionName[] | undefined =>
  someOf("--precisions", o.precisions, precisionNames);

/** The served list. @throws KoalaError E_FLAG */
export async function placesFrom(o: CrewFlags): Promise<ModelPlaces> {
  const { placesOf } = await import("../../server/models.ts");
  const [precision] = precisionsFrom(o) ?? [];
  return placesOf(o.model ?? [usualModel], {
    ...(o.engine === undefined ? {} : { engine: o.engine }),
    ...(o.base === undefined ? {} : { base: o.base }),
    ...(precision === undefined ? {} : { precision }),
    isOffline: o.offline === true,
  });
}

/** JSON lines on standard error; a terminal gets only what is wrong unless it asks for more. */
export async function loggerFor(o: CrewFlags, world: World): Promise<Logger> {
  const { pino } = await import("pino");
  const isSilent = o.quiet === true || (world.stderr.isTTY === true && o.verbose !== true);
  const level = o.verbose === true ? "debug" : isSilent ? "warn" : "info";
  return pino({ name: "koala", level }, world.stderr);
}

/** Resolves when Ctrl-C or a service manager asks to stop. */
export function untilStopped(world: World): Promise<void> {
  return new Promise((resolve) => {
    const ignore = world.onInterrupt(() => {
      ignore(); // the next one, of either kind, ends the process
      resolve();
    });
  });
}

async function serve(o: Options, world: World): Promise<number> {
  const threads = threadsFrom(o.threads);
  holdersOf(o.token ?? []); // says what is wrong with them now, and not after models were looked for
  const options = {
    host: o.host ?? usual.host,
    port: numberOf("--port", o.port, usual.port, whole(0, 65_535)),
    tokens: o.token ?? [],
    names: o.allowHost ?? [],
    origins: o.cors ?? [],
    capacity: numberOf("--queue", o.queue, usual.capacity, whole(1, 100_000)),
    workers: workersOf(o),
    data: o.data ?? usualData(),
    limits: {
      steps: numberOf("--max-steps", o.maxSteps, usual.limits.steps, whole(1, 1000)),
      side: numberOf("--max-size", o.maxSize, usual.limits.side, whole(8, 4096)),
      count: numberOf("--max-count", o.maxCount, usual.limits.count, whole(1, 64)),
    },
    precisions: precisionsFrom(o) ?? usual.precisions,
    ...(threads === undefined ? {} : { threads }),
    ...(o.url === undefined ? {} : { url: o.url }),
    ...(o.redis === undefined ? {} : { redis: o.redis }),
    ...(o.runs === undefined ? {} : { runs: o.runs }),
    ...(o.nsfw === undefined ? {} : { nsfw: policyFrom(o.nsfw) }),
  };
  const { startServer } = await import("../../server/serve.ts"); // one after another: Node 20 trips over modules that two imports share
  const models = await placesFrom(o);
  const log = await loggerFor(o, world);
  const server = await startServer({ ...options, models, log });
  const stopped = untilStopped(world); // heard from before anybody is told that it runs
  world.stdout.write(`${server.url}\n`);
  const isTold = world.stderr.isTTY === true && o.quiet !== true;
  if (!server.hasPage && !isTold) log.warn(`studio: ${notBuilt}`);
  if (isTold)
    world.stderr.write(welcome({ ...server, url: o.url ?? server.url }, Object.keys(models), options));
  await stopped;
  if (isTold) world.stderr.write("Stopping: pictures that are not done are drawn after the next start.\n");
  await server.close();
  return 0;
}
