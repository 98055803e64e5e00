/**
 * A tokenizer in CLIP's format that has learnt nothing: every byte is a token, alone or at a word's end, and nothing
 * merges. For models with random weights, whose networks have learnt nothing either.
 * The letters that stand for bytes and the places of the special tokens are those of OpenAI's CLIP, `simple_tokenizer.py`.
 */

/** CLIP's own entries, of which this vocabulary fills the first 512 and the last two. */
const startToken = 49406;
const endToken = 49407;

/** The letter for each byte, in the vocabulary's order: printable Latin-1 first, the others as U+0100 and on. */
function byteLetters(): string[] {
  const range = (first: string, last: string): number[] => {
    const from = first.codePointAt(0) ?? 0;
    return Array.from({ length: (last.codePointAt(0) ?? 0) - from + 1 }, (_, i) => from + i);
  };
  const printable = [...range("!", "~"), ...range("¡", "¬"), ...range("®", "ÿ")];
  const hidden = Array.from({ length: 256 - printable.length }, (_, i) => 256 + i);
  return [...printable, ...hidden].map((code) => String.fromCodePoint(code));
}

/** `vocab.json` and `merges.txt`. */
export function byteVocabulary(): { vocab: Readonly<Record<string, number>>; merges: string } {
  const letters = byteLetters();
  const tokens = [...letters, ...letters.map((letter) => `${letter}</w>`)];
  return {
    vocab: {
      ...Object.fromEntries(tokens.map((token, id) => [token, id])),
      "<|startoftext|>": startToken,
      "<|endoftext|>": endToken,
    },
    merges: "#version: 0.2\n",
  };
}
