// Classifies pictures in the browser with an .onnx file of `python -m cnn_jax.export` and ONNX Runtime Web.
// Beside it lie export.json, which says how pictures become what the network takes, and the runtime's files.

const byId = (id) => document.getElementById(id);
ort.env.wasm.numThreads = 1; // more need headers of the server: Cross-Origin-Opener-Policy and -Embedder-Policy

const begin = async () => {
  const { files } = await (await fetch("export.json")).json();
  const name = Object.keys(files).find((file) => file.endsWith(".onnx"));
  const session = await ort.InferenceSession.create(name);
  return { session, ...files[name].description };
};

// The picture, upright, on the background that shows through it in training.
const decode = async (file, background) => {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const canvas = byId("picture");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = background === "drop" ? "black" : background;
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
};

// Of `size` places along `length` pixels from `start` on: the two pixels that each lies between, and the second's share.
const neighbours = (start, length, size) =>
  Array.from({ length: size }, (_, i) => {
    const place = ((i + 0.5) * length) / size - 0.5;
    const lower = Math.floor(place);
    return [start + Math.max(lower, 0), start + Math.min(lower + 1, length - 1), place - lower];
  });

// Rows and columns of what the network takes: one number is both.
const sides = ({ size }) => [size].flat().length === 2 ? size : [size, size];

// Bilinear without antialias, as in training: `tf.image.resize`. uint8[rows * columns * 3].
const resized = ({ data, width, height }, { size, fit, interpolation, antialias }) => {
  const [high, wide] = sides({ size });
  if (interpolation !== "bilinear" || antialias) throw new Error(`this page resizes bilinear alone, not ${interpolation}`);
  const part = [Math.floor((height * wide) / high), Math.floor((width * high) / wide)].map((side) => Math.max(side, 1));
  const [w, h] = fit === "crop" ? [Math.min(width, part[0]), Math.min(height, part[1])] : [width, height];
  const columns = neighbours((width - w) >> 1, w, wide);
  const rows = neighbours((height - h) >> 1, h, high);
  const pixels = new Uint8Array(high * wide * 3);
  let at = 0;
  for (const [top, bottom, down] of rows) {
    for (const [left, right, across] of columns) {
      for (let channel = 0; channel < 3; channel += 1) {
        const value = (row, column) => data[4 * (row * width + column) + channel];
        const along = (row) => value(row, left) + (value(row, right) - value(row, left)) * across;
        pixels[at] = Math.floor(along(top) + (along(bottom) - along(top)) * down + 0.5);
        at += 1;
      }
    }
  }
  return pixels;
};

const classify = async (network, file) => {
  const { session, classes, resize, background } = network;
  const pixels = resized(await decode(file, background), resize);
  const begun = performance.now();
  const images = new ort.Tensor("uint8", pixels, [1, ...sides(resize), 3]);
  const { probabilities } = await session.run({ images });
  const took = performance.now() - begun;
  const best = classes.map((name, i) => [name, probabilities.data[i]]).sort((a, b) => b[1] - a[1]);
  byId("classes").replaceChildren(
    ...best.slice(0, 5).flatMap(([name, share]) => [
      Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: share.toFixed(4) }),
      Object.assign(document.createElement("meter"), { value: share, ariaLabel: name }),
    ]),
  );
  byId("status").textContent = `${best[0][0]}, in ${Math.round(took)} ms`;
};

const say = (error) => {
  byId("status").textContent = error.message;
};

try {
  const network = await begin();
  const take = (files) => files.length && classify(network, files[0]).catch(say);
  byId("file").disabled = false;
  byId("status").textContent = network.classes.slice(0, 8).join(", ");
  byId("file").addEventListener("change", (event) => take(event.target.files));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
} catch (error) {
  say(error);
}
