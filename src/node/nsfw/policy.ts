/** What may be done about explicit pictures, and what is recorded of one that was checked. */

export const nsfwPolicies = ["off", "flag", "blur", "refuse"] as const;
export type NsfwPolicy = (typeof nsfwPolicies)[number];

export interface NsfwVerdict {
  /** Package, version and network. */
  readonly by: string;
  /** Likelier explicit than not: hentai and porn together reach one half. */
  readonly isExplicit: boolean;
  /** nsfwjs's five classes; they sum to 1. */
  readonly scores: Readonly<Record<"drawing" | "hentai" | "neutral" | "porn" | "sexy", number>>;
  readonly policy: Exclude<NsfwPolicy, "off">;
}
