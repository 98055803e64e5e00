/** Look inside: where points and words look, by stage and step; what self-attention tells apart; the U-Net by stage. */

import { signal } from "@preact/signals";
import type { Picture } from "koala-diffusion";
import { blend, type Exploration, heat, rgb } from "koala-diffusion/web";
import { type Studio, usualSeed } from "../state.ts";
import { Pixels } from "./picture.tsx";
import { Field } from "./settings.tsx";
import { UNetFigure } from "./unet-figure.tsx";

type Kind = "point" | "word" | "features";
const kinds: Readonly<Record<Kind, string>> = {
  point: "Where a point looks",
  word: "Where a word is",
  features: "What is told apart",
};
const explained: Readonly<Record<Kind, string>> = {
  point: "Self-attention of the point that you click, bright where it looks. Arrow keys move it.",
  word: "Cross-attention of the whole picture to one word of the prompt.",
  features:
    "The three strongest components of self-attention's output as red, green and blue: parts of one colour are alike to the model.",
};
/** Of the map over the picture. */
const OPACITY = 0.65;

interface Choice {
  readonly kind: Kind;
  readonly stage: string;
  readonly step: number;
  readonly word: number;
  readonly x: number;
  readonly y: number;
}

/** The chosen map, laid over the picture. */
function over({ looks, picture }: Exploration, c: Choice): Picture {
  const look = looks.find(({ stage, step }) => stage === c.stage && step === c.step);
  if (look === undefined) return picture;
  const { grid, self, cross, features } = look;
  const tokens = grid.width * grid.height;
  if (c.kind === "features") return rgb(features.scores, grid, picture);
  const place = (share: number, cells: number): number => Math.min(Math.floor(share * cells), cells - 1);
  const row = c.kind === "word" ? c.word : place(c.y, grid.height) * grid.width + place(c.x, grid.width);
  const values = (c.kind === "word" ? cross : self).subarray(row * tokens, (row + 1) * tokens);
  return blend(picture, heat(Float64Array.from(values), grid, picture), OPACITY);
}

// these outlive the view
const found = signal<Exploration | null>(null);
const done = signal("");
const choice = signal<Choice>({ kind: "word", stage: "", step: 1, word: 0, x: 0.5, y: 0.5 });

export function Inside({ studio }: { readonly studio: Studio }) {
  const { engine, isBusy, model } = studio;
  const isInpainting = model.value?.isInpainting === true;
  const prompt = studio.fields.find(({ key }) => key === "prompt");
  const change = (part: Partial<Choice>): void => {
    choice.value = { ...choice.value, ...part };
  };

  const run = () =>
    studio.exclusively(async (signal) => {
      const name = model.value?.name;
      if (name === undefined) return;
      const { preview: _, ...typed } = studio.request();
      const { strength: _strength, paddingMaskCrop: _padding, maskedContent: _content, ...request } = typed; // from noise
      done.value =
        engine.kind === "server" ? "The server looks inside; this takes as long as a picture" : "Starting";
      try {
        const its = await engine.explore(
          name,
          { seed: usualSeed, ...request },
          {
            ...{ signal, ...studio.progress },
            onStep: (step, steps) => {
              done.value = `Step ${step} of ${steps}`;
            },
          },
        );
        const stage = its.stages.at(-1) ?? "";
        change({ stage, step: Math.ceil(its.request.steps / 2), word: Math.max(0, its.words.length - 1) });
        found.value = its;
      } finally {
        done.value = "";
      }
    }, "look inside");

  return (
    <div class="inside">
      <form
        class="card"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        {prompt !== undefined && <Field field={prompt} studio={studio} />}
        <div class="row">
          <button type="submit" class="main" disabled={isBusy.value || model.value === null || isInpainting}>
            Draw and look inside
          </button>
          {isBusy.value && (
            <button type="button" onClick={studio.cancel}>
              Cancel <kbd>Esc</kbd>
            </button>
          )}
          <span role="status">{done.value}</span>
          {isInpainting ? (
            <span class="hint">This draws from noise alone, which a model for inpainting cannot.</span>
          ) : (
            studio.startPicture.image.value !== null && (
              <span class="hint">It draws from noise here, without the picture to start from.</span>
            )
          )}
        </div>
      </form>
      {found.value === null ? (
        <p class="card empty">Draw once, then click on the picture or on a word.</p>
      ) : (
        <Maps found={found.value} choice={choice.value} change={change} />
      )}
      <UNetFigure studio={studio} />
    </div>
  );
}

