/**
 * The captions of an emoji: its name, and what people write who mean it. Encoders and networks that learn from all of them
 * take "red apple", "a red apple" and "a picture of a red apple" for one thing, and know colours and tags that names lack.
 * A caption that stands in the list twice is drawn twice as often.
 */

/** Names of hues by their upper end in degrees; brown is dark orange, pink is light or bluish red. */
const hues = [
  [14, "red"],
  [42, "orange"],
  [66, "yellow"],
  [165, "green"],
  [255, "blue"],
  [290, "purple"],
  [338, "pink"],
  [360, "red"],
];

const colourWords =
  /\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y|gold|silver|rainbow|skin tone)\b/i;

/** The name of a pixel's colour; values from 0 to 255. */
function nameOf(r, g, b) {
  const [most, least] = [Math.max(r, g, b), Math.min(r, g, b)];
  if (most < 60) return "black";
  if (most - least < 0.18 * most) return most > 215 ? "white" : "grey";
  const spread = most - least;
  const sixth =
    most === r ? ((g - b) / spread + 6) % 6 : most === g ? (b - r) / spread + 2 : (r - g) / spread + 4;
  const hue = hues.find(([end]) => 60 * sixth <= end)[1];
  return (hue === "orange" || hue === "red") && most < 150 ? "brown" : hue;
}

/**
 * The colour of most of a picture on white, where one takes at least 60 % of what is not white; else null.
 * `data` are bytes of red, green and blue.
 */
export function colourOf(data) {
  const counts = new Map();
  let all = 0;
  for (let i = 0; i < data.length; i += 3) {
    if (Math.min(data[i], data[i + 1], data[i + 2]) > 245) continue;
    const name = nameOf(data[i], data[i + 1], data[i + 2]);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    all++;
  }
  const [first] = [...counts].sort((a, b) => b[1] - a[1]);
  return first !== undefined && first[1] >= 0.6 * all && first[0] !== "white" ? first[0] : null;
}

const article = (name) => (/^(hour|[aeiou](?!ne |ni[cv]|ur))/i.test(name) ? "an" : "a");
const withArticle = (name) => `${article(name)} ${name}`;

/** The name as a phrase: "man cook: dark skin tone" is "man cook with dark skin", "flag: Chile" "flag of Chile". */
function phraseOf(name) {
  const [head, rest] = name.split(": ");
  if (rest === undefined) return name;
  if (head === "flag") return `flag of ${rest}`;
  const parts = rest.split(", ").map((part) => part.replace(/ skin tone$/, " skin"));
  return `${head} with ${parts.join(" and ")}`;
}

/** Frames around a phrase that has its article. */
const frames = [
  "a picture of {}",
  "an emoji of {}",
  "an image of {}",
  "a photo of {}",
  "a drawing of {}",
  "an icon of {}",
];

/**
 * Captions by how often each is to be drawn. `pick(n)` gives a number below n that depends on the picture alone;
 * `colour` is what `colourOf` says.
 */
export function captionsOf({ label, tags, group, colour }, pick) {
  const phrase = phraseOf(label);
  const framed = [0, 1].map(() => frames[pick(frames.length)].replace("{}", withArticle(phrase)));
  const natural = [
    label,
    label,
    label,
    withArticle(phrase),
    withArticle(phrase),
    withArticle(label),
    `the ${phrase}`,
  ];
  const others = tags.filter((tag) => !label.toLowerCase().includes(tag.toLowerCase()));
  const some = (n) => Array.from({ length: Math.min(n, others.length) }, () => others[pick(others.length)]);
  const tagged =
    others.length === 0
      ? []
      : [
          `${label}, ${[...new Set(some(2))].join(", ")}`,
          `${some(1)[0]} ${phrase}`,
          withArticle(`${some(1)[0]} ${phrase}`),
        ];
  const isPlain =
    colour !== null && !colourWords.test(label) && !["faces", "people", "flags", "symbols"].includes(group);
  const coloured = isPlain ? [withArticle(`${colour} ${phrase}`), `${colour} ${phrase}`] : [];
  // whoever asks for a cat means "cat face" too
  const short = /^(.+) face$/.exec(label)?.[1];
  const animal = group === "animals" && short !== undefined ? [withArticle(short), short] : [];
  const colouredAnimal = animal.length > 0 && isPlain ? [withArticle(`${colour} ${short}`)] : [];
  return [...natural, ...framed, ...tagged, ...coloured, ...animal, ...colouredAnimal, `${phrase} emoji`];
}
