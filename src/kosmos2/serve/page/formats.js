// An answer in the forms that people take away: JSON, COCO, the model's markup, a curl command.

const CELLS = 32;

/** Everything that was asked and said, as plain values. */
export function json(run) {
  return written({
    text: run.text,
    entities: run.entities.map(({ phrase, start, end, boxes }) => ({ phrase, start, end, boxes })),
    coords: "norm01",
    image: { name: run.picture.name, width: run.picture.width, height: run.picture.height },
    model: run.model,
    finish: run.finish,
    warnings: run.warnings,
    asked: withoutPicture(run.body),
  });
}

/** A COCO file of one picture; each phrase is a category. */
export function coco(run) {
  const { name, width, height } = run.picture;
  const phrases = [...new Set(run.entities.map((entity) => entity.phrase))];
  const annotations = run.entities.flatMap((entity) => entity.boxes.map(({ box, score }) => {
    const [x, y, right, bottom] = box.map((edge, i) => cents(edge * (i % 2 ? height : width)));
    const bbox = [x, y, cents(right - x), cents(bottom - y)];
    const category_id = phrases.indexOf(entity.phrase) + 1;
    return { image_id: 1, category_id, bbox, area: cents(bbox[2] * bbox[3]), iscrowd: 0, score };
  }));
  return written({
    images: [{ id: 1, file_name: name, width, height, caption: run.text }],
    categories: phrases.map((phrase, index) => ({ id: index + 1, name: phrase })),
    annotations: annotations.map((row, index) => ({ id: index + 1, ...row })),
  });
}

/** The words with the tags that the model itself writes. Scores have no markup. */
export function markup(run) {
  const letters = Array.from(run.text);
  let done = 0;
  let text = "";
  for (const { start, end, boxes } of [...run.entities].sort((a, b) => a.start - b.start)) {
    if (!boxes.length || start < done) continue;
    const before = letters.slice(done, start).join("");
    const words = before.trimEnd();
    const blank = start ? before.slice(words.length) : " ";
    const phrase = letters.slice(start, end).join("");
    text += words + (phrase ? `<phrase>${blank}${phrase}</phrase>` : "");
    const places = boxes.map((one) => cellsOf(one).map(tag).join(""));
    text += `<object>${places.join("</delimiter_of_multi_objects/>")}</object>`;
    done = phrase ? end : start - blank.length;
  }
  return text + letters.slice(done).join("");
}

/** A command that asks the same again; it reads the picture from the file. */
export function curl(run, origin) {
  const hole = "@PICTURE@";
  const body = written(withoutPicture(run.body, hole));
  const safe = body.replace(/[\\$`]/g, "\\$&"); // what a shell would read between these EOFs
  const file = quoted(run.picture.name);
  const address = `data:image/jpeg;base64,$(base64 < ${file} | tr -d '\\n')`;
  return [
    `curl -s ${origin}/v1/chat/completions \\`,
    "  -H 'Content-Type: application/json' --data-binary @- <<EOF",
    safe.replace(hole, () => address),
    "EOF\n",
  ].join("\n");
}

function withoutPicture(body, address = "(the picture)") {
  const messages = body.messages.map(({ role, content }) => ({
    role,
    content: content.map((part) => (
      part.type === "image_url" ? { type: part.type, image_url: { url: address } } : part
    )),
  }));
  return { ...body, messages };
}

function cellsOf({ box, cells }) {
  if (cells) return cells;
  const [x1, y1, x2, y2] = box;
  const first = (edge) => Math.min(Math.floor(edge * CELLS), CELLS - 1);
  const last = (edge) => Math.max(Math.ceil(edge * CELLS) - 1, 0);
  return [first(y1) * CELLS + first(x1), last(y2) * CELLS + last(x2)];
}

function tag(cell) {
  return `<patch_index_${String(cell).padStart(4, "0")}>`;
}

function cents(value) {
  return Math.round(value * 100) / 100;
}

function written(values) {
  return JSON.stringify(values, null, 2);
}

function quoted(name) {
  return `'${name.replaceAll("'", "'\\''")}'`;
}
