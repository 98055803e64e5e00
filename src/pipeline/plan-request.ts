/** The networks that a request runs, as the memory planner is told of them. */

import type { Target } from "../graph/op.ts";
import { hasInterval, isGuided } from "./denoise.ts";
import { type MemoryPlan, type Network, pictureEncoderName, planMemory, type VaeChoice } from "./memory.ts";
import type { Model } from "./model.ts";
import type { TextEncoder } from "./networks.ts";
import { makesPreviews } from "./parts-of.ts";
import { encodersFor, textTokens } from "./reading.ts";
import type { Request } from "./request.ts";

/** Inputs of a denoiser that differ from step to step: what rests on the others runs once. */
export const stepInputs: readonly string[] = ["sample", "t_emb"];

/**
 * Latent cells from which on, on a processor, a guided step is two runs of one prompt: KOALA-700M's U-Net in int8 on two cores took
 * 0.30 s so against 0.27 s for both prompts at once at 256 px, 1.06 against 1.04 at 512 px, 5.8 against 6.2 at 1024 px.
 */
const TURNS_CELLS = 64 * 64;

export interface Budget {
  /** Bytes that the process may take: a picture that needs more is refused. */
  readonly memory?: number;
  /** Bytes that are free: kept to where a plan does; absent: all that a picture wants. */
  readonly freeBytes?: number;
  /** `auto` works whole where there is room, else in stripes. */
  readonly vae?: VaeChoice;
}

/** How the pipeline keeps its programs: whether they may stay loaded, and which encoders run in pieces. */
export interface Keeping {
  readonly mayStay: boolean;
  readonly target: Target;
  /** Whether programs are kept on disk. */
  readonly isKept: boolean;
  isInPieces(part: TextEncoder): boolean;
}

/** @throws KoalaError E_MEMORY with the least that would do, E_FLAG for stripes of a decoder that has none */
export function planRequest(parts: Model, request: Request, budget: Budget, keeping: Keeping): MemoryPlan {
  const { texts, denoiser, vae } = parts;
  const [height, width] = [request.height / vae.factor, request.width / vae.factor];
  const guided = isGuided(request, denoiser);
  const batch = guided ? 2 : 1;
  const tokens = textTokens(request, parts);
  const encoders = encodersFor(request, texts).flatMap((part): Network[] => {
    const pieces = keeping.isInPieces(part) ? part.pieces(batch) : null;
    return (pieces ?? [part.graph(batch)]).map((outputs) => ({
      name: part.name,
      store: part.store,
      outputs,
    }));
  });
  const denoiserOf = (count: number): Network => ({
    ...{ name: denoiser.name, store: denoiser.store, changing: stepInputs },
    outputs: denoiser.graph({ batch: count, height, width, tokens }),
  });
  const pictureEncoder = (): Network => ({
    ...{ name: pictureEncoderName, store: vae.store },
    outputs: vae.encoder({ batch: 1, height: request.height, width: request.width }).outputs,
  });
  return planMemory({
    encoders,
    pictureEncoder: request.strength === undefined ? null : pictureEncoder(),
    denoiser: denoiserOf(batch),
    inTurns: guided ? denoiserOf(1) : null,
    mayBatch: !hasInterval(request) && (height * width < TURNS_CELLS || keeping.target === "ort-webgpu"),
    ...{ target: keeping.target, isKept: keeping.isKept },
    decoder: { name: "vae", store: vae.store, outputs: vae.decoder({ batch: 1, height, width }).outputs },
    hasPreviews: request.preview && makesPreviews(vae.store),
    ...{ kl: vae.kl, height, width },
    limit: budget.memory ?? budget.freeBytes ?? null,
    isFirm: budget.memory !== undefined,
    vae: budget.vae ?? "auto",
    mayStay: keeping.mayStay,
  });
}
