// The picture of one side with the boxes of its answer, and perhaps a map over it.

import { placed, told } from "./boxes.js";
import { paint } from "./heat.js";
import { labels, largeFirst } from "./labels.js";
import { colour } from "./palette.js";

const ROW_PX = 22;
const PAD_PX = 6;

export class Stage {
  #found;
  #labels;
  #outlines = [];
  #pen = document.createElement("canvas").getContext("2d");

  constructor(root) {
    this.frame = root.querySelector(".frame");
    this.canvas = this.frame.querySelector(".heat");
    this.#found = this.frame.querySelector(".found");
    this.#labels = this.frame.querySelector(".labels");
    new ResizeObserver(() => this.#label()).observe(this.frame);
  }

  show(picture) {
    const image = this.frame.querySelector("img");
    image.src = picture.element.src;
    image.alt = picture.says;
    this.frame.style.setProperty("--ratio", String(picture.width / picture.height));
  }

  /** Boxes to outline: {box, name, score, entity}. */
  set outlines(outlines) {
    this.#outlines = outlines;
    const order = largeFirst(outlines.map((one) => ({ ...one, rect: one.box })));
    const kept = new Map([...this.#found.children].map((shape) => [shape.dataset.key, shape]));
    const shapes = order.map((one) => {
      const key = `${one.entity} ${one.box}`;
      const shape = kept.get(key) ?? element(one, key);
      kept.delete(key);
      return shape;
    });
    kept.forEach((shape) => shape.remove());
    shapes.forEach((shape, index) => {
      if (this.#found.children[index] !== shape) {
        this.#found.insertBefore(shape, this.#found.children[index] ?? null);
      }
    });
    this.#label();
  }

  get outlines() {
    return this.#outlines;
  }

  /** A map to lay over the picture; null takes it away. */
  set heat(heat) {
    this.canvas.hidden = !heat;
    this.frame.classList.toggle("warm", Boolean(heat));
    if (heat) paint(this.canvas, heat);
  }

  #label() {
    const { clientWidth: width, clientHeight: height } = this.frame;
    if (!width || !height) return;
    this.#pen.font = "600 13px system-ui, sans-serif";
    const measure = (text) => this.#pen.measureText(text).width + 1;
    const rects = this.#outlines.map(({ box: [x1, y1, x2, y2], ...rest }) => (
      { ...rest, rect: [x1 * width, y1 * height, x2 * width, y2 * height] }
    ));
    this.#labels.replaceChildren(...labels(rects, width, height, measure, ROW_PX, PAD_PX).map(
      ({ text, rect, entity }) => {
        const label = document.createElement("span");
        label.textContent = text;
        label.dataset.entity = String(entity);
        label.style.setProperty("--c", colour(entity));
        placed(label, [rect[0] / width, rect[1] / height, rect[2] / width, rect[3] / height]);
        return label;
      },
    ));
  }
}

function element({ box, name, score, entity }, key) {
  const shape = document.createElement("div");
  shape.className = "box";
  shape.tabIndex = 0;
  shape.dataset.entity = String(entity);
  shape.dataset.key = key;
  const sure = score === null ? "" : `, score ${score.toFixed(2)}`;
  shape.setAttribute("role", "button");
  shape.setAttribute("aria-label", `${name || "something unnamed"}${sure}, ${told(box)}`);
  shape.style.setProperty("--c", colour(entity));
  placed(shape, box);
  return shape;
}
