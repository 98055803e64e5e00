/** The request's fields as a form, made from its schema; what is left open is the model's. */

import { listFromText, type RequestField } from "koala-diffusion";
import { maskFields } from "koala-diffusion/web";
import { useRef } from "preact/hooks";
import type { Studio } from "../state.ts";

/** "guidanceRescale" → "Guidance rescale". */
export const labelOf = (key: string): string => {
  const words = key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words[0]?.toUpperCase() + words.slice(1);
};

const elsewhere = ["prompt", "negativePrompt", "strength", ...maskFields, "preview"];
const common = ["steps", "guidance", "width", "height", "seed", "count", "scheduler"];

export function Settings({ studio }: { readonly studio: Studio }) {
  const fields = studio.fields.filter(({ key }) => !elsewhere.includes(key));
  const isCommon = ({ key }: RequestField): boolean => common.includes(key);
  return (
    <>
      <div class="fields">
        {fields.filter(isCommon).map((field) => (
          <Field key={field.key} field={field} studio={studio} />
        ))}
      </div>
      <details>
        <summary>More settings</summary>
        <div class="fields">
          {fields
            .filter((field) => !isCommon(field))
            .map((field) => (
              <Field key={field.key} field={field} studio={studio} />
            ))}
        </div>
      </details>
    </>
  );
}

/** What one of a few words may be here: of the precisions, those that the model has. */
export const choicesOf = ({ key, choices }: RequestField, studio: Studio): readonly string[] =>
  key === "precision" ? (studio.model.value?.precisions ?? choices) : choices;

/** In place of a value that neither the request nor the model says; of other fields it is the model's own. */
const unsaid: Readonly<Record<string, string>> = {
  ...{ seed: "random", paddingMaskCrop: "whole picture", maskedContent: "original" },
};

function defaultOf(field: RequestField, studio: Studio): string {
  if (field.key === "precision") return choicesOf(field, studio)[0] ?? "";
  const value = studio.usual.value[field.key] ?? field.fallback;
  return value === undefined ? (unsaid[field.key] ?? "model's own") : String(value);
}

export function Field({ field, studio }: { readonly field: RequestField; readonly studio: Studio }) {
  const { key, description, allowed, kind } = field;
  const problem = studio.problem.value?.field === key ? studio.problem.value : null;
  const noteId = `${key}-note`;
  return (
    <div class={`field ${kind}`}>
      <label for={key} title={`${description}: ${allowed}`}>
        {labelOf(key)}
      </label>
      <Control field={field} studio={studio} noteId={noteId} isWrong={problem !== null} />
      <p id={noteId} class={problem === null ? "sr" : "wrong"}>
        {problem === null ? `${description}: ${allowed}` : `${problem.message}. ${problem.hint ?? ""}`}
      </p>
    </div>
  );
}

interface ControlProps {
  readonly field: RequestField;
  readonly studio: Studio;
  readonly noteId: string;
  readonly isWrong: boolean;
}

function Control({ field, studio, noteId, isWrong }: ControlProps) {
  const { key, kind } = field;
  const value = studio.form.value[key];
  const usual = defaultOf(field, studio);
  const aria = { id: key, name: key, "aria-describedby": noteId, "aria-invalid": isWrong };
  switch (kind) {
    case "choice":
      return (
        <select
          {...aria}
          value={String(value ?? "")}
          onChange={(e) => studio.set(key, e.currentTarget.value)}
        >
          <option value="">{usual} (default)</option>
          {choicesOf(field, studio).map((choice) => (
            <option key={choice}>{choice}</option>
          ))}
        </select>
      );
    case "switch":
      return (
        <input
          {...aria}
          type="checkbox"
          checked={value === true}
          onChange={(e) => studio.set(key, e.currentTarget.checked)}
        />
      );
    case "size":
    case "offset":
      return <Pair field={field} studio={studio} noteId={noteId} isWrong={isWrong} />;
    case "list":
      return <ListBox field={field} studio={studio} noteId={noteId} isWrong={isWrong} />;
    case "text":
      return (
        <textarea
          {...aria}
          rows={2}
          value={String(value ?? "")}
          placeholder={usual}
          onInput={(e) => studio.set(key, e.currentTarget.value)}
        />
      );
    default:
      return <NumberBox field={field} studio={studio} noteId={noteId} isWrong={isWrong} />;
  }
}

function NumberBox({ field, studio, noteId, isWrong }: ControlProps) {
  const { key, least, most, multipleOf } = field;
  const box = useRef<HTMLInputElement>(null);
  const value = studio.form.value[key];
  const typed = box.current?.value ?? "";
  const isTyped = typed !== "" && Number(typed) === value; // "7.0", on the way to "7.05", is left as it is
  return (
    <input
      {...{ id: key, name: key, "aria-describedby": noteId, "aria-invalid": isWrong }}
      ref={box}
      type="number"
      inputMode="decimal"
      placeholder={defaultOf(field, studio)}
      min={least}
      max={most}
      step={multipleOf ?? "any"}
      value={isTyped ? typed : value === undefined ? "" : String(value)}
      onInput={(e) =>
        studio.set(key, e.currentTarget.value === "" ? undefined : Number(e.currentTarget.value))
      }
    />
  );
}

/** Numbers with commas between them. */
function ListBox({ field, studio, noteId, isWrong }: ControlProps) {
  const { key } = field;
  const box = useRef<HTMLInputElement>(null);
  const value = studio.form.value[key];
  const typed = box.current?.value ?? "";
  const isTyped = String(listFromText(typed)) === String(value); // "999, " on its way is left as it is
  return (
    <input
      {...{ id: key, name: key, "aria-describedby": noteId, "aria-invalid": isWrong }}
      ref={box}
      type="text"
      placeholder={defaultOf(field, studio)}
      value={isTyped ? typed : Array.isArray(value) ? value.join(", ") : String(value ?? "")}
      onInput={(e) => studio.set(key, listFromText(e.currentTarget.value))}
    />
  );
}

/** Two numbers that are given together, or neither. */
function Pair({ field: { key, kind, least, most }, studio, noteId, isWrong }: ControlProps) {
  const names = kind === "size" ? ["width", "height"] : ["left", "top"];
  const value = (studio.form.value[key] ?? {}) as Readonly<Record<string, number>>;
  const put = (name: string, text: string): void => {
    const { [name]: _, ...rest } = value;
    const next = text === "" ? rest : { ...rest, [name]: Number(text) };
    studio.set(key, Object.keys(next).length === 0 ? undefined : next);
  };
  return (
    <span class="pair">
      {names.map((name, i) => (
        <input
          key={name}
          {...(i === 0 ? { id: key } : {})}
          type="number"
          aria-label={`${labelOf(key)}: ${name}`}
          aria-describedby={noteId}
          aria-invalid={isWrong}
          placeholder={name}
          min={least}
          max={most}
          value={value[name] === undefined ? "" : String(value[name])}
          onInput={(e) => put(name, e.currentTarget.value)}
        />
      ))}
    </span>
  );
}
