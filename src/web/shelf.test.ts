/** The shelf in an origin-private file system that is a stand-in: a real one is in test/browser. */

import { expect, it, vi } from "vitest";
import { opfsShelf } from "./shelf.ts";

class FakeFile {
  /** As a browser does while another tab has the file. */
  async createSyncAccessHandle(): Promise<never> {
    throw new DOMException("in use", "NoModificationAllowedError");
  }
}

const folder = { getDirectoryHandle: async () => folder, getFileHandle: async () => new FakeFile() };

it("tells a file that another tab writes apart from one that is wrong", async () => {
  vi.stubGlobal("FileSystemFileHandle", FakeFile);
  vi.stubGlobal("navigator", { storage: { getDirectory: async () => folder } });
  const shelf = await opfsShelf();
  const expected = { size: 1, hash: { kind: "sha256", hex: "" } } as const;
  await expect(shelf?.grow("/models/x", "unet/x.safetensors", expected)).rejects.toThrow(
    "/models/x/unet/x.safetensors: expected a file that only this page writes, got one that another tab is writing [E_CONFLICT]\nLet that tab finish, or close it.",
  );
});
