"use strict";

const at = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat(document.documentElement.lang, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const exact = new Intl.NumberFormat(document.documentElement.lang, { style: "percent", minimumFractionDigits: 2 });
const SHARES = { top1: "top-1", top5: "top-5", map: "mAP", macro_f1: "macro F1", auroc: "AUROC" };
const ALTERNATIVES = 5;
const PARALLEL = 4; // requests at a time
let models = [];
let limits = {};

function node(kind, name, text) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

const asJson = (answer) => answer.json();

async function ask(path, options = {}, read = asJson) {
  const token = sessionStorage.getItem("token");
  const headers = { ...options.headers };
  if (token) headers.Authorization = "Bearer " + token;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error(t("The server cannot be reached."));
  }
  if (answer.status === 401) {
    await askForToken();
    return ask(path, options, read);
  }
  const content = await (answer.ok ? read : asJson)(answer).catch(() => ({}));
  if (!answer.ok) throw new Error(content.detail || t("The server answers with {0}.", answer.status));
  return content;
}

let asking = null;
function askForToken() {
  // Several requests may meet a 401 at the same time: one dialog for all.
  asking ??= new Promise((done) => {
    const dialog = at("ask");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", at("token").value);
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

function chosen() {
  return models[Number(at("model").value) || 0];
}

function accuracy(model) {
  const found = model.metrics || {};
  const said = Object.entries(SHARES)
    .filter(([name]) => typeof found[name] === "number" && (name !== "top5" || model.classes > 5))
    .map(([name, title]) => title + " " + exact.format(found[name]));
  if (said.length && found.num_images) said.push(t("on {0} validation photos", found.num_images));
  return said.join(", ");
}

function showModel() {
  const model = chosen();
  const card = at("card");
  card.replaceChildren();
  const facts = {
    Name: t("{0}, version {1}", model.name, model.version),
    Architecture: model.architecture,
    Classes: model.classes,
    Task: model.task === "multilabel" ? t("several labels per photo") : t("one class per photo"),
    "Input size": model.image_size && t("{0} pixels", model.image_size.join(" × ")),
    Accuracy: accuracy(model),
    Size: model.size_mb && model.size_mb + " MB",
    Engine: model.engine && Object.entries(model.engine).map(([name, value]) => name + " " + value).join(", "),
    Origin: model.origin,
    Proof: model.proof,
    "Not ready": model.reason,
  };
  for (const [name, value] of Object.entries(facts)) {
    if (value) card.append(node("dt", "", t(name)), node("dd", "", String(value)));
  }
  at("title").textContent = t("Classify photos with {0}", model.name);
  const state = at("state");
  state.textContent = model.ready ? t("Ready") : t("Not ready: {0}", model.reason);
  state.classList.toggle("bad", !model.ready);
  const where = new URL("v1/predict?model=" + model.name, location.href).href;
  at("curl").textContent = "curl --data-binary @photo.jpg \\\n  -H 'Content-Type: image/jpeg' \\\n  '" + where + "'";
  at("python").textContent =
    "import json, urllib.request\n\n" +
    'photo = open("photo.jpg", "rb").read()\n' +
    'request = urllib.request.Request(\n    "' + where + '",\n    photo, {"Content-Type": "image/jpeg"})\n' +
    "answer = json.load(urllib.request.urlopen(request))\n" +
    'print(answer["predictions"][0]["label"])';
}

async function loadModels() {
  try {
    const content = await ask("v1/models");
    const before = at("model").value;
    models = content.models;
    limits = content.limits;
    at("model").replaceChildren(
      ...models.map((model, index) => new Option(model.name + " " + model.version, String(index))));
    if (before) at("model").value = before;
    at("which").hidden = models.length < 2;
    showModel();
    if (models.some((model) => !model.ready)) setTimeout(loadModels, 2000);
  } catch (error) {
    at("state").textContent = error.message;
    at("state").classList.add("bad");
    setTimeout(loadModels, 5000);
  }
}

function bar(entry, accepted) {
  const line = node("li", accepted ? "yes" : "");
  line.append(node("span", "name", entry.label), node("span", "share", percent.format(entry.probability)));
  const track = node("span", "track");
  track.setAttribute("aria-hidden", "true");
  const fill = node("span", "fill");
  fill.style.width = 100 * Math.max(0, Math.min(1, entry.probability)) + "%";
  track.append(fill);
  line.append(track);
  return line;
}

function fill(shown, prediction, milliseconds) {
  const several = prediction.labels !== undefined;
  const names = several ? prediction.labels.map((entry) => entry.label) : [prediction.label];
  shown.querySelector("h2").textContent = names.join(", ") || t("No label");
  shown.querySelector(".bars").replaceChildren(
    ...prediction.top.map((entry) => bar(entry, several && names.includes(entry.label))));
  const took = prediction.milliseconds;
  shown.querySelector(".time").textContent =
    t("{0} ms in all; on the server {1} ms to read it, {2} ms to answer",
      Math.round(milliseconds), took.read.toFixed(1), took.answer.toFixed(1));
}

function fail(shown, message) {
  shown.classList.add("bad");
  shown.querySelector("h2").textContent = t("No answer");
  shown.querySelector(".time").textContent = message.replace(/^image: /, "");
}

function offerHeat(shown, file, model, prediction) {
  const label = prediction.label ?? prediction.top[0].label;
  const button = shown.querySelector(".heat");
  const [photo, map, where] = [".photo", ".map", ".where"].map((name) => shown.querySelector(name));
  const show = (mapped) => {
    map.hidden = where.hidden = !mapped;
    photo.hidden = mapped;
    button.textContent = mapped ? t("Show the photo") : t("Show the evidence");
  };
  button.hidden = false;
  show(false);
  button.addEventListener("click", async () => {
    if (!map.hidden || map.src) {
      show(map.hidden);
      return;
    }
    button.disabled = true;
    button.textContent = t("Drawing …");
    try {
      const query = new URLSearchParams({ model: model.name, version: model.version, label });
      const picture = await ask("v1/explain?" + query, {
        method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
      }, (answer) => answer.blob());
      map.src = URL.createObjectURL(picture);
      map.alt = where.textContent = t("Red: where covering the photo makes “{0}” less likely.", label);
      show(true);
    } catch (error) {
      show(false);
      where.textContent = error.message;
      where.hidden = false;
    }
    button.disabled = false;
  });
}

async function classify(file, shown) {
  const model = chosen();
  const started = performance.now();
  try {
    if (limits.max_body_mb && file.size > limits.max_body_mb * 1e6) {
      throw new Error(t("It has {0} MB; the server takes up to {1} MB.", (file.size / 1e6).toFixed(1), limits.max_body_mb));
    }
    const query = new URLSearchParams({ model: model.name, version: model.version, top_k: ALTERNATIVES });
    const content = await ask("v1/predict?" + query, {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    fill(shown, content.predictions[0], performance.now() - started);
    if (model.heat_maps) offerHeat(shown, file, model, content.predictions[0]);
    return true;
  } catch (error) {
    fail(shown, error.message);
    return false;
  } finally {
    shown.removeAttribute("aria-busy");
  }
}

async function take(files) {
  if (!files.length || !models.length) return;
  const waiting = [];
  for (const file of files) {
    const shown = at("answer").content.cloneNode(true).firstElementChild;
    const picture = shown.querySelector(".photo");
    picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
    picture.addEventListener("error", () => shown.classList.add("unseen"), { once: true });
    picture.src = URL.createObjectURL(file);
    shown.querySelector("h2").textContent = "…";
    shown.querySelector(".file").textContent = file.name;
    shown.setAttribute("aria-busy", "true");
    waiting.push([file, shown]);
  }
  at("answers").prepend(...waiting.map(([, shown]) => shown));
  const total = waiting.length;
  let good = 0;
  const works = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      if (await classify(...next)) good += 1;
      const open = document.querySelectorAll("#answers [aria-busy]").length;
      at("said").textContent = open
        ? t("{0} of {1} photos answered …", total - open, total)
        : t(total === 1 ? "{0} of {1} photo answered." : "{0} of {1} photos answered.", good, total);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, works));
}

const imagesOf = (list) => [...list].filter((file) => file instanceof File);

at("pick").addEventListener("click", () => at("files").click());
for (const id of ["files", "shot"]) {
  at(id).addEventListener("change", (event) => {
    take(imagesOf(event.target.files));
    event.target.value = "";
  });
}
document.addEventListener("paste", (event) => take(imagesOf(event.clipboardData.files)));
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  take(imagesOf(event.dataTransfer.files));
});
at("model").addEventListener("change", showModel);
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const text = at(button.dataset.of);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = t("Copied");
    } catch {
      getSelection().selectAllChildren(text); // no clipboard without https: Ctrl-C does it
      button.textContent = t("Press Ctrl-C");
    }
    setTimeout(() => { button.textContent = t("Copy"); }, 2000);
  });
}

function closeCamera() {
  const stream = at("video").srcObject;
  if (stream) stream.getTracks().forEach((track) => track.stop());
  at("video").srcObject = null;
  at("viewfinder").hidden = true;
  at("camera").focus();
}
at("camera").addEventListener("click", async () => {
  // A page that came over plain http has no camera of its own; a phone then opens its camera app.
  if (!navigator.mediaDevices) {
    at("shot").click();
    return;
  }
  try {
    at("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    at("viewfinder").hidden = false;
    await at("video").play();
    at("snap").focus();
  } catch {
    at("said").textContent = t("No camera can be used here: there is none, or the page may not use it.");
  }
});
at("close").addEventListener("click", closeCamera);
at("snap").addEventListener("click", () => {
  const video = at("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    if (blob) take([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
    closeCamera();
  }, "image/jpeg", 0.95);
});

loadModels();
