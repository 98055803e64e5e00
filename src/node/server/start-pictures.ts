/** Pictures that clients send to start from: read from base64, and kept as PNG while their job is. */

import { check } from "../../core/assert.ts";
import { quoted } from "../../core/quoted.ts";
import type { Start } from "../../pipeline/start.ts";
import { decodePicture, encodePicture } from "../image-file.ts";

/** As PNG, of the request's size. */
export interface StartPngs {
  readonly image: Uint8Array<ArrayBuffer>;
  readonly mask: Uint8Array<ArrayBuffer> | null;
}

/** The same in base64, as it is sent to who draws. */
export interface SentStart {
  readonly image: string;
  readonly mask: string | null;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

export const sentStart = ({ image, mask }: StartPngs): SentStart => ({
  image: base64(image),
  mask: mask === null ? null : base64(mask),
});

/** Bytes of base64, after a data URL's head or without one. @throws KoalaError E_REQUEST */
export function bytesFrom(value: unknown, where: string): Uint8Array<ArrayBuffer> {
  check(typeof value === "string", "E_REQUEST", () => ({
    where,
    expected: "a picture in base64",
    got: quoted(value),
  }));
  return new Uint8Array(Buffer.from(value.replace(/^data:[\w/+.-]*;base64,/, ""), "base64"));
}

/** The pictures in two fields of a body; those that are not there are left out. @throws KoalaError E_REQUEST, E_IMAGE */
export async function startFrom(
  image: unknown,
  mask: unknown,
  [imageField, maskField]: readonly [string, string] = ["image", "mask"],
): Promise<Start> {
  const read = async (value: unknown, where: string) =>
    value === undefined || value === null ? undefined : decodePicture(bytesFrom(value, where), where);
  return { image: await read(image, imageField), mask: await read(mask, maskField) };
}

/** What is sent to who draws, as pixels. @throws KoalaError E_IMAGE */
export const startOf = (sent: SentStart | undefined): Promise<Start> => startFrom(sent?.image, sent?.mask);

/** Null where there is nothing to start from. */
export async function toPngs({ image, mask }: Start): Promise<StartPngs | null> {
  if (image === undefined) return null;
  return {
    image: await encodePicture(image, "png"),
    mask: mask === undefined ? null : await encodePicture(mask, "png"),
  };
}
