/** Draw: the prompt and its settings, the picture on its way, and what was drawn before. */

import { useEffect, useRef } from "preact/hooks";
import type { Studio } from "../state.ts";
import { Gallery } from "./gallery.tsx";
import { PictureView } from "./picture.tsx";
import { Presets } from "./presets.tsx";
import { Field, Settings } from "./settings.tsx";
import { StartPanel } from "./start.tsx";

/** On a phone the settings would stand between the prompt and the picture. */
const isWide = matchMedia("(min-width: 721px)").matches;

/** Goes to a field, also one that is folded away. */
function show(field: HTMLElement | null): void {
  for (
    let at = field?.closest("details") ?? null;
    at !== null;
    at = at.parentElement?.closest("details") ?? null
  )
    at.open = true;
  field?.focus();
}

export function Draw({ studio }: { readonly studio: Studio }) {
  const { isBusy, model, problem } = studio;
  useEffect(() => {
    const wrong = problem.value?.field ?? null;
    // a strength without its picture has no field, but a place for the picture
    if (wrong !== null) show(document.getElementById(wrong) ?? document.getElementById("image"));
  }, [problem.value]);
  const file = useRef<HTMLInputElement>(null);
  const field = (key: string) => studio.fields.find((one) => one.key === key);
  const [prompt, negative] = [field("prompt"), field("negativePrompt")];
  return (
    <div class="draw">
      <form
        class="card controls"
        noValidate // the schema's own sentences say more than the browser's
        onSubmit={(event) => {
          event.preventDefault();
          void studio.draw();
        }}
      >
        {prompt !== undefined && <Field field={prompt} studio={studio} />}
        {negative !== undefined && <Field field={negative} studio={studio} />}
        <StartPanel studio={studio} />
        <div class="row">
          {isBusy.value ? (
            <button type="button" class="main" onClick={studio.cancel}>
              Cancel <kbd>Esc</kbd>
            </button>
          ) : (
            <button type="submit" class="main" disabled={model.value === null}>
              Draw <kbd>Ctrl ↵</kbd>
            </button>
          )}
          <button type="button" onClick={() => file.current?.click()}>
            Read settings…
          </button>
          <input
            ref={file}
            type="file"
            accept="image/png,image/jpeg,image/webp"
            aria-label="Picture whose settings to read"
            hidden
            onChange={(event) => {
              const [chosen] = event.currentTarget.files ?? [];
              if (chosen !== undefined) void studio.readFile(chosen);
              event.currentTarget.value = "";
            }}
          />
        </div>
        <details open={isWide}>
          <summary>Settings</summary>
          <div class="settings">
            <Presets studio={studio} />
            <Settings studio={studio} />
          </div>
        </details>
      </form>
      <Stage studio={studio} />
      <Gallery studio={studio} />
    </div>
  );
}

function timeLeft(seconds: number | null): string {
  if (seconds === null) return "";
  return seconds < 90 ? `, ${Math.ceil(seconds)} s left` : `, ${Math.round(seconds / 60)} min left`;
}

/** The picture being drawn, else the last one; its box keeps its shape whatever is in it. */
function Stage({ studio }: { readonly studio: Studio }) {
  const { work, current, model, form, usual, isBusy } = studio;
  const { value: now } = work;
  const { value: last } = current;
  const wanted = { width: 1, height: 1, ...usual.value, ...form.value };
  const { width, height } = now === null && last !== null ? last.request : wanted;
  const shown = now === null ? (last === null ? null : { url: last.url }) : now.shown;
  return (
    <section class="card stage" aria-label="Picture">
      <div class="frame" style={{ aspectRatio: `${width} / ${height}` }}>
        {shown !== null && (
          <PictureView shown={shown} label={now === null ? (last?.request.prompt ?? "") : "Preview"} />
        )}
        {shown === null && (
          <p class="empty">
            {now !== null
              ? "The first preview comes with the first step."
              : model.value === null
                ? "The model is on its way; type a prompt meanwhile."
                : "Type what you want to see, then press Draw."}
          </p>
        )}
      </div>
      <div class="progress" role="status" aria-live="polite">
        {now !== null ? (
          <>
            <progress aria-label="Steps done" value={now.step} max={Math.max(now.steps, 1)} />
            <span>
              {now.what}
              {now.steps > 0 && ` · step ${now.step} of ${now.steps}${timeLeft(now.secondsLeft)}`}
            </span>
          </>
        ) : last !== null ? (
          <span>
            {last.request.width} × {last.request.height} px · seed {last.request.seed} · {last.request.steps}{" "}
            steps
            {last.seconds !== null && ` · ${last.seconds.toFixed(1)} s`}
            {last.note !== null && ` · ${last.note}`}
          </span>
        ) : (
          <span>
            {model.value === null
              ? "No model yet"
              : `${model.value.title} is ready${model.value.engine === null ? "" : ` (${model.value.engine})`}`}
          </span>
        )}
      </div>
      <div class="row actions">
        {last !== null && now === null && (
          <>
            <a class="button" href={last.url} download={`koala-${last.request.seed}.png`}>
              Download
            </a>
            <button type="button" disabled={isBusy.value} onClick={() => void studio.take(last)}>
              Use settings
            </button>
            <button type="button" disabled={isBusy.value} onClick={() => void studio.drawAnother(last)}>
              Another seed
            </button>
            <button type="button" onClick={() => void studio.startFrom(last)}>
              Start from this
            </button>
          </>
        )}
      </div>
    </section>
  );
}
