/** The door `koala-diffusion/web`: a pipeline in a worker, models in the browser's storage. */

export { type LoadCalls, WorkerPipeline } from "./client.ts";
export type { Download, KeptModel, LoadedModel, Surroundings } from "./messages.ts";
