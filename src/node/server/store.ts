/**
 * What outlives the server: jobs and settings in SQLite, pictures as files beside it. A job is on the disk before its
 * client hears of it, and every change of state is one statement that says which state it leaves, so nothing ends twice.
 */

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import Database from "libsql";
import { KoalaError } from "../../core/errors.ts";
import { makeFolder, writeAtomically } from "../files.ts";
import type { Job, JobError, JobPicture, JobState } from "./job.ts";
import type { StartPngs } from "./start-pictures.ts";

const tables = `
create table if not exists jobs (
  id text primary key, owner text not null, client text not null, awaited integer not null, model text not null,
  request text not null, prompt text not null, state text not null, favourite integer not null default 0,
  created integer not null, started integer, ended integer, error text, folded text,
  tries integer not null default 0
);
create index if not exists jobs_by_time on jobs (owner, created);
create index if not exists jobs_by_state on jobs (state);
create table if not exists pictures (
  job text not null, number integer not null, seed integer not null, facts text, favourite integer,
  primary key (job, number)
);
create table if not exists starts (job text primary key, image blob not null, mask blob);
create table if not exists settings (owner text primary key, value text not null);
`;

/** Adds a column to a folder of before it was there. */
function addColumn(db: Database.Database, table: string, column: string, type: string): void {
  const columns = db.prepare(`select name from pragma_table_info('${table}')`).all() as { name: string }[];
  if (!columns.some(({ name }) => name === column))
    db.exec(`alter table ${table} add column ${column} ${type}`);
}

/** A prompt as it is searched: SQLite's lower() knows no letters but ASCII's, and one letter may be written in two ways. */
const folded = (text: string): string => text.normalize("NFC").toLowerCase();

/** Those that came before they were folded, or with a version that did not. */
function foldPrompts(db: Database.Database): void {
  const jobs = db.prepare("select id, prompt from jobs where folded is null").all() as {
    readonly id: string;
    readonly prompt: string;
  }[];
  if (jobs.length === 0) return;
  const keep = db.prepare("update jobs set folded = ? where id = ?");
  db.exec("begin");
  for (const { id, prompt } of jobs) keep.run(folded(prompt), id);
  db.exec("commit");
}

/** Of the tables; another one is refused. */
const format = 1;

/** A job with what it starts from, which is asked with it and not once a job: whether that has a mask, null for noise. */
const selectJobs =
  "select *, (select mask is not null from starts where job = jobs.id) as startHasMask from jobs where";

/** Of a row of jobs. */
const hasFavourite =
  "(favourite = 1 or exists (select 1 from pictures where job = jobs.id and pictures.favourite = 1))";

interface Row {
  readonly id: string;
  readonly owner: string;
  readonly client: string;
  readonly awaited: number;
  readonly model: string;
  readonly request: string;
  readonly state: JobState;
  readonly favourite: number;
  readonly created: number;
  readonly started: number | null;
  readonly ended: number | null;
  readonly error: string | null;
  readonly tries: number;
  readonly startHasMask: number | null;
}

interface PictureRow {
  readonly number: number;
  readonly seed: number;
  readonly facts: string | null;
  /** Null: as its job. */
  readonly favourite: number | null;
}

/** Which jobs a list shows, newest first. */
export interface JobFilter {
  readonly owner: string;
  /** Created before this, in milliseconds since 1970: the next page of a list. */
  readonly before?: number | undefined;
  readonly limit: number;
  /** Part of the prompt. */
  readonly search?: string | undefined;
  readonly state?: JobState | undefined;
  /** Marked itself, or with a picture that is. */
  readonly isFavourite?: boolean | undefined;
}

const unreadable = (folder: string, cause: unknown): KoalaError =>
  new KoalaError("E_OUTPUT", {
    where: folder,
    expected: "a data folder that no other server uses",
    got:
      (cause as { code?: string }).code === "SQLITE_BUSY" ? "one in use" : String((cause as Error).message),
    hint: "One server a folder: stop the other one, or give this one its own with --data DIR.",
    cause,
  });

export class Store {
  private readonly db: Database.Database;
  private readonly folder: string;
  private readonly statements = new Map<string, Database.Statement>();

  private constructor(db: Database.Database, folder: string) {
    this.db = db;
    this.folder = folder;
  }

