/** JSON as Python writes it: the standard's, and the bare NaN and ±Infinity that `json.dump` adds to it. */

const special = /"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g;

/** A value of `JSON.parse`, where infinities are numbers and NaN is null. @throws SyntaxError */
export function parseJson(text: string): unknown {
  if (!/\b(Infinity|NaN)\b/.test(text)) return JSON.parse(text);
  const standard = text.replace(special, (token) => {
    if (token.startsWith('"')) return token;
    return token === "NaN" ? "null" : token.replace("Infinity", "1e999"); // beyond the largest double
  });
  return JSON.parse(standard);
}
