// Where pictures come from: the examples, a file that is picked, one that is dropped, one pasted.

import { EXAMPLES } from "./examples.js";
import { Failure, UNREACHABLE } from "./failures.js";
import { opened } from "./picture.js";

/** Let all of them hand over their picture, or the reason why there is none. */
export function listen({ got, failed }) {
  const take = async (promise) => {
    try {
      got(await promise);
    } catch (error) {
      failed(error);
    }
  };
  const file = document.getElementById("file");
  document.getElementById("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) take(opened(file.files[0]));
    file.value = ""; // the same file may be picked again
  });
  for (const example of EXAMPLES) button(example, () => take(shipped(example.name)));
  document.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files];
    if (pasted.length) take(opened(pasted[0]));
  });
  drop((files) => {
    if (files.length) take(opened(files[0]));
    else failed(new Failure("That was no file. Save the picture first, then drop it here."));
  });
}

/** One of the pictures that come with the page. */
export async function shipped(name) {
  const { says } = EXAMPLES.find((example) => example.name === name);
  let reply;
  try {
    reply = await fetch(`page/examples/${name}.jpg`);
  } catch {
    throw new Failure(UNREACHABLE, { code: "unreachable" });
  }
  if (!reply.ok) throw new Failure("This example could not be loaded; is the server still there?");
  const file = new File([await reply.blob()], `${name}.jpg`, { type: "image/jpeg" });
  return opened(file, { example: name, says });
}

/** Show which example is the picture. */
export function point(example) {
  for (const one of document.querySelectorAll("#examples button")) {
    one.setAttribute("aria-pressed", String(one.dataset.name === example));
  }
}

function button({ name, says }, onClick) {
  const item = document.createElement("li");
  const one = document.createElement("button");
  const image = new Image(72, 72);
  image.src = `page/examples/${name}.jpg`;
  image.alt = "";
  one.type = "button";
  one.dataset.name = name;
  one.setAttribute("aria-label", `Example: ${says}`);
  one.setAttribute("aria-pressed", "false");
  one.append(image);
  one.addEventListener("click", onClick);
  item.append(one);
  document.getElementById("examples").append(item);
}

function drop(dropped) {
  const veil = document.getElementById("drop");
  const files = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0; // entering a child comes before leaving its parent
  document.addEventListener("dragenter", (event) => {
    if (!files(event)) return;
    depth += 1;
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!files(event)) return;
    depth -= 1;
    veil.hidden = depth <= 0;
  });
  document.addEventListener("dragover", (event) => {
    if (files(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // or the browser leaves the page for the file
    depth = 0;
    veil.hidden = true;
    dropped([...(event.dataTransfer?.files ?? [])]);
  });
}
