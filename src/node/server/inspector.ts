/**
 * Looking inside a model for a page: attention maps of one picture, and how long each stage takes. Each call has a process of
 * its own that loads the model and ends with the answer, and there is one at a time: it takes as much memory as a drawer.
 */

import { join } from "node:path";
import type { Exploration } from "../../analyze/explore.ts";
import { check } from "../../core/assert.ts";
import type { Request } from "../../pipeline/request.ts";
import { packageRoot } from "../cli/package.ts";
import { judged } from "../nsfw/check.ts";
import type { NsfwPolicy } from "../nsfw/policy.ts";
import { EngineLost, errorFrom } from "./crew.ts";
import type { ModelPlace, ModelPlaces } from "./engine-messages.ts";
import type { JobError } from "./job.ts";
import { onLost, startProcess } from "./start-process.ts";

export interface Inspector {
  /** @throws KoalaError E_BUSY while another call runs, E_REQUEST for too many steps, and as `explore` */
  explore(model: string, request: Request, signal: AbortSignal): Promise<Exploration>;
  /** Seconds by stage of one forward. @throws KoalaError E_BUSY while another call runs, and as `Pipeline.stageTimes` */
  times(model: string, signal: AbortSignal): Promise<Readonly<Record<string, number>>>;
}

export interface ToInspector {
  readonly place: ModelPlace;
  readonly threads?: number;
  /** What is done about an explicit picture. */
  readonly nsfw: NsfwPolicy;
  /** Absent: how long each stage takes. */
  readonly request?: Request;
}
export type FromInspector = { readonly result: unknown } | { readonly error: JobError };

/**
 * What was found, with its picture as the server may show it. `classifier` is for tests.
 * @throws KoalaError E_REFUSED, E_ENGINE as `judged`
 */
export async function asAllowed(
  found: Exploration,
  nsfw: NsfwPolicy,
  classifier?: Parameters<typeof judged>[2],
): Promise<Exploration> {
  if (nsfw === "off") return found;
  const { picture } = await judged(found.picture, nsfw, classifier);
  return { ...found, picture };
}

/** Maps of every point are 4 MiB a stage and step: more steps than these would fill the memory. */
const mostSteps = 30;

const processPath = join(packageRoot, "dist/node/server/inspect-process.js");

export class LocalInspector implements Inspector {
  private readonly models: ModelPlaces;
  private readonly threads: number | undefined;
  private readonly nsfw: NsfwPolicy;
  private isBusy = false;

  constructor(models: ModelPlaces, threads: number | undefined, nsfw: NsfwPolicy = "off") {
    this.models = models;
    this.threads = threads;
    this.nsfw = nsfw;
  }

  async explore(model: string, request: Request, signal: AbortSignal): Promise<Exploration> {
    check(request.steps <= mostSteps, "E_REQUEST", () => ({
      where: "steps",
      expected: `at most ${mostSteps} to look inside`,
      got: String(request.steps),
    }));
    return (await this.ask(model, { request }, signal)) as Exploration;
  }

  async times(model: string, signal: AbortSignal): Promise<Readonly<Record<string, number>>> {
    return (await this.ask(model, {}, signal)) as Readonly<Record<string, number>>;
  }

  private async ask(
    model: string,
    what: Pick<ToInspector, "request">,
    signal: AbortSignal,
  ): Promise<unknown> {
    check(!this.isBusy, "E_BUSY", () => ({
      where: "looking inside",
      expected: "one at a time",
      got: "one more",
      hint: "Try again when the other one is done.",
    }));
    const child = startProcess(processPath, "ignore");
    this.isBusy = true;
    const stop = (): void => void child.kill("SIGKILL");
    signal.addEventListener("abort", stop, { once: true });
    try {
      const place = this.models[model] as ModelPlace;
      const threads = this.threads === undefined ? {} : { threads: this.threads };
      const asked: ToInspector = { place, ...threads, nsfw: this.nsfw, ...what };
      if (child.connected) child.send(asked, () => {});
      const answer = await new Promise<FromInspector>((resolve, reject) => {
        child.once("message", (message) => resolve(message as FromInspector));
        const lose = (how: string): void => reject(signal.aborted ? signal.reason : new EngineLost(how));
        onLost(child, lose);
      });
      if ("error" in answer) throw errorFrom(answer.error);
      return answer.result;
    } finally {
      signal.removeEventListener("abort", stop);
      child.kill("SIGKILL"); // it holds nothing that must be saved
      this.isBusy = false;
    }
  }
}
