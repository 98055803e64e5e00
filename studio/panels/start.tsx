/** The picture to start from: a place to give one, and what becomes of it. */

import { useSignal } from "@preact/signals";
import { maskFields } from "koala-diffusion/web";
import { useEffect, useRef } from "preact/hooks";
import type { StartImage } from "../start-picture.ts";
import type { Studio } from "../state.ts";
import { PaintDialog } from "./paint-dialog.tsx";
import { Painted } from "./painted.tsx";
import { Field } from "./settings.tsx";

const pictureIn = (files: FileList | undefined): File | undefined =>
  [...(files ?? [])].find(({ type }) => type.startsWith("image/"));

export function StartPanel({ studio }: { readonly studio: Studio }) {
  const { startPicture, lacksStart } = studio;
  const isOver = useSignal(false);
  useEffect(() => {
    const onPaste = (event: ClipboardEvent): void => {
      const file = pictureIn(event.clipboardData?.files);
      if (file === undefined) return; // a text, for the field where it goes
      event.preventDefault();
      void studio.startFrom(file);
    };
    addEventListener("paste", onPaste);
    return () => removeEventListener("paste", onPaste);
  }, []);
  const image = startPicture.image.value;
  const isInpainting = studio.model.value?.isInpainting;
  return (
    <section
      class={isOver.value ? "start over" : "start"}
      aria-label="Picture to start from"
      onDragEnter={() => {
        isOver.value = true;
      }}
      onDragLeave={(event) => {
        isOver.value = event.currentTarget.contains(event.relatedTarget as Node | null);
      }}
      onDrop={(event) => {
        isOver.value = false;
        const [file] = event.dataTransfer?.files ?? [];
        event.preventDefault();
        event.stopPropagation(); // elsewhere on the page its settings are read
        if (file !== undefined) void studio.startFrom(file);
      }}
    >
      {image === null ? (
        <div class="row give">
          <GiveButton studio={studio} label="Start from a picture…" />
          <span class="hint">
            {isInpainting ? "This model needs one, with a part painted" : "or drop or paste one here"}
          </span>
        </div>
      ) : (
        <Given studio={studio} image={image} />
      )}
      {lacksStart.value && (
        <p class="hint">
          These settings are of a drawing that started from a picture, which is not here. Give it, or{" "}
          <button type="button" class="link" onClick={studio.startFromNoise}>
            start from noise
          </button>
          .
        </p>
      )}
      <Wrong studio={studio} />
    </section>
  );
}

interface GiveButtonProps {
  readonly studio: Studio;
  readonly label: string;
}

function GiveButton({ studio, label }: GiveButtonProps) {
  const file = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" id="image" onClick={() => file.current?.click()}>
        {label}
      </button>
      <input
        ref={file}
        type="file"
        accept="image/*"
        aria-label="Picture to start from"
        hidden
        onChange={(event) => {
          const [chosen] = event.currentTarget.files ?? [];
          if (chosen !== undefined) void studio.startFrom(chosen);
          event.currentTarget.value = "";
        }}
      />
    </>
  );
}

/** The picture as it will be cut, what is done with it, and how strongly. */
function Given({ studio, image }: { readonly studio: Studio; readonly image: StartImage }) {
  const { startPicture, usual, form, fields } = studio;
  const { marks } = startPicture;
  const isPainting = useSignal(false);
  const isPainted = marks.value.length > 0;
  const isWhole = isPainted && form.value.paddingMaskCrop !== undefined; // nothing is cut off then
  const { width, height } = { ...image, ...(isWhole ? {} : { ...usual.value, ...form.value }) };
  const strength = fields.find(({ key }) => key === "strength");
  const { strength: now } = { ...usual.value, ...form.value };
  return (
    <>
      <div class="given">
        <div class="frame" style={{ "--ratio": Number(width) / Number(height) }}>
          <img src={image.url} alt="What it starts from" />
          <Painted image={image} marks={marks} />
        </div>
        <p class="hint">
          {isPainted
            ? "What is painted is drawn anew; the rest stays as it is."
            : studio.model.value?.isInpainting
              ? "Paint the part that this model is to draw; the rest stays as it is."
              : "The drawing begins with this picture instead of noise. Paint a part, and only that is drawn anew."}
        </p>
      </div>
      <div class="row">
        <button
          type="button"
          id="mask"
          onClick={() => {
            isPainting.value = true;
          }}
        >
          {isPainted ? "Paint on…" : "Paint a part…"}
        </button>
        <GiveButton studio={studio} label="Other…" />
        <button type="button" onClick={studio.startFromNoise}>
          Remove
        </button>
      </div>
      {strength !== undefined && (
        <div class="strength">
          <Field field={strength} studio={studio} />
          <label>
            <span class="sr">Strength, from as it is to all anew</span>
            <input
              type="range"
              min={0.05}
              max={1}
              step={0.05}
              value={Number(now)}
              onInput={(event) => studio.set("strength", Number(event.currentTarget.value))}
            />
            <span class="ends" aria-hidden="true">
              <span>as it is</span>
              <span>all anew</span>
            </span>
          </label>
        </div>
      )}
      {isPainted && (
        <div class="fields">
          {fields
            .filter(({ key }) => maskFields.includes(key))
            .map((field) => (
              <Field key={field.key} field={field} studio={studio} />
            ))}
        </div>
      )}
      {isPainting.value && (
        <PaintDialog
          image={image}
          marks={marks}
          close={() => {
            isPainting.value = false;
          }}
        />
      )}
    </>
  );
}

/** What was refused of the files, or of a strength that has no picture and so no field. */
function Wrong({ studio }: { readonly studio: Studio }) {
  const { problem, startPicture } = studio;
  const { field, message, hint } = problem.value ?? {};
  const isFieldless = field === "strength" && startPicture.image.value === null;
  if (field !== "image" && field !== "mask" && !isFieldless) return null;
  return (
    <p class="wrong" role="alert">
      {message}. {hint}
    </p>
  );
}
