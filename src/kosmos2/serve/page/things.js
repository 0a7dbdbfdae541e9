// The list of what was found: each phrase with its scores and the way to its heat map.

import { colour } from "./palette.js";

/** A row for one entity; `onHeat(entity, button)` is called when its map is wanted. */
export function row(entity, onHeat) {
  const item = document.createElement("li");
  item.dataset.entity = String(entity.entity);
  item.style.setProperty("--c", colour(entity.entity));
  item.append(part("i", "swatch", ""), part("span", "phrase", entity.phrase || "something unnamed"));
  item.append(part("span", "sure", scores(entity)));
  if (entity.phrase) {
    const button = part("button", "small heat-button", "Heat map");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-label", `Heat map of ${entity.phrase}`);
    button.addEventListener("click", () => onHeat(entity, button));
    item.append(button);
  }
  return item;
}

function scores({ boxes }) {
  if (!boxes.length) return "found nowhere";
  const known = boxes.map(({ score }) => score).filter((score) => score !== null);
  return known.map((score) => score.toFixed(2)).join(" · ");
}

function part(kind, name, text) {
  const element = document.createElement(kind);
  element.className = name;
  element.textContent = text;
  return element;
}
