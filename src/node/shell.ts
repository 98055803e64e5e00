/** Text for a POSIX shell. */

/** `text` as one word: as it is where that is safe, else in quotes. */
export const shellWord = (text: string): string =>
  /^[\w%+,./:=@~-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