  /** Opens the folder, or makes it. @throws KoalaError E_OUTPUT when it cannot be written or a server uses it, E_CONFIG */
  static async open(folder: string): Promise<Store> {
    await makeFolder(folder, { mayHaveFiles: true });
    await makeFolder(join(folder, "pictures"), { mayHaveFiles: true });
    let db: Database.Database;
    let found: number;
    try {
      db = new Database(join(folder, "koala.db"), { timeout: 1000 });
      db.pragma("journal_mode = WAL");
      db.pragma("locking_mode = EXCLUSIVE"); // two servers would both run the same jobs
      db.pragma("synchronous = FULL"); // an accepted job survives a power cut too
      db.exec(tables);
      addColumn(db, "pictures", "facts", "text");
      addColumn(db, "pictures", "favourite", "integer");
      addColumn(db, "jobs", "folded", "text");
      addColumn(db, "jobs", "tries", "integer not null default 0");
      foldPrompts(db);
      db.exec("create table if not exists format (number integer)");
      const row = db.prepare("select number from format").get() as { number: number } | undefined;
      if (row === undefined) db.prepare("insert into format values (?)").run(format);
      found = row?.number ?? format;
    } catch (cause) {
      throw unreadable(folder, cause);
    }
    if (found !== format)
      throw new KoalaError("E_CONFIG", {
        where: folder,
        expected: `a data folder of format ${format}`,
        got: `format ${found}`,
      });
    return new Store(db, folder);
  }

  /** Lets go of the folder. libsql keeps the file open until its statements are collected, so the lock is given back first. */
  close(): void {
    try {
      this.db.pragma("journal_mode = DELETE"); // in WAL the lock would stay
      this.db.pragma("locking_mode = NORMAL");
      this.db.prepare("select number from format").get(); // gives it back
    } finally {
      this.db.close();
    }
  }

  private sql(text: string): Database.Statement {
    let statement = this.statements.get(text);
    if (statement === undefined) {
      statement = this.db.prepare(text);
      this.statements.set(text, statement);
    }
    return statement;
  }

  /** Rows that a statement changed. @throws KoalaError E_DISK */
  private change(text: string, ...values: readonly (string | number | Uint8Array | null)[]): number {
    try {
      return this.sql(text).run(...values).changes;
    } catch (cause) {
      if ((cause as { code?: string }).code !== "SQLITE_FULL") throw cause;
      throw new KoalaError("E_DISK", {
        where: this.folder,
        expected: "room on the disk",
        got: "none",
        hint: "Pictures that are removed from the gallery make some.",
        cause,
      });
    }
  }

  /** With what it starts from: both are kept, or neither. @throws KoalaError E_DISK */
  add(job: Job, start: StartPngs | null = null): void {
    const { id, owner, client, isAwaited, model, request, state, created } = job;
    if (start !== null) this.change("insert into starts values (?, ?, ?)", id, start.image, start.mask);
    this.change(
      "insert into jobs (id, owner, client, awaited, model, request, prompt, folded, state, created) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      ...[id, owner, client, isAwaited ? 1 : 0, model, JSON.stringify(request)],
      ...[request.prompt, folded(request.prompt), state, created],
    );
  }

  /** What a job starts from; null: noise. */
  startOf(id: string): StartPngs | null {
    const row = this.sql("select image, mask from starts where job = ?").get(id) as StartPngs | undefined;
    return row ?? null;
  }

  get(id: string): Job | null {
    const row = this.sql(`${selectJobs} id = ?`).get(id) as Row | undefined;
    return row === undefined ? null : this.jobOf(row);
  }

  list({ owner, before, limit, search, state, isFavourite }: JobFilter): Job[] {
    const clauses: [string, unknown][] = [["owner = ?", owner]];
    if (before !== undefined) clauses.push(["created < ?", before]);
    if (state !== undefined) clauses.push(["state = ?", state]);
    if (isFavourite !== undefined) clauses.push([`${hasFavourite} = ?`, isFavourite ? 1 : 0]);
    if (search !== undefined) clauses.push(["instr(folded, ?) > 0", folded(search)]);
    const where = clauses.map(([clause]) => clause).join(" and ");
    const rows = this.sql(`${selectJobs} ${where} order by created desc, rowid desc limit ?`).all(
      ...clauses.map(([, value]) => value),
      limit,
    ) as Row[];
    return rows.map((row) => this.jobOf(row));
  }

  /** What was running at a crash first, then what waited, in the order of arrival. */
  unfinished(): Job[] {
    const rows = this.sql(
      `${selectJobs} state in ('running', 'waiting') order by state, created, rowid`,
    ).all() as Row[];
    return rows.map((row) => this.jobOf(row));
  }

  /** waiting → running, a try more: it is counted before anything can die of it. False when it was cancelled meanwhile. */
  start(id: string, now: number): boolean {
    const change =
      "update jobs set state = 'running', started = ?, tries = tries + 1 where id = ? and state = 'waiting'";
    return this.change(change, now, id) === 1;
  }

  /** running → waiting: its turn ended without a result, and it shall have another. Was that one a try, or cut short? */
  putBack(id: string, isTry = true): boolean {
    const change =
      "update jobs set state = 'waiting', started = null, tries = tries - ? where id = ? and state = 'running'";
    return this.change(change, isTry ? 0 : 1, id) === 1;
  }

