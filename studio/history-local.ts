/** Pictures that were drawn here, in IndexedDB; in the page's memory where the browser keeps nothing. */

import type { Request } from "koala-diffusion";
import type { StartFiles } from "koala-diffusion/web";
import { asked, committed, openDatabase } from "./database.ts";
import type { Drawing, History } from "./engines.ts";
import { titleOf } from "./names.ts";

interface Kept {
  readonly id: string;
  readonly model: string;
  readonly request: Request;
  readonly png: Blob;
  readonly start?: StartFiles;
  readonly seconds: number;
  readonly bytes?: number;
  readonly created: number;
  readonly isFavourite: boolean;
  readonly note?: string;
}

const STORE = "drawings";

export interface LocalHistory extends History {
  add(kept: Omit<Kept, "id" | "isFavourite">): Promise<Drawing>;
}

export function localHistory(): LocalHistory {
  const database = openDatabase("koala-studio", STORE, { keyPath: "id" });
  /** What the browser did not keep: it lives as long as the page. */
  const memory = new Map<string, Kept>();
  /** One address a picture, however often it is listed. */
  const urls = new Map<string, string>();

  async function all(): Promise<readonly Kept[]> {
    const db = await database;
    const stored =
      db === null ? [] : await asked(db.transaction(STORE).objectStore(STORE).getAll() as IDBRequest<Kept[]>);
    return [...stored, ...memory.values()];
  }
  /** @throws DOMException QuotaExceededError where a picture is no longer found room for */
  async function put(kept: Kept): Promise<void> {
    const db = await database;
    if (db === null || memory.has(kept.id)) memory.set(kept.id, kept);
    else await committed(db.transaction(STORE, "readwrite").objectStore(STORE).put(kept));
  }
  const shown = ({ png, start: _, ...rest }: Kept): Drawing => {
    const url = urls.get(rest.id) ?? URL.createObjectURL(png);
    urls.set(rest.id, url);
    return { ...rest, url, bytes: rest.bytes ?? null, note: rest.note ?? null };
  };
  const named = async (id: string): Promise<Kept | undefined> => (await all()).find((kept) => kept.id === id);

  return {
    async list(search, onlyFavourites, most) {
      const wanted = search.trim().toLowerCase();
      const found = (await all())
        .filter((kept) => !onlyFavourites || kept.isFavourite)
        .filter(({ request, model }) =>
          `${request.prompt} ${model} ${titleOf(model)}`.toLowerCase().includes(wanted),
        )
        .sort((a, b) => b.created - a.created);
      return { drawings: found.slice(0, most).map(shown), isMore: found.length > most };
    },
    async add(kept) {
      const whole = { ...kept, id: crypto.randomUUID(), isFavourite: false };
      try {
        await put(whole);
        return shown(whole);
      } catch {
        const unkept = { ...whole, note: "not kept, for this browser's storage is full: download it" };
        memory.set(whole.id, unkept); // it may have taken minutes
        return shown(unkept);
      }
    },
    async setFavourite({ id }, isFavourite) {
      const kept = await named(id);
      if (kept !== undefined) await put({ ...kept, isFavourite });
    },
    async remove({ id }) {
      const db = await database;
      if (!memory.delete(id) && db !== null)
        await committed(db.transaction(STORE, "readwrite").objectStore(STORE).delete(id));
      URL.revokeObjectURL(urls.get(id) ?? "");
      urls.delete(id);
    },
    startOf: async ({ id }) => (await named(id))?.start ?? null,
    isKept: async () => (await database) !== null,
  };
}
