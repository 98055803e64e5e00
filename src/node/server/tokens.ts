/**
 * What `--token` says: a secret, or a name and a secret. Jobs, settings and a turn in the queue belong to the name, so a
 * secret can be replaced; those of a secret without a name go with it, but for the first one's.
 */

import { createHash } from "node:crypto";
import { check } from "../../core/assert.ts";

/** Who knows a secret. */
export interface Holder {
  /** Under which the store keeps what is theirs; "" is also that of a server without tokens. */
  readonly owner: string;
  readonly secret: string;
}

/** NAME=SECRET; what it does not match is a secret whole. So is base64: behind its "=" there is nothing, or another one. */
const named = /^([A-Za-z0-9_-]{1,32})=([^=].*)$/;

export const hash = (text: string): Buffer => createHash("sha256").update(text).digest();

/** The first one that is there a second time. */
const repeated = (all: readonly string[]): string | undefined => all.find((one, i) => all.indexOf(one) !== i);

/**
 * In the order of the flags. The first secret without a name has the owner "", whatever others there are; further ones have
 * the beginning of their hash.
 * @throws KoalaError E_FLAG for what no header can carry, and for a name or a secret that is there twice
 */
export function holdersOf(tokens: readonly string[]): readonly Holder[] {
  for (const token of tokens)
    check(/^[\x21-\x7e]+$/.test(token), "E_FLAG", () => ({
      where: "--token",
      expected: "printable letters without spaces",
      got: token === "" ? "nothing" : "others",
    }));
  const first = tokens.find((token) => !named.test(token));
  const holders = tokens.map((token): Holder => {
    const [, name, secret] = named.exec(token) ?? [];
    if (name !== undefined && secret !== undefined) return { owner: name, secret };
    return { owner: token === first ? "" : hash(token).toString("hex").slice(0, 16), secret: token };
  });
  const isSecretTwice = repeated(holders.map(({ secret }) => secret)) !== undefined;
  const owner = repeated(holders.map((holder) => holder.owner)); // also a name that is another one's hash
  check(!isSecretTwice && owner === undefined, "E_FLAG", () => ({
    where: "--token",
    expected: "names and secrets that differ",
    got: isSecretTwice ? "a secret twice" : `${owner} twice`,
  }));
  return holders;
}
