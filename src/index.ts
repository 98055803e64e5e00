/** The door `koala-diffusion`: prompt to picture. */

export { type ErrorCode, errorCodes, KoalaError } from "./core/errors.ts";
export type { Log } from "./core/log.ts";
export type { Picture } from "./image/pixels.ts";
export type { ModelDefaults } from "./models/detect.ts";
export type { PipelineEvent, StageName } from "./pipeline/events.ts";
export { type LoadOptions, Pipeline } from "./pipeline/pipeline.ts";
export {
  listFromText,
  parseRequest,
  type Request,
  type RequestField,
  type RequestInput,
  requestFields,
  resolveRequest,
} from "./pipeline/request.ts";
export type { Tensor } from "./tensor/tensor.ts";
