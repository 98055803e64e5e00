/** Who takes part: our engines and the peers, each in each precision that it has, and a reason for each that cannot. */

import { KoalaError } from "../../core/errors.ts";
import type { Precision } from "../../runtime/session.ts";
import type { Bench, OwnEngine } from "./bench.ts";
import type { Command } from "./child.ts";
import type { Contender, Missing } from "./contest.ts";
import { type PeerName, type PrecisionName, type Python, peers, script, whyNot } from "./peers.ts";
import { quantizedOf, type Subject } from "./subject.ts";

export interface Field {
  readonly contenders: readonly Contender[];
  readonly missing: readonly Missing[];
}

/** One of our engines on the folder whose weights are in that form. */
export interface OwnEntry {
  readonly engine: string;
  /** Of the table. */
  readonly precision: PrecisionName;
  /** Of what is not integers. */
  readonly computes: Precision;
  readonly model: string;
}

/** Weights in integers leave floats between: in bf16 where the engine has it. */
const finest = ({ precisions }: OwnEngine): Precision => (precisions.includes("bf16") ? "bf16" : "f32");

/** Ours, engine by engine. A precision that was not asked for and that an engine has not is passed over. */
export async function ownEntries(
  subject: Subject,
  usual: readonly PrecisionName[],
  b: Bench,
): Promise<{ readonly entries: readonly OwnEntry[]; readonly missing: readonly Missing[] }> {
  const entries: OwnEntry[] = [];
  const missing: Missing[] = [];
  const wanted = subject.format === null ? (b.o.precisions ?? usual) : [subject.format];
  for (const engine of b.engines)
    for (const precision of wanted) {
      const entry = { engine: engine.name, precision };
      if (precision === "f16") continue; // storage only, here
      if (precision === "int8" || precision === "int4") {
        const own = subject.format === precision;
        const model = own ? subject.folder : await quantizedOf(subject, precision, b).catch(reason);
        if (typeof model === "string") entries.push({ ...entry, computes: finest(engine), model });
        else missing.push({ name: ownName(entry), why: model.why });
      } else if (engine.precisions.includes(precision))
        entries.push({ ...entry, computes: precision, model: subject.folder });
      else if (b.o.precisions !== undefined)
        missing.push({
          name: ownName(entry),
          why: `that engine computes in ${engine.precisions.join(", ")} here`,
        });
    }
  return { entries, missing };
}

/** A failure as the reason of one that is missing. */
function reason(error: unknown): { readonly why: string } {
  if (!(error instanceof KoalaError)) throw error;
  return { why: error.got };
}

export const ownName = ({ engine, precision }: Pick<OwnEntry, "engine" | "precision">): string =>
  `koala ${engine} ${precision}`;

export interface PeerEntry {
  readonly peer: PeerName;
  readonly precision: PrecisionName;
  readonly python: Python;
}

/** The peers that were asked for and are here, in each precision of theirs. */
export function peerEntries(
  subject: Subject,
  usual: readonly PrecisionName[],
  b: Bench,
): { readonly entries: readonly PeerEntry[]; readonly missing: readonly Missing[] } {
  const entries: PeerEntry[] = [];
  const missing: Missing[] = [];
  for (const { peer, precision: only } of b.o.against) {
    const { title, precisions } = peers[peer];
    const asked = only === undefined ? (b.o.precisions ?? usual) : [only];
    const wanted = precisions.filter((one) => asked.includes(one));
    if (subject.format !== null) {
      missing.push({ name: title, why: `it cannot read ${subject.format} folders of koala's` });
      continue;
    }
    const lacks = wanted.map((precision) => whyNot(peer, precision, b.python));
    // one sentence for what is missing as a whole
    const first = lacks[0];
    if (first !== undefined && first !== null && lacks.every((why) => why === first)) {
      missing.push({ name: title, why: first });
      continue;
    }
    for (const [i, precision] of wanted.entries()) {
      const why = lacks[i] ?? null;
      if (why !== null) missing.push({ name: peerName({ peer, precision }), why });
      else if (b.python !== null) entries.push({ peer, precision, python: b.python });
    }
  }
  return { entries, missing };
}

export const peerName = ({ peer, precision }: Pick<PeerEntry, "peer" | "precision">): string =>
  `${peers[peer].title} ${precision}`;

/** Parts of a model that OpenVINO's converter is asked for. */
type Part = "unet" | "encoders" | "decoder";

export interface PeerWork {
  readonly subject: Subject;
  readonly parts: readonly Part[];
  command(entry: PeerEntry): Command;
}

/** The peers as contenders, with what OpenVINO needs converted first; where that fails, it is missing with the reason. */
export async function peerField(
  { entries, missing }: ReturnType<typeof peerEntries>,
  work: PeerWork,
  b: Bench,
): Promise<Field> {
  const vino = entries.filter(({ peer }) => peer === "openvino");
  const failed = vino.length === 0 ? null : await convert(vino, work, b);
  const lost = failed === null ? [] : vino.map((entry) => ({ name: peerName(entry), why: failed.why }));
  const contenders = entries
    .filter((entry) => failed === null || entry.peer !== "openvino")
    .map((entry) => ({ name: peerName(entry), isOurs: false, command: work.command(entry) }));
  return { contenders, missing: [...missing, ...lost] };
}

async function convert(
  entries: readonly PeerEntry[],
  { subject, parts }: PeerWork,
  b: Bench,
): Promise<{ readonly why: string } | null> {
  const { python } = entries[0] as PeerEntry;
  const asked = {
    ...{ model: subject.folder, files: convertedFiles(subject), parts },
    precisions: entries.map(({ precision }) => precision),
  };
  b.stage(`lets OpenVINO convert ${subject.name}, once`);
  try {
    await b.run(script(python, peerFolder(b), "openvino_prepare", asked));
    return null;
  } catch (error) {
    return reason(error);
  }
}

export const convertedFiles = ({ files }: Subject): string => `${files}/openvino`;
export const peerFolder = ({ root }: Pick<Bench, "root">): string => `${root}/scripts/peers`;

/** What OpenVINO's own contender computes in where its layers are not integers, as ours does. */
export const peerFloats = ({ engines }: Bench): Precision => {
  const ours = engines.find(({ name }) => name === "openvino");
  return ours === undefined ? "bf16" : finest(ours);
};
