"use strict";

function node(kind, text, ...children) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function table(rows) {
  return node("table", "", node("tbody", "", ...rows.map(([name, value]) => {
    const head = node("th", "", node("code", name));
    head.scope = "row";
    return node("tr", "", head, typeof value === "string" ? node("td", value) : node("td", "", value));
  })));
}

function schema(value) {
  const shown = node("pre", JSON.stringify(value, null, 2));
  shown.tabIndex = 0;
  return shown;
}

function resolve(value, all) {
  if (Array.isArray(value)) return value.map((entry) => resolve(entry, all));
  if (value === null || typeof value !== "object") return value;
  if (value.$ref) return resolve(all[value.$ref.split("/").pop()], all);
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, resolve(entry, all)]));
}

function operation(path, method, facts, all) {
  const name = node("span", method.toUpperCase());
  name.className = "method";
  const shown = node("details", "", node("summary", "", name, node("code", path), " " + facts.summary));
  if (facts.parameters) {
    shown.append(node("h3", "Parameters"), table(facts.parameters.map((entry) =>
      [entry.name, (entry.description || "in the path") + " (" + entry.schema.type + ")"])));
  }
  if (facts.requestBody) {
    shown.append(node("h3", "Body"), table(Object.entries(facts.requestBody.content).map(([kind, entry]) =>
      [kind, kind === "application/json" ? schema(resolve(entry.schema, all)) : "the file itself, or files in a form"])));
  }
  const right = facts.responses["200"].content["application/json"];
  if (right && Object.keys(resolve(right.schema, all)).length) {
    shown.append(node("h3", "Answer"), schema(resolve(right.schema, all)));
  }
  shown.append(node("h3", "Statuses"), table(Object.entries(facts.responses).map(([status, entry]) =>
    [status, entry.description])));
  return shown;
}

async function load() {
  const token = sessionStorage.getItem("token");
  const answer = await fetch("openapi.json", { headers: token ? { Authorization: "Bearer " + token } : {} });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.detail);
  const all = content.components.schemas;
  const parts = { v1: "Photos in, names out", v2: "Open Inference Protocol", "": "Others" };
  for (const [start, title] of Object.entries(parts)) {
    const paths = Object.entries(content.paths).filter(([path]) => {
      const first = path.split("/")[1];
      return start ? first === start : !["v1", "v2"].includes(first);
    });
    document.getElementById("paths").append(node("h2", title), ...paths.flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, facts]) => operation(path, method, facts, all))));
  }
  document.getElementById("state").textContent = content.info.description + " Version " + content.info.version + ".";
}

load().catch((error) => {
  document.getElementById("state").textContent = "The description cannot be read: " + error.message;
});
