// One colour per entity, the same as in the package's own drawings (kosmos2/palette.py).

export const HALO = "#101216";
export const INK = "#000000";

const COLOURS = [
  "#ff6b6b", "#4dabff", "#ffcb2e", "#54d679", "#cc8cff", "#ff9633",
  "#2bd1cb", "#ff85c4", "#b2e03a", "#8c9eff", "#e0ac7a", "#a3e4ff",
];
const GOLDEN_TURN = 0.61803398875;

/** The colour of entity `index`: a dozen are chosen, the rest computed. */
export function colour(index) {
  if (index < COLOURS.length) return COLOURS[index];
  return fromHls((index * GOLDEN_TURN) % 1, [0.76, 0.82, 0.87][index % 3], 0.9);
}

function fromHls(hue, lightness, saturation) {
  const high = lightness <= 0.5
    ? lightness * (1 + saturation)
    : lightness + saturation - lightness * saturation;
  const low = 2 * lightness - high;
  const part = (turn) => {
    const at = ((turn % 1) + 1) % 1;
    if (at < 1 / 6) return low + (high - low) * at * 6;
    if (at < 1 / 2) return high;
    if (at < 2 / 3) return low + (high - low) * (2 / 3 - at) * 6;
    return low;
  };
  const parts = [part(hue + 1 / 3), part(hue), part(hue - 1 / 3)];
  return "#" + parts.map((value) => Math.round(value * 255).toString(16).padStart(2, "0")).join("");
}
