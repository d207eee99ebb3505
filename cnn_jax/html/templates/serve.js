"use strict";

const AT_ONCE = 2; // pictures that are asked about at the same time
const SHOWN = 5; // classes of each answer
const SIDE = 480; // pixels of the small picture
const NO_LAYERS = "An exported file: to see where it looks, serve its run.";
const STORED = "cnn_jax.token";
const byId = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// The token comes behind the # of the address, which browsers send to nobody, and stays as long as the tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(STORED, given);
  history.replaceState(null, "", location.pathname);
}
const headers = () => {
  const token = sessionStorage.getItem(STORED);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

let models = [];
const waiting = [];
let running = 0;

const ask = async (path, body) => {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(path, { method: body ? "POST" : "GET", headers: headers(), body });
    if (response.status === 401) byId("key").hidden = false;
    if (response.status !== 503 || attempt === 5) return response;
    await pause(attempt * Number(response.headers.get("Retry-After") || 1));
  }
};

const reason = async (response) => {
  const said = await response.json().catch(() => ({}));
  return said.error || `the server answered with ${response.status}`;
};

const draw = async (canvas, blob, side) => {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
};

const canvasNamed = (name) => {
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  return canvas;
};

// Grad-CAM for one class, in the figure beside its bars.
const look = async (file, figure, model, name) => {
  const response = await ask(`explain?${new URLSearchParams({ model, class: name })}`, file);
  if (!response.ok) {
    figure.replaceChildren(element("div", { className: "none", textContent: await reason(response) }));
    return;
  }
  const canvas = canvasNamed(`Where ${model} sees ${name}`);
  await draw(canvas, await response.blob(), SIDE);
  figure.replaceChildren(canvas, element("figcaption", { textContent: `where it sees ${name}` }));
};

const answer = (file, result) => {
  const { explains } = models.find((known) => known.name === result.model);
  const figure = element("figure");
  const list = element("ol", { className: "classes" });
  const press = (button, name) => {
    for (const other of list.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
    return look(file, figure, result.model, name);
  };
  for (const { class: name, probability } of result.classes) {
    const shown = [element("span", { textContent: name }), element("span", { textContent: percent(probability) })];
    const bar = explains
      ? element("button", { type: "button", title: `Where it sees ${name}` }, ...shown)
      : element("div", {}, ...shown);
    bar.style.setProperty("--share", probability);
    if (explains) bar.addEventListener("click", () => press(bar, name));
    list.append(element("li", {}, bar));
  }
  if (!explains) figure.append(element("div", { className: "none", textContent: NO_LAYERS }));
  const says = element("p", { className: "says", textContent: `${result.class} ${percent(result.probability)}` });
  const title = element("h3", { textContent: result.model });
  const first = () => (explains ? press(list.querySelector("button"), result.class) : undefined);
  return { panel: element("div", { className: "answer" }, title, element("div", {}, says, list), figure), first };
};

const show = async (file) => {
  const name = file.name || "pasted picture";
  const small = canvasNamed(name);
  const caption = element("figcaption", { textContent: name });
  const article = element("article", { className: "picture" }, element("figure", {}, small, caption));
  article.setAttribute("aria-label", name);
  byId("pictures").prepend(article);
  byId("clear").hidden = false;
  draw(small, file, SIDE).catch(() => {
    small.replaceWith(element("div", { className: "none", textContent: "no picture" }));
  });
  const begun = performance.now();
  const form = new FormData();
  form.append("file", file);
  const response = await ask(`predict?top=${SHOWN}`, form);
  const took = performance.now() - begun;
  const [image] = response.ok ? (await response.json()).images : [{ error: await reason(response) }];
  if (image.error) {
    article.append(element("p", { className: "error", textContent: `Cannot be read: ${image.error}` }));
    return;
  }
  caption.textContent = `${name} · ${Math.round(image.milliseconds)} ms in the server, ${Math.round(took)} ms in all`;
  const answers = image.results.map((result) => answer(file, result));
  article.append(element("div", { className: "answers" }, ...answers.map(({ panel }) => panel)));
  for (const { first } of answers) await first();
};

const next = async () => {
  if (running >= AT_ONCE || !waiting.length) return;
  running += 1;
  const file = waiting.shift();
  byId("status").textContent = `Looking at ${file.name || "a picture"}…`;
  try {
    await show(file);
  } catch (error) {
    byId("status").textContent = `The server cannot be reached: ${error.message}`;
    running -= 1;
    return;
  }
  running -= 1;
  if (!running && !waiting.length) byId("status").textContent = "";
  next();
};

const take = (files) => {
  waiting.push(...files);
  for (let i = 0; i < AT_ONCE; i += 1) next();
};

const begin = async () => {
  const response = await ask("models");
  if (!response.ok) {
    byId("status").textContent = response.status === 401 ? "" : await reason(response);
    return;
  }
  byId("key").hidden = true;
  ({ models } = await response.json());
  const texts = models.map(({ name, classes }) => `${name} (${classes.slice(0, 8).join(", ")}${classes.length > 8 ? ", …" : ""})`);
  byId("networks").textContent = texts.join(" · ");
  const at = `${location.origin}${location.pathname}`;
  const token = sessionStorage.getItem(STORED) ? ' -H "Authorization: Bearer $CNN_JAX_TOKEN"' : "";
  const lines = [
    `curl${token} --data-binary @photo.jpg ${at}predict`,
    `curl${token} -F file=@one.jpg -F file=@two.jpg ${at}predict`,
  ];
  const looking = models.find(({ explains }) => explains);
  if (looking) {
    const query = new URLSearchParams({ model: looking.name });
    lines.push(`curl${token} --data-binary @photo.jpg --output looked.png "${at}explain?${query}"`);
  }
  byId("curl").textContent = lines.join("\n");
};

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(STORED, byId("token").value);
  begin();
});

byId("choose").addEventListener("click", () => byId("files").click());
for (const id of ["files", "shot"]) {
  byId(id).addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
}
byId("clear").addEventListener("click", () => {
  byId("pictures").replaceChildren();
  byId("clear").hidden = true;
  byId("choose").focus();
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  take([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take([...event.clipboardData.files]);
});

// A phone has a camera program of its own; elsewhere the page shows what the camera sees.
const camera = byId("camera");
const video = byId("video");
byId("photograph").addEventListener("click", async () => {
  if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices) {
    byId("shot").click();
    return;
  }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    camera.showModal();
  } catch (error) {
    byId("status").textContent = `There is no camera to use: ${error.message}`;
  }
});
byId("take").addEventListener("click", () => {
  const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => take([new File([blob], "photograph.png", { type: "image/png" })]), "image/png");
  camera.close();
});
byId("leave").addEventListener("click", () => camera.close());
camera.addEventListener("close", () => {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
});

begin();
