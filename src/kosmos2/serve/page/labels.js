// Where the labels of boxes go: the plan of kosmos2/layout.py, for the page and for the PNG.
// A rect is [left, top, right, bottom] in pixels of whatever is drawn upon.

const WIDEST = 0.7; // of the picture's width: a longer label is shortened

/**
 * A place for the label of every outline that has something to say.
 * @param {{rect: number[], name: string, score: ?number, entity: number}[]} outlines
 * @param {(text: string) => number} measure  how wide a text is
 */
export function labels(outlines, width, height, measure, row, pad) {
  const placed = [];
  for (const outline of outlines) {
    const text = wording(outline, measure, Math.max(WIDEST * width - 2 * pad, 0));
    if (!text) continue;
    const size = [measure(text) + 2 * pad, row];
    const smaller = outlines.map((o) => o.rect).filter((rect) => area(rect) < area(outline.rect));
    const rect = place(outline.rect, size, placed.map((label) => label.rect), smaller, width, height);
    placed.push({ text, rect, entity: outline.entity });
  }
  return placed;
}

/** The order to draw in: a small box stays on top, where a pointer can reach it. */
export function largeFirst(outlines) {
  return [...outlines].sort((one, other) => area(other.rect) - area(one.rect));
}

function wording({ name, score }, measure, widest) {
  const tail = score === null ? "" : score.toFixed(2);
  const letters = Array.from(name);
  for (let kept = letters.length; kept >= 0; kept -= 1) {
    const cut = letters.slice(0, kept).join("");
    const short = kept < letters.length ? cut.trimEnd() + "…" : cut;
    const text = kept ? `${short} ${tail}`.trim() : tail;
    if (measure(text) <= widest) return text;
  }
  return "";
}

function place([left, top, right, bottom], [wide, high], taken, smaller, width, height) {
  const inside = (x, y) => {
    const l = Math.max(0, Math.min(x, width - wide));
    const t = Math.max(0, Math.min(y, height - high));
    return [l, t, l + wide, t + high];
  };
  const cost = (spot) => [sum(spot, taken), sum(spot, smaller)];
  const near = [top - high, top, bottom, bottom - high]
    .flatMap((y) => [left, right - wide].map((x) => inside(x, y)));
  const best = near.reduce((one, other) => (less(cost(other), cost(one)) ? other : one));
  if (cost(best)[0] === 0) return best;
  const far = [];
  for (let y = 0; y + high <= height && far.length < 96; y += high) {
    far.push(inside(left, y), inside(right - wide, y));
  }
  far.sort((one, other) => Math.abs(one[1] - top) - Math.abs(other[1] - top));
  return far.find((spot) => sum(spot, taken) === 0) ?? best;
}

function less([a, b], [c, d]) {
  return a < c || (a === c && b < d);
}

function sum(spot, others) {
  return others.reduce((total, other) => total + overlap(spot, other), 0);
}

function area([left, top, right, bottom]) {
  return (right - left) * (bottom - top);
}

function overlap(one, other) {
  const wide = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const high = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  return Math.max(wide, 0) * Math.max(high, 0);
}
