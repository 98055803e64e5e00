/**
 * Fields of a request that have no effect on its model, or beside its other fields. A caller is told of those that it set, and a
 * picture does not record them.
 */

import { hasSigmas, type SchedulerName } from "../diffusion/scheduler.ts";
import { isGuided } from "./denoise.ts";
import type { Denoiser, TextEncoder } from "./networks.ts";
import { curveOf, type Defaults, hasEta, hasSpacing, type Request, usualSpacing } from "./request.ts";

/** What of a model decides it. */
interface Reader {
  readonly denoiser: Pick<Denoiser, "isToldGuidance">;
  /** Whether sizes are told. */
  readonly isXL: boolean;
  readonly texts: readonly Pick<TextEncoder, "mostSkipped">[];
}

type Field = keyof Request;
type Spacings = Pick<Defaults, "usualSpacings" | "spacing">;

const ofGuidance: readonly Field[] = ["negativePrompt", "guidanceRescale", "guidanceFrom", "guidanceUntil"];
const ofSizes: readonly Field[] = ["originalSize", "crop", "targetSize"];

/** How much noise these begin with hangs on the spacing even where timesteps are named or follow a curve, as in diffusers. */
const noisedBySpacing: readonly SchedulerName[] = ["euler", "euler-a", "heun"];

/** Where it is that each field has no effect; those that have one are not in it. */
function idleIn(request: Request, { denoiser, isXL, texts }: Reader): ReadonlyMap<string, string> {
  const unguided = denoiser.isToldGuidance
    ? "on a model that is told its guidance"
    : `at guidance ${request.guidance}: there is some above 1`;
  const places: readonly (readonly [readonly Field[], string])[] = [
    [isGuided(request, denoiser) ? [] : ofGuidance, unguided],
    [
      texts.some(({ mostSkipped }) => mostSkipped !== null) ? [] : ["clipSkip"],
      "on a model that has another text encoder than CLIP",
    ],
    [isXL ? [] : ofSizes, "on a model that is not told sizes, as SDXL is"],
    [
      hasSpacing(request.scheduler) ? [] : ["spacing"],
      `with ${request.scheduler}, whose timesteps are its own`,
    ],
    [
      request.timesteps === undefined || noisedBySpacing.includes(request.scheduler) ? [] : ["spacing"],
      "where timesteps are named",
    ],
    [
      curveOf(request) === undefined || noisedBySpacing.includes(request.scheduler) ? [] : ["spacing"],
      `with the noise levels of sigmas ${request.sigmas}`,
    ],
    [
      hasSigmas(request.scheduler) ? [] : ["sigmas"],
      `with ${request.scheduler}, whose noise levels are its own`,
    ],
    [hasEta(request.scheduler) ? [] : ["eta"], `with ${request.scheduler}: ddim and tcd have one`],
  ];
  return new Map(places.flatMap(([fields, place]) => fields.map((field) => [field, place] as const)));
}

/** What fields without effect are where nobody sets them, or might as well be. */
const usualIn = (
  { width, height, scheduler }: Request,
  defaults: Spacings & Pick<Defaults, "negativePrompt">,
): Readonly<Record<string, unknown>> => ({
  negativePrompt: defaults.negativePrompt,
  ...{ guidanceRescale: 0, guidanceUntil: 0, clipSkip: 0 },
  ...{ originalSize: { width, height }, crop: { left: 0, top: 0 }, targetSize: { width, height } },
  spacing: usualSpacing(defaults, scheduler),
});

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** A sentence for each field that was set and has no effect; none for a value that is the default, or empty. */
export function idleWarnings(
  request: Request,
  model: Reader,
  defaults: Spacings & Pick<Defaults, "negativePrompt">,
): string[] {
  const usual = usualIn(request, defaults);
  return [...idleIn(request, model)].flatMap(([field, place]) => {
    const value = request[field as Field];
    const isSet = value !== undefined && value !== "" && !isSame(value, usual[field]);
    return isSet ? [`${field} has no effect ${place}`] : [];
  });
}

/** The request without what has no effect: what its pictures record. */
export function usedRequest(request: Request, model: Reader, defaults: Spacings): Request {
  const idle = idleIn(request, model);
  const { guidanceRescale, spacing } = usualIn(request, defaults);
  const always: Readonly<Record<string, unknown>> = { guidanceRescale, spacing }; // the others may be absent
  const used = Object.entries(request).flatMap(([field, value]) => {
    if (!idle.has(field)) return [[field, value]];
    return field in always ? [[field, always[field]]] : [];
  });
  return Object.fromEntries(used) as Request;
}
