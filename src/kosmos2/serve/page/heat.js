// A map of 32 x 32 probabilities as colours over the picture.

// Dark violet, red, orange, pale yellow: each step lighter than the one before.
const STEPS = [[46, 16, 101], [160, 32, 110], [230, 80, 60], [252, 165, 40], [252, 245, 170]];

/** Paint the map, one pixel for each cell; the browser smooths it while stretching. */
export function paint(canvas, heat) {
  const [rows, columns] = [heat.length, heat[0].length];
  canvas.width = columns;
  canvas.height = rows;
  const pen = canvas.getContext("2d");
  const cells = pen.createImageData(columns, rows);
  heat.flat().forEach((chance, index) => {
    const value = Math.min(Math.max(chance, 0), 1);
    cells.data.set([...ramp(value), Math.round(255 * 0.68 * Math.sqrt(value))], 4 * index);
  });
  pen.putImageData(cells, 0, 0);
}

function ramp(value) {
  const at = value * (STEPS.length - 1);
  const step = Math.min(Math.floor(at), STEPS.length - 2);
  return STEPS[step].map((part, i) => Math.round(part + (at - step) * (STEPS[step + 1][i] - part)));
}
