// Boxes that the person draws on the picture: by pointer, by touch and by keys.

import { MOST_BOXES } from "./state.js";

const LEAST = 0.02; // of a side: no box is smaller
const STEP = 0.01; // of a side, for each key
const SLIP_PX = 5; // a pointer that moved less did not draw
const CORNERS = ["nw", "ne", "se", "sw"];

export class GivenBoxes {
  #frame;
  #layer;
  #boxes = [];
  #changed;
  #say;
  #wanted;
  #began;

  /**
   * @param {HTMLElement} frame  what covers the picture
   * @param {{changed: Function, say: Function, wanted: Function, began: Function}} tell
   *   `wanted(touch)` says whether a drag may draw now, `began` is told that one does
   */
  constructor(frame, { changed, say, wanted, began }) {
    this.#frame = frame;
    this.#layer = frame.querySelector(".given");
    this.#changed = changed;
    this.#say = say;
    this.#wanted = wanted;
    this.#began = began;
    frame.addEventListener("pointerdown", (event) => this.#pressed(event));
    this.#layer.addEventListener("keydown", (event) => this.#key(event));
  }

  set boxes(boxes) {
    this.#boxes = boxes.map((box) => [...box]);
    this.#draw();
  }

  /** A box in the middle, ready for the keys. */
  add() {
    if (this.#full()) return;
    const shift = 0.04 * (this.#boxes.length % 5);
    this.#boxes.push([0.3 + shift, 0.3 + shift, 0.7 + shift, 0.7 + shift]);
    this.#done();
    this.#layer.lastElementChild.focus();
    this.#say(`Box ${this.#boxes.length} added. Arrow keys move it, shift and arrow keys change its size, Delete removes it.`);
  }

  remove(index) {
    const focused = this.#layer.contains(document.activeElement);
    this.#boxes.splice(index, 1);
    this.#done();
    this.#say(`Box ${index + 1} removed.`);
    if (focused) this.#layer.children[Math.min(index, this.#boxes.length - 1)]?.focus();
  }

  #full() {
    if (this.#boxes.length < MOST_BOXES) return false;
    this.#say(`${MOST_BOXES} boxes are the most. Remove one first.`);
    return true;
  }

  #done() {
    this.#draw();
    this.#changed(this.#boxes.map((box) => [...box]));
  }

  #draw() {
    while (this.#layer.children.length > this.#boxes.length) this.#layer.lastElementChild.remove();
    while (this.#layer.children.length < this.#boxes.length) this.#layer.append(element());
    this.#boxes.forEach((box, index) => {
      const shape = this.#layer.children[index];
      shape.dataset.index = String(index);
      shape.querySelector("b").textContent = String(index + 1);
      shape.setAttribute("aria-label", `Your box ${index + 1}: ${told(box)}`);
      placed(shape, box);
    });
  }

  #pressed(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    const shape = event.target.closest(".given > .mine");
    if (!shape && !this.#wanted(event.pointerType === "touch")) return;
    if (!shape && this.#full()) return;
    const start = this.#point(event);
    const index = shape ? Number(shape.dataset.index) : this.#boxes.length;
    const before = shape ? [...this.#boxes[index]] : null;
    const corner = event.target.dataset.corner;
    let moving = false;
    const move = (moved) => {
      const at = this.#point(moved);
      if (!moving) {
        const far = Math.hypot(moved.clientX - event.clientX, moved.clientY - event.clientY);
        if (far < SLIP_PX) return;
        moving = true;
        // From here on the pointer is ours; before, it may still be a click on something below.
        this.#frame.setPointerCapture(event.pointerId);
        if (!before) this.#began();
      }
      if (!before) this.#boxes[index] = spanned(start, at);
      else if (corner) this.#boxes[index] = stretched(before, corner, at);
      else this.#boxes[index] = shifted(before, at[0] - start[0], at[1] - start[1]);
      this.#draw();
    };
    const end = () => {
      this.#frame.removeEventListener("pointermove", move);
      for (const name of ENDS) window.removeEventListener(name, end);
      if (!moving) return;
      this.#done();
      this.#layer.children[index]?.focus({ preventScroll: true });
      this.#say(`Box ${index + 1}: ${told(this.#boxes[index])}.`);
    };
    this.#frame.addEventListener("pointermove", move);
    for (const name of ENDS) window.addEventListener(name, end);
  }

  #point(event) {
    const { left, top, width, height } = this.#frame.getBoundingClientRect();
    return [kept((event.clientX - left) / width), kept((event.clientY - top) / height)];
  }

  #key(event) {
    const shape = event.target.closest(".mine");
    if (!shape || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = Number(shape.dataset.index);
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.remove(index);
      return;
    }
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const [right, down] = way.map((part) => part * STEP);
    const box = this.#boxes[index];
    this.#boxes[index] = event.shiftKey
      ? stretched(box, "se", [kept(box[2] + right), kept(box[3] + down)])
      : shifted(box, right, down);
    this.#done();
    this.#say(told(this.#boxes[index]));
  }
}

const ENDS = ["pointerup", "pointercancel"];

/** Where a box is, for those who do not see it. */
export function told([x1, y1, x2, y2]) {
  const percent = (edge) => Math.round(edge * 100);
  return `${percent(x1)} to ${percent(x2)} % across, ${percent(y1)} to ${percent(y2)} % down`;
}

/** Put an element where its box is. */
export function placed(shape, [x1, y1, x2, y2]) {
  shape.style.left = `${100 * x1}%`;
  shape.style.top = `${100 * y1}%`;
  shape.style.width = `${100 * (x2 - x1)}%`;
  shape.style.height = `${100 * (y2 - y1)}%`;
}

function element() {
  const shape = document.createElement("div");
  shape.className = "mine";
  shape.tabIndex = 0;
  // The arrow keys are ours here: a reader of the screen has to hand them through.
  shape.setAttribute("role", "application");
  shape.setAttribute("aria-roledescription", "box");
  shape.append(document.createElement("b"));
  for (const corner of CORNERS) {
    const handle = document.createElement("i");
    handle.dataset.corner = corner;
    shape.append(handle);
  }
  return shape;
}

function kept(edge) {
  return Math.min(Math.max(edge, 0), 1);
}

function spanned([x, y], [u, v]) {
  const [x1, x2] = wide(Math.min(x, u), Math.max(x, u));
  const [y1, y2] = wide(Math.min(y, v), Math.max(y, v));
  return [x1, y1, x2, y2];
}

function wide(low, high) {
  if (high - low >= LEAST) return [low, high];
  return low + LEAST <= 1 ? [low, low + LEAST] : [1 - LEAST, 1];
}

function stretched([x1, y1, x2, y2], corner, [x, y]) {
  return [
    corner.includes("w") ? Math.min(x, x2 - LEAST) : x1,
    corner.includes("n") ? Math.min(y, y2 - LEAST) : y1,
    corner.includes("e") ? Math.max(x, x1 + LEAST) : x2,
    corner.includes("s") ? Math.max(y, y1 + LEAST) : y2,
  ];
}

function shifted([x1, y1, x2, y2], right, down) {
  const across = Math.min(Math.max(right, -x1), 1 - x2);
  const along = Math.min(Math.max(down, -y1), 1 - y2);
  return [x1 + across, y1 + along, x2 + across, y2 + along];
}