  /** Ends a job that has not ended; false when it has. This is where a second result is turned away. */
  end(
    id: string,
    state: "done" | "failed" | "cancelled",
    now: number,
    error: JobError | null = null,
  ): boolean {
    const change =
      "update jobs set state = ?, ended = ?, error = ? where id = ? and state in ('waiting', 'running')";
    const said = error === null ? null : JSON.stringify(error);
    return this.change(change, state, now, said, id) === 1;
  }

  /** Keeps a picture of a running job: first its file, then its row. False when it was there already. */
  async addPicture(id: string, { index, seed, ...facts }: JobPicture, png: Uint8Array): Promise<boolean> {
    await writeAtomically(this.pathOf(id, index), png);
    const insert =
      "insert or ignore into pictures (job, number, seed, facts) select id, ?, ?, ? from jobs where id = ? and state = 'running'";
    if (this.change(insert, index, seed, JSON.stringify(facts), id) === 1) return true;
    const isKept = this.sql("select 1 from pictures where job = ? and number = ?").get(id, index);
    if (isKept === undefined) await rm(this.pathOf(id, index), { force: true }); // its job was cancelled
    return false;
  }

  /** The PNG; null where there is none. Only names that the store itself gave lead to a file. */
  async picture(id: string, index: number): Promise<Uint8Array<ArrayBuffer> | null> {
    const row = this.sql("select job from pictures where job = ? and number = ?").get(id, index) as
      | { job: string }
      | undefined;
    if (row === undefined) return null;
    return readFile(this.pathOf(row.job, index)).then(
      (bytes) => new Uint8Array(bytes),
      () => null, // someone took the file away by hand
    );
  }

  /** Of a job and all its pictures. */
  setFavourite(id: string, isFavourite: boolean): void {
    this.change("update jobs set favourite = ? where id = ?", isFavourite ? 1 : 0, id);
    this.change("update pictures set favourite = null where job = ?", id);
  }

  /** Of one picture, whatever its job is. False where the job has none of that number. */
  setPictureFavourite(id: string, index: number, isFavourite: boolean): boolean {
    const change = "update pictures set favourite = ? where job = ? and number = ?";
    return this.change(change, isFavourite ? 1 : 0, id, index) === 1;
  }

  /** Takes a job that is over out of the history, with its pictures: files first, whose room a full disk needs. */
  async remove(job: Job): Promise<void> {
    for (const { index } of job.pictures) await rm(this.pathOf(job.id, index), { force: true });
    this.change("delete from pictures where job = ?", job.id);
    this.change("delete from starts where job = ?", job.id);
    this.change("delete from jobs where id = ?", job.id);
  }

  /** One picture of a job that is over; the job goes with its last one. False where it has none of that number. */
  async removePicture(id: string, index: number): Promise<boolean> {
    const one = "from pictures where job = ? and number = ?";
    if (this.sql(`select 1 ${one}`).get(id, index) === undefined) return false;
    await rm(this.pathOf(id, index), { force: true });
    this.change(`delete ${one}`, id, index);
    const isLast = "id = ? and not exists (select 1 from pictures where job = jobs.id)";
    if (this.change(`delete from jobs where ${isLast}`, id) === 1)
      this.change("delete from starts where job = ?", id);
    return true;
  }

  settings(owner: string): unknown {
    const row = this.sql("select value from settings where owner = ?").get(owner) as
      | { value: string }
      | undefined;
    return row === undefined ? {} : JSON.parse(row.value);
  }

  saveSettings(owner: string, value: unknown): void {
    this.change("insert or replace into settings values (?, ?)", owner, JSON.stringify(value));
  }

  private pathOf(id: string, index: number): string {
    return join(this.folder, "pictures", `${id}-${index}.png`);
  }

  private jobOf(row: Row): Job {
    const { id, owner, client, model, state, created, started, ended, tries } = row;
    const pictures = this.sql(
      "select number, seed, facts, favourite from pictures where job = ? order by number",
    ).all(id) as PictureRow[];
    return {
      ...{ id, owner, client, model, state, created, started, ended, tries },
      isAwaited: row.awaited === 1,
      isFavourite: row.favourite === 1,
      request: JSON.parse(row.request) as Job["request"],
      start: row.startHasMask === null ? null : { hasMask: row.startHasMask === 1 },
      error: row.error === null ? null : (JSON.parse(row.error) as JobError),
      pictures: pictures.map(({ number, seed, facts, favourite }) => ({
        ...{ index: number, seed, isFavourite: (favourite ?? row.favourite) === 1 },
        ...(JSON.parse(facts ?? "{}") as Omit<JobPicture, "index" | "seed">),
      })),
    };
  }
}
