/** What a U-Net is calibrated on unless the user brings prompts: things, scenes, styles and counts, one picture each. */

export const calibrationPrompts: readonly string[] = [
  "a red apple",
  "a photo of a dog running on a beach",
  "a portrait of an old man with a white beard",
  "two yellow taxis in a rainy street at night",
  "a watercolor painting of mountains and a lake",
  "a smiling face",
  "a bowl of ramen on a wooden table, top view",
  "a blue butterfly on a green leaf, macro",
];
