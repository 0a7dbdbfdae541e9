// The words of one answer: they grow as they come, and a phrase becomes a mark once its boxes do.
// Places in the text are counted in whole characters, as the server counts them.

import { colour } from "./palette.js";

const SHORT = 24; // letters that stay together on one line

export class Answer {
  #words;
  #letters = [];
  #done = 0; // characters before this are in their final form
  #tail = document.createTextNode("");
  #waiting = [];

  constructor(root) {
    this.#words = root.querySelector(".words");
    this.clear();
  }

  get text() {
    return this.#letters.join("");
  }

  clear() {
    this.#letters = [];
    this.#done = 0;
    this.#waiting = [];
    this.#tail = document.createTextNode("");
    this.#words.replaceChildren(this.#tail);
  }

  add(text) {
    this.#letters.push(...text);
    this.#settle();
  }

  /** Mark phrases: {entity, phrase, start, end, boxes}. */
  mark(entities) {
    this.#waiting.push(...entities);
    this.#settle();
  }

  #settle() {
    while (this.#waiting.length && this.#waiting[0].end <= this.#letters.length) {
      const entity = this.#waiting.shift();
      const start = Math.max(entity.start, this.#done);
      const end = Math.max(entity.end, start);
      this.#tail.data = this.#letters.slice(this.#done, start).join("");
      const next = document.createTextNode("");
      this.#words.append(mark(entity, this.#letters.slice(start, end).join("")), next);
      this.#tail = next;
      this.#done = end;
    }
    this.#tail.data = this.#letters.slice(this.#done).join("");
  }
}

function mark({ entity, phrase, boxes }, words) {
  const span = document.createElement("span");
  span.className = words.length <= SHORT ? "mark short" : "mark";
  span.dataset.entity = String(entity);
  span.style.setProperty("--c", colour(entity));
  span.textContent = words || "▢";
  if (!boxes.length) {
    span.classList.add("nowhere");
    return span;
  }
  span.tabIndex = 0;
  span.setAttribute("role", "button");
  span.setAttribute("aria-pressed", "false");
  const count = boxes.length === 1 ? "1 box" : `${boxes.length} boxes`;
  span.setAttribute("aria-label", `${phrase || "something unnamed"}, ${count}`);
  return span;
}
