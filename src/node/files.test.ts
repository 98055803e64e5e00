import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkWritable, makeFolder, openFile, openFolder, writeAtomically } from "./files.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "koala-files-"));
});
afterEach(() => rm(home, { recursive: true }));

const errorOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "no error",
    (error) => error.message.replaceAll(home, "HOME"),
  );

describe("a folder as a model's files", () => {
  test("lists files in it and below, hidden ones and broken links left out", async () => {
    await mkdir(join(home, "m/unet"), { recursive: true });
    await mkdir(join(home, "m/.cache"));
    for (const name of ["m/model_index.json", "m/unet/config.json", "m/.cache/x", "m/.hidden"])
      await writeFile(join(home, name), "abc");
    await symlink("nothing", join(home, "m/broken"));
    const files = await openFolder(join(home, "m"));
    expect(await files.list()).toEqual(["model_index.json", "unet/config.json"]);
    expect(await files.size("unet/config.json")).toBe(3);
    expect(Buffer.from(await files.read("unet/config.json", 1, 3)).toString()).toBe("bc");
  });

  test("gives the real path behind the links of a hub cache, for engines that refuse links", async () => {
    await mkdir(join(home, "blobs"));
    await mkdir(join(home, "snapshots/1/unet"), { recursive: true });
    await writeFile(join(home, "blobs/abc"), "data");
    await symlink("../../../blobs/abc", join(home, "snapshots/1/unet/model.safetensors"));
    const files = await openFolder(join(home, "snapshots/1"));
    expect(await files.list()).toEqual(["unet/model.safetensors"]);
    expect(files.localPath("unet/model.safetensors")).toBe(join(home, "blobs/abc"));
    expect(files.localPath("unet/none")).toBeNull();
  });

  test("follows links of folders without walking in circles", async () => {
    await mkdir(join(home, "m"));
    await writeFile(join(home, "m/a.json"), "");
    await symlink(".", join(home, "m/self"));
    const paths = await (await openFolder(join(home, "m"))).list();
    expect(paths).toEqual(["a.json", "self/a.json", "self/self/a.json", "self/self/self/a.json"]);
  });

  test("that is missing is named, with the nearest that is there", async () => {
    await mkdir(join(home, "koala-700m"));
    expect(await errorOf(openFolder(join(home, "koala-700n")))).toBe(
      "HOME/koala-700n: expected a folder, got no such file or folder [E_FILE]\nDid you mean HOME/koala-700m?",
    );
    expect(await errorOf(openFolder(join(home, "zebra/x")))).toBe(
      "HOME/zebra/x: expected a folder, got no such file or folder [E_FILE]",
    );
  });

  test("of far too many files is no model", async () => {
    await Promise.all(Array.from({ length: 1001 }, (_, i) => writeFile(join(home, `${i}`), "")));
    expect(await errorOf((await openFolder(home)).list())).toBe(
      "HOME: expected a model folder of at most 1000 files, got more [E_FILE]",
    );
  });

  test("that is a file is named", async () => {
    await writeFile(join(home, "a"), "");
    expect(await errorOf(openFolder(join(home, "a")))).toBe("HOME/a: expected a folder, got a file [E_FILE]");
  });

  test.skipIf(process.getuid?.() === 0)("that may not be read is named", async () => {
    await mkdir(join(home, "locked"), { mode: 0 });
    expect(await errorOf(openFolder(join(home, "locked")))).toBe(
      "HOME/locked: expected a folder, got no permission [E_FILE]",
    );
  });

  test("does not let paths out, and names files that are missing or short", async () => {
    await mkdir(join(home, "m"));
    await writeFile(join(home, "m/a"), "abc");
    const files = await openFolder(join(home, "m"));
    for (const path of ["../secret", "/etc/passwd", ".."]) {
      expect(await errorOf(files.read(path, 0, 1))).toBe(
        `HOME/m: expected paths inside the model's folder, got ${path} [E_FILE]`,
      );
    }
    expect(await errorOf(files.size("b"))).toBe(
      "HOME/m/b: expected a file, got no such file or folder [E_FILE]",
    );
    expect(await errorOf(files.read("b", 0, 1))).toBe(
      "HOME/m/b: expected a file that can be read, got no such file or folder [E_FILE]",
    );
    expect(await errorOf(files.read("a", 0, 4))).toBe("HOME/m/a: expected at least 4 bytes, got 3 [E_FILE]");
  });
});

