/** The door `koala-diffusion/web`: a pipeline in a worker, models in the browser's storage, pictures with their settings. */

export type { Exploration, StageLook } from "../analyze/explore.ts";
export { unpack } from "../analyze/packed.ts";
export { blend, heat, rgb, type TokenGrid } from "../analyze/paint.ts";
export type { Needs } from "../pipeline/needs.ts";
export { maskFields } from "../pipeline/request.ts";
export type { Maker, Recorded } from "../pipeline/request-text.ts";
export { sizeLike, usualStrength } from "../pipeline/start.ts";
export { type LoadCalls, WorkerPipeline } from "./client.ts";
export type { Download, ExploreRequest, KeptModel, LoadedModel, Surroundings } from "./messages.ts";
export { encodePicture, readPicture } from "./picture-file.ts";
export type { StartFiles } from "./start-files.ts";
export type { Structure, StructureRequest } from "./structure.ts";
