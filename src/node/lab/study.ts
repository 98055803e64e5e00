/** What a study is: arms that differ in what is asked, and the models and data that they rest on. Data alone; `work.ts` runs it. */

import type { Keep } from "../../train/distill/layers.ts";

export const studyNames = [
  "kd-features",
  "kd-layers",
  "bk-vs-koala",
  "data",
  "teacher",
  "pcm",
  "dit-kd",
] as const;
export type StudyName = (typeof studyNames)[number];

/** The teacher that the study was given, or what the study makes, by its name: "@teacher", "@student". */
export type Ref = `@${string}`;

/** Fields of a run as a file of `koala distill` has them; a text that begins with @ is a `Ref`. */
export type Fields = Readonly<Record<string, unknown>>;

/** A model that arms rest on, made once, before them and in this order. */
export interface Made {
  readonly name: string;
  readonly how:
    | {
        readonly kind: "cut";
        /** As `koala cut --student` takes it. */
        readonly rule: string;
        readonly keep: Keep;
        /** Most transformer blocks of a layer. */
        readonly depth?: number;
      }
    | { readonly kind: "run"; readonly fields: Fields };
}

/** The study's data in another form: some of its pictures, smaller, with captions of one kind. */
export interface Variant {
  readonly name: string;
  /** One picture in so many. */
  readonly every: number;
  /** By what its sides are divided. */
  readonly shrink: number;
  /** Of all captions of a picture the one of the fewest words, or of the most. */
  readonly captions: "short" | "rich";
}

/** How pictures are drawn, where it is not the model's own way. */
export interface Draw {
  readonly steps?: number;
  readonly guidance?: number;
}

export interface Arm {
  /** Of its folder. */
  readonly name: string;
  /** What distinguishes it, by column. */
  readonly factors: Readonly<Record<string, string>>;
  /** The run whose result is judged, once a seed; or a model that is judged as it is, once. */
  readonly of: { readonly run: Fields } | { readonly model: Ref };
  /** Absent: the design's. */
  readonly draws?: readonly Draw[];
  /** The variant that it learns from, for the report. */
  readonly variant?: string;
}

/** What a study does with a teacher. */
export interface Design {
  readonly made: readonly Made[];
  readonly variants: readonly Variant[];
  readonly arms: readonly Arm[];
  readonly draws: readonly Draw[];
  /** The arm without distillation: where it fails, the study says nothing. */
  readonly baseline: string;
  /** The reader's eye goes along arms, or along sampling steps. */
  readonly shows: "arms" | "steps";
  /** What was left out, and why. */
  readonly remarks: readonly string[];
}

/** What of a teacher decides what can be asked. */
export interface TeacherFacts {
  readonly kind: "unet" | "transformer";
  /** unet/config.json or transformer/config.json, as it stands. */
  readonly config: unknown;
  /** Stages of a student that have transformers, by their names in `--features`; of a transformer none. */
  readonly stages: readonly string[];
  /** Transformer blocks of its layers, each number once. */
  readonly depths: readonly number[];
  readonly hasMid: boolean;
  /** Whether it is told sizes and a pooled text, as SDXL is. */
  readonly isXL: boolean;
  /** With which it draws where nobody says. */
  readonly guidance: number;
}

export interface Study {
  readonly name: StudyName;
  readonly title: string;
  /** What it asks, in one sentence. */
  readonly question: string;
  /** Of the paper: which table or figure, and what it found; null where that could not be read. */
  readonly paper: { readonly where: string; readonly found: string | null };
  readonly needs: TeacherFacts["kind"];
  /** Steps of an arm on koala-emoji, when no budget shortens it. */
  readonly steps: number;
  design(facts: TeacherFacts, o: { readonly isFull: boolean }): Design;
}
