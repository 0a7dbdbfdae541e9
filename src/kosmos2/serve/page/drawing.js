// The picture with its boxes as a PNG of full size, drawn as the package's own drawings are.

import { labels, largeFirst } from "./labels.js";
import { HALO, INK, colour } from "./palette.js";

/** @returns {Promise<Blob>} */
export function png(picture, outlines, given, heat) {
  const { width, height } = picture;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.drawImage(picture.element, 0, 0, width, height);
  if (heat) pen.drawImage(heat, 0, 0, width, height);
  const side = Math.sqrt(width * height);
  const line = Math.max(0.005 * side, Math.min(2, 0.012 * side));
  const letters = Math.min(Math.max(0.028 * side, Math.min(12, 0.08 * side)), 0.4 * height);
  const shapes = outlines.map((one) => ({ ...one, rect: scaled(one.box, width, height) }));
  for (const box of given) dashed(pen, scaled(box, width, height), line);
  for (const { rect, entity } of largeFirst(shapes)) outline(pen, rect, line, colour(entity), width, height);
  pen.font = `600 ${letters}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  const measure = (text) => pen.measureText(text).width;
  for (const label of labels(shapes, width, height, measure, 1.5 * letters, 0.35 * letters)) {
    const [left, top, right, bottom] = label.rect;
    round(pen, left, top, right - left, bottom - top, 0.25 * letters);
    pen.fillStyle = colour(label.entity);
    pen.fill();
    pen.fillStyle = INK;
    pen.fillText(label.text, left + 0.35 * letters, (top + bottom) / 2 + 0.05 * letters);
  }
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
}

function scaled([x1, y1, x2, y2], width, height) {
  return [x1 * width, y1 * height, x2 * width, y2 * height];
}

function outline(pen, [left, top, right, bottom], line, tint, width, height) {
  // A line is as much outside its box as inside; at the edge of the picture all of it moves in.
  const half = Math.min(1.1 * line, width / 2, height / 2);
  const [x1, x2] = [left, right].map((x) => Math.min(Math.max(x, half), width - half));
  const [y1, y2] = [top, bottom].map((y) => Math.min(Math.max(y, half), height - half));
  for (const [wide, ink] of [[2.2 * line, `${HALO}bf`], [line, tint]]) {
    round(pen, x1, y1, x2 - x1, y2 - y1, line);
    pen.lineWidth = wide;
    pen.strokeStyle = ink;
    pen.stroke();
  }
}

function dashed(pen, [left, top, right, bottom], line) {
  pen.lineWidth = line;
  for (const [ink, dash] of [[HALO, []], ["#ffffff", [3 * line, 2 * line]]]) {
    pen.setLineDash(dash);
    pen.strokeStyle = ink;
    pen.strokeRect(left, top, right - left, bottom - top);
  }
  pen.setLineDash([]);
}

function round(pen, x, y, wide, high, radius) {
  pen.beginPath();
  pen.roundRect(x, y, wide, high, radius);
}