interface MapsProps {
  readonly found: Exploration;
  readonly choice: Choice;
  change(part: Partial<Choice>): void;
}

function Maps({ found, choice, change }: MapsProps) {
  const { kind, stage, step, word, x, y } = choice;
  const { request, words, stages, omitted } = found;
  const move = (dx: number, dy: number): void => {
    const within = (v: number): number => Math.min(Math.max(v, 0), 0.999);
    change({ kind: "point", x: within(x + dx), y: within(y + dy) });
  };
  const arrows: Readonly<Record<string, readonly [number, number]>> = {
    ArrowLeft: [-0.05, 0],
    ArrowRight: [0.05, 0],
    ArrowUp: [0, -0.05],
    ArrowDown: [0, 0.05],
  };
  return (
    <section class="card maps" aria-label="Attention">
      <button
        type="button"
        class="frame point"
        aria-label="Choose the point: click, or use the arrow keys"
        style={{ aspectRatio: `${request.width} / ${request.height}` }}
        onClick={(event) => {
          if (event.detail === 0) return;
          const box = event.currentTarget.getBoundingClientRect();
          change({
            kind: "point",
            x: (event.clientX - box.left) / box.width,
            y: (event.clientY - box.top) / box.height,
          });
        }}
        onKeyDown={(event) => {
          const way = arrows[event.key];
          if (way === undefined) return;
          event.preventDefault();
          move(way[0], way[1]);
        }}
      >
        <Pixels
          picture={over(found, choice)}
          label={`${kinds[kind]}: ${kind === "word" ? words[word] : stage}, step ${step}`}
        />
        {kind === "point" && <span class="mark" style={{ left: `${100 * x}%`, top: `${100 * y}%` }} />}
      </button>
      <div class="chooser">
        <fieldset class="row" aria-label="What to show">
          {(Object.keys(kinds) as Kind[]).map((one) => (
            <button type="button" key={one} aria-pressed={kind === one} onClick={() => change({ kind: one })}>
              {kinds[one]}
            </button>
          ))}
        </fieldset>
        <p class="hint">{explained[kind]}</p>
        <fieldset class="row">
          <legend class="hint">Word</legend>
          {words.map((one, i) => (
            <button
              type="button"
              key={one}
              aria-pressed={kind === "word" && word === i}
              onClick={() => change({ kind: "word", word: i })}
            >
              {one}
            </button>
          ))}
        </fieldset>
        <fieldset class="row">
          <legend class="hint">Stage</legend>
          {stages.map((one) => (
            <button
              type="button"
              key={one}
              aria-pressed={stage === one}
              onClick={() => change({ stage: one })}
            >
              {one}
            </button>
          ))}
        </fieldset>
        {omitted.length > 0 && (
          <p class="hint">{omitted.join(", ")}: too many tokens to keep for every point at this size.</p>
        )}
        <label class="slider">
          Step {step} of {request.steps}
          <input
            type="range"
            min={1}
            max={request.steps}
            value={step}
            onInput={(event) => change({ step: Number(event.currentTarget.value) })}
          />
        </label>
        <figure class="plain">
          <Pixels picture={found.picture} label={request.prompt} />
          <figcaption class="hint">The picture</figcaption>
        </figure>
      </div>
    </section>
  );
}
