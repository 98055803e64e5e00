/** The form of OpenAI's image edits: a picture, a mask whose transparent parts are drawn anew, and fields as text. */

import type { Context } from "hono";
import { check } from "../../core/assert.ts";
import { KoalaError } from "../../core/errors.ts";
import { requestFields } from "../../pipeline/request.ts";
import type { Start } from "../../pipeline/start.ts";
import { decodePicture, transparencyOf } from "../image-file.ts";
import { type JsonObject, pictureBytes, readBody } from "./body.ts";

/** @throws KoalaError E_REQUEST, E_TOO_LARGE */
async function readForm(c: Context): Promise<FormData> {
  const body = await readBody(c, pictureBytes);
  const type = c.req.header("content-type") ?? "";
  try {
    return await new Response(body, { headers: { "content-type": type } }).formData();
  } catch (cause) {
    const got = type === "" ? "none" : type.slice(0, 80);
    throw new KoalaError("E_REQUEST", {
      where: "body",
      expected: "a form (multipart/form-data) with image, prompt and perhaps mask",
      got,
      cause,
    });
  }
}

/** A field's text as the schema wants it; what does not fit stays text, for the schema to refuse it. */
function fromText(key: string, text: string): unknown {
  const kind = key === "n" ? "number" : requestFields().find((field) => field.key === key)?.kind;
  if (kind === "number" && text.trim() !== "" && !Number.isNaN(Number(text))) return Number(text);
  if (kind === "switch" && (text === "true" || text === "false")) return text === "true";
  return text;
}

/** Fields as the JSON of a generation has them, and what the picture starts from. @throws KoalaError E_REQUEST, E_IMAGE */
export async function readEdit(c: Context): Promise<{ body: JsonObject; start: Start }> {
  const form = await readForm(c);
  const images = [...form.getAll("image"), ...form.getAll("image[]")];
  const [image] = images;
  check(image instanceof Blob && images.length === 1, "E_REQUEST", () => ({
    where: "image",
    expected: "one picture as a file",
    got: image === undefined ? "none" : images.length > 1 ? `${images.length} of them` : "text",
  }));
  const mask = form.get("mask");
  check(mask === null || mask instanceof Blob, "E_REQUEST", () => ({
    where: "mask",
    expected: "a picture as a file",
    got: "text",
  }));
  const bytes = async (file: Blob): Promise<Uint8Array> => new Uint8Array(await file.arrayBuffer());
  const fields = [...form].flatMap(([key, value]) =>
    typeof value === "string" && key !== "input_fidelity" ? [[key, fromText(key, value)] as const] : [],
  );
  return {
    body: Object.fromEntries(fields),
    start: {
      image: await decodePicture(await bytes(image), "image"),
      mask: mask === null ? undefined : await transparencyOf(await bytes(mask), "mask"),
    },
  };
}
