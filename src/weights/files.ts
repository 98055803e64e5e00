/** The files of a model, wherever they lie: a folder here, an origin-private file system in a browser. */
export interface ModelFiles {
  /** What to call it in messages: the path or the hub id. */
  readonly location: string;
  /** Paths of all files, relative, with `/`. */
  list(): Promise<readonly string[]>;
  /** @throws KoalaError E_FILE */
  size(path: string): Promise<number>;
  /** Bytes from `start` up to, not including, `end`. @throws KoalaError E_FILE when the file ends sooner */
  read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  /** The absolute path that an engine may map, or null where there is none. */
  localPath(path: string): string | null;
}
