// A file becomes a picture: opened here first, so that a wrong one is told at once.

import { Failure } from "./failures.js";

// What a server takes unless it was told otherwise; a copy within these is sent of larger ones.
const MOST_BYTES = 10 * 2 ** 20;
const MOST_PIXELS = 40_000_000;
const COPY_SIDE = 2048;
const READ_THERE = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/**
 * Open a file that somebody chose, dropped or pasted.
 * @returns {Promise<Picture>}
 * @typedef {{name: string, example: ?string, says: string, element: HTMLImageElement,
 *   width: number, height: number, address: string, note: string}} Picture
 */
export async function opened(file, { example = null, says = "" } = {}) {
  const name = file.name || "pasted picture";
  const element = await decoded(file, name);
  const picture = {
    name, example, says: says || name, element, note: "",
    width: element.naturalWidth, height: element.naturalHeight,
  };
  const { width, height } = picture;
  if (Math.max(width, height) > 200 * Math.min(width, height)) {
    throw new Failure(`${name} is ${width} by ${height} pixels; that is too long and thin to look at.`);
  }
  if (file.size > MOST_BYTES || width * height > MOST_PIXELS) return smaller(picture, file.size);
  if (!READ_THERE.includes(file.type)) return copied(picture, Math.max(width, height), "");
  return { ...picture, address: await asAddress(file) };
}

/** The same picture in a copy of at most 2048 pixels a side, with a note that says so. */
export async function smaller(picture, bytes = 0) {
  const size = bytes > MOST_BYTES ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${picture.width} × ${picture.height} pixels`;
  return copied(picture, COPY_SIDE, `${picture.name} (${size}) is more than the server takes.`);
}

async function copied(picture, side, why) {
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#ffffff"; // JPEG knows no transparency
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture.element, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", 0.92); });
  if (!blob) throw new Failure(`${picture.name} cannot be copied in this browser.`);
  const note = why && `${why} A copy of ${canvas.width} × ${canvas.height} is sent instead.`;
  return { ...picture, address: await asAddress(blob), note };
}

async function decoded(file, name) {
  const element = new Image();
  element.src = URL.createObjectURL(file);
  try {
    await element.decode();
  } catch {
    URL.revokeObjectURL(element.src);
    throw new Failure(`${name} is not a picture that opens here. Try a PNG, JPEG, WebP or GIF file.`);
  }
  if (!element.naturalWidth || !element.naturalHeight) {
    throw new Failure(`${name} has no size of its own. Save it as PNG or JPEG and try again.`);
  }
  return element;
}

function asAddress(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Failure("The file cannot be read; is it still there?"));
    reader.readAsDataURL(blob);
  });
}
