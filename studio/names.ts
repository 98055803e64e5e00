/** Names of models: in addresses, and for people. */

/** As the end of an address's path: a folder's name may have what means something else there. */
export const inAddress = (name: string): string => name.split("/").map(encodeURIComponent).join("/");

/** The folder's own name, of a name that is an address; the last part of a hub id. */
export function titleOf(name: string): string {
  const last = name.split("/").filter(Boolean).at(-1) ?? name;
  try {
    return decodeURIComponent(last);
  } catch {
    return last; // a % that escapes nothing
  }
}
