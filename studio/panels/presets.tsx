/** Settings under a name: the model's own, a quick draft, a careful picture, and those that people save. */

import type { Form, Studio } from "../state.ts";

function builtIn(studio: Studio): Readonly<Record<string, Form>> {
  const steps = studio.model.value?.defaults?.steps ?? 20;
  return {
    "The model's own": {},
    "Quick draft": { steps: Math.max(1, Math.round(steps / 4)) },
    Careful: { steps: Math.min(1000, steps * 2) },
  };
}

export function Presets({ studio }: { readonly studio: Studio }) {
  const all = { ...builtIn(studio), ...studio.presets.value };
  return (
    <div class="row presets">
      <label>
        <span class="sr">Preset</span>
        <select
          value=""
          onChange={(event) => {
            const { prompt, seed } = studio.form.value;
            const chosen = all[event.currentTarget.value] ?? {};
            studio.use({ ...chosen, prompt, ...(seed === undefined ? {} : { seed }) });
            event.currentTarget.value = "";
          }}
        >
          <option value="">Preset…</option>
          {Object.keys(all).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <button
        type="button"
        onClick={() => {
          const name = prompt("Name of the preset")?.trim();
          if (name !== undefined && name !== "") studio.savePreset(name);
        }}
      >
        Save as preset…
      </button>
    </div>
  );
}
