/**
 * The picture to start from over a reload, with what is painted on it: in IndexedDB, for it is too large for `remember.ts`. Where the
 * browser keeps none, the page forgets it. As with what is typed, the tab that changed something last is the one that is kept.
 */

import type { StartFiles } from "koala-diffusion/web";
import { asked, committed, openDatabase } from "./database.ts";
import type { Stroke } from "./mask.ts";

export interface KeptStart {
  /** Of a picture as it was put: another one has another. */
  readonly id: number;
  readonly files: StartFiles;
  /** Null stands for the mask of the files. */
  readonly marks: readonly (Stroke | null)[];
}

export interface StartKeeper {
  read(): Promise<KeptStart | null>;
  /** Keeps this one in place of another; null: none. What comes while it writes is written after that, only the last of it. */
  keep(start: KeptStart | null): void;
}

/** The one store; in it the files are one record and the marks another, which every stroke writes anew. */
const STORE = "start";

export function startKeeper(): StartKeeper {
  const database = openDatabase("koala-start", STORE);
  let wanted: KeptStart | null = null;
  let isWriting = false;

  async function write(start: KeptStart | null): Promise<void> {
    const db = await database;
    if (db === null) return;
    const store = db.transaction(STORE, "readwrite").objectStore(STORE);
    if (start === null) return committed(store.clear());
    const { id, files, marks } = start;
    const before = await asked(store.get("files") as IDBRequest<Pick<KeptStart, "id"> | undefined>);
    if (before?.id !== id) store.put({ id, files }, "files");
    await committed(store.put(marks, "marks"));
  }

  async function writeAll(): Promise<void> {
    isWriting = true;
    for (let done: KeptStart | null | undefined; done !== wanted; ) {
      done = wanted;
      // what finds no room is forgotten, and the one before it too: it is not the page's any more
      await write(done).catch(() => write(null).catch(() => {}));
    }
    isWriting = false;
  }

  return {
    async read() {
      const db = await database;
      if (db === null) return null;
      const store = db.transaction(STORE).objectStore(STORE);
      const [files, marks] = await Promise.all([asked(store.get("files")), asked(store.get("marks"))]);
      return files === undefined || marks === undefined ? null : { ...files, marks };
    },
    keep(start) {
      wanted = start;
      if (!isWriting) void writeAll();
    },
  };
}