test("a single file is a model of one file", async () => {
  await writeFile(join(home, "x.safetensors"), "abc");
  await writeFile(join(home, "y.safetensors"), "abc");
  const files = await openFile(join(home, "x.safetensors"));
  expect(await files.list()).toEqual(["x.safetensors"]);
  expect(files.localPath("x.safetensors")).toBe(join(home, "x.safetensors"));
  expect(await errorOf(openFile(join(home, "z")))).toBe(
    "HOME/z: expected a file, got no such file or folder [E_FILE]",
  );
  expect(await errorOf(openFile(home))).toBe("HOME: expected a file, got a folder [E_FILE]");
});

describe("writing", () => {
  test("takes text, bytes or pieces, and replaces what was there", async () => {
    const path = join(home, "out.bin");
    await writeAtomically(path, "old");
    await writeAtomically(path, Uint8Array.of(65));
    expect(await readFile(path, "utf8")).toBe("A");
    await writeAtomically(
      path,
      (async function* () {
        yield Uint8Array.of(66);
        yield Uint8Array.of(67);
      })(),
    );
    expect(await readFile(path, "utf8")).toBe("BC");
    expect(await readdir(home)).toEqual(["out.bin"]);
  });

  const failing = async function* (error: Error): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1);
    throw error;
  };

  test("that fails leaves the old file and nothing else", async () => {
    const path = join(home, "out.bin");
    await writeAtomically(path, "old");
    expect(await errorOf(writeAtomically(path, failing(new Error("stopped"))))).toBe("stopped");
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(home)).toEqual(["out.bin"]);
  });

  test("to a full disk says so", async () => {
    const full = Object.assign(new Error("write"), { code: "ENOSPC" });
    expect(await errorOf(writeAtomically(join(home, "out.bin"), failing(full)))).toBe(
      "HOME/out.bin: expected room on the disk, got a full disk [E_DISK]\nFree some space, or write somewhere else.",
    );
    expect(await readdir(home)).toEqual([]);
  });

  test("to a folder that is not there, or not a folder, is known beforehand", async () => {
    const message =
      "HOME/no/out.png: expected a folder HOME/no to write into, got no such file or folder [E_OUTPUT]\nMake it first: mkdir -p HOME/no";
    expect(await errorOf(checkWritable(join(home, "no/out.png")))).toBe(message);
    expect(await errorOf(writeAtomically(join(home, "no/out.png"), ""))).toBe(message);
    await writeFile(join(home, "file"), "");
    expect(await errorOf(checkWritable(join(home, "file/out.png")))).toBe(
      "HOME/file/out.png: expected a file that can be written, got a file in a folder's place [E_OUTPUT]",
    );
    expect(await errorOf(checkWritable(home))).toBe(
      "HOME: expected a file name to write to, got a folder [E_OUTPUT]\nGive a file in it: HOME/image.png",
    );
  });

  test("that will work leaves nothing behind when it is checked", async () => {
    await checkWritable(join(home, "out.png"));
    expect(await readdir(home)).toEqual([]);
    await writeFile(join(home, "out.png"), "old");
    await checkWritable(join(home, "out.png"));
    expect(await readFile(join(home, "out.png"), "utf8")).toBe("old");
  });
});

test("a new folder is made with those above it, and must be empty", async () => {
  await makeFolder(join(home, "a/b"));
  await writeFile(join(home, "a/b/c"), "");
  expect(await errorOf(makeFolder(join(home, "a/b")))).toBe(
    "HOME/a/b: expected an empty folder, or none yet, got 1 files, such as c [E_OUTPUT]",
  );
  await makeFolder(join(home, "a/b"), { mayHaveFiles: true });
  expect(await errorOf(makeFolder(join(home, "a/b/c")))).toBe(
    "HOME/a/b/c: expected a folder, got a file in a folder's place [E_OUTPUT]",
  );
});
