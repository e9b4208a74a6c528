"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const images = data.images, classes = data.classes;
const of = id => document.getElementById(id);
const KEYS = "123456789abcdefghijlmnopqrtvwyz"; // of the classes; k, s, u and x have a meaning of their own
const NAME = "corrections.csv";
const storeKey = "seedsweep review " + data.id;
const choices = new Map(); // by path: the right class, or "" for what is left out
const undoable = [];
let at = 0, unsaved = 0, keeps = true;

// what was decided here before counts while the image and its label are the same
function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(storeKey) || "{}");
    for (const image of images) {
      const each = kept[image.path];
      if (each && each.digest === image.digest && each.label === image.label && [...classes, ""].includes(each.choice))
        choices.set(image.path, each.choice);
    }
    unsaved = choices.size;
  } catch { keeps = false; }
}

function remember(image) {
  try {
    const kept = JSON.parse(localStorage.getItem(storeKey) || "{}");
    if (choices.has(image.path))
      kept[image.path] = { digest: image.digest, label: image.label, choice: choices.get(image.path) };
    else delete kept[image.path];
    localStorage.setItem(storeKey, JSON.stringify(kept));
  } catch { keeps = false; }
}

function told(image) {
  if (!choices.has(image.path)) return "open";
  const choice = choices.get(image.path);
  return choice === "" ? "left out" : choice === image.label ? "correct" : "→ " + choice;
}

function set(image, choice) {
  if (choice === undefined) choices.delete(image.path); else choices.set(image.path, choice);
  remember(image);
  drawItem(images.indexOf(image));
}

// equal files get the same answer
function decide(choice) {
  const image = images[at];
  const equal = images.filter(each => each.digest === image.digest);
  undoable.push([at, equal.map(each => [each, choices.get(each.path)])]);
  for (const each of equal) set(each, choice);
  unsaved += 1;
  const also = equal.length > 1 ? ` Equal files get the same answer: ${equal.length} in all.` : "";
  const text = `${image.path}: ${told(image)}.${also}`;
  const next = [...images.keys()].map(step => (at + 1 + step) % images.length).find(each => !choices.has(images[each].path));
  if (next === undefined) { draw(); say(`${text} All images are decided: save the file.`); } else show(next, text);
}

function undo() {
  const last = undoable.pop();
  if (!last) return;
  for (const [image, choice] of last[1]) set(image, choice);
  unsaved += 1;
  show(last[0], "Undone.");
}

function say(text) { of("said").textContent = text; }

function show(place, before = "") {
  if (place < 0 || place >= images.length) return;
  const last = at;
  at = place;
  drawItem(last);
  draw();
  say(before);
}

function draw() {
  const image = images[at], choice = choices.get(image.path), twin = images.find(each => each.path === image.twin);
  of("photo").src = image.uri;
  of("photo").alt = image.path;
  of("other").hidden = !twin;
  if (twin) {
    of("twin").src = twin.uri;
    of("twin").alt = twin.path;
    of("twin-is").textContent = `${twin.path}, filed under ${twin.label}`;
  }
  of("title").textContent = `${at + 1}. ${image.path}`;
  of("why").textContent = `Filed under ${image.label} (${image.split}). ${image.reason}`;
  of("decided").textContent = choice === undefined ? "Not decided yet." : `Decided: ${told(image)}.`;
  for (const button of of("classes").children) {
    button.setAttribute("aria-pressed", String(choice === button.value && choice !== image.label));
    button.classList.toggle("likely", image.likely === button.value);
  }
  of("keep").setAttribute("aria-pressed", String(choice === image.label));
  of("out").setAttribute("aria-pressed", String(choice === ""));
  of("back").disabled = at === 0;
  of("next").disabled = at === images.length - 1;
  of("undo").disabled = !undoable.length;
  of("progress").max = images.length;
  of("progress").value = choices.size;
  of("count").textContent = `${choices.size} of ${images.length} decided`;
  of("unsaved").textContent = unsaved ? "Not saved yet." : "";
  of("kept").textContent = keeps
    ? "What you decide is also kept in this browser: the page can be closed and opened again."
    : "This browser keeps nothing: save the file before you close the page.";
  of("examples").replaceChildren(...[image.label, image.likely].filter(name => data.examples[name]).flatMap(examples));
  drawItem(at);
}

function examples(name) {
  const title = document.createElement("p"), row = document.createElement("div");
  title.textContent = name;
  row.append(...data.examples[name].map(uri => Object.assign(new Image(), { src: uri, alt: `an image filed under ${name}` })));
  return [title, row];
}

function drawItem(place) {
  const button = of("list").children[place].firstChild, image = images[place];
  button.lastChild.textContent = told(image);
  button.setAttribute("aria-label", `Image ${place + 1}, ${image.path}: ${told(image)}`);
  button.setAttribute("aria-current", String(place === at));
}

function csv() {
  const rows = new Map(data.earlier.map(row => [row[0], row]));
  for (const image of images) {
    if (!choices.has(image.path)) continue;
    const choice = choices.get(image.path);
    const action = choice === "" ? "leave out" : choice === image.label ? "keep" : "change";
    rows.set(image.path, [image.path, choice, action, image.digest]);
  }
  // a spreadsheet would run what begins so
  const cell = text => `"${text.replace(/^(?=[=+\-@\t\r'])/, "'").replaceAll('"', '""')}"`;
  const lines = [["path", "class", "action", "digest"], ...rows.values()];
  return "\ufeff" + lines.map(row => row.map(cell).join(",") + "\r\n").join("");
}

function save() {
  if (!choices.size && !data.earlier.length) return say("Nothing is decided yet.");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = NAME;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = 0;
  draw();
  const earlier = data.earlier.length ? `, and ${data.earlier.length} from before` : "";
  say(`${NAME} saved: ${choices.size} decisions of this page${earlier}.`);
}

const acts = {
  k: () => decide(images[at].label), x: () => decide(""), u: undo, s: save,
  ArrowLeft: () => show(at - 1), ArrowRight: () => show(at + 1),
};
classes.forEach((name, place) => {
  const button = document.createElement("button"), key = KEYS[place];
  button.value = name;
  if (key) {
    button.setAttribute("aria-keyshortcuts", key);
    button.append(Object.assign(document.createElement("kbd"), { textContent: key }), " ");
    acts[key] = () => decide(name);
  }
  button.append(name);
  button.onclick = () => decide(name);
  of("classes").append(button);
});
images.forEach((image, place) => {
  const item = document.createElement("li"), button = document.createElement("button");
  const photo = Object.assign(new Image(), { src: image.uri, alt: "", loading: "lazy" });
  button.append(photo, document.createElement("span"));
  button.onclick = () => { show(place); of("card").scrollIntoView(); };
  item.append(button);
  of("list").append(item);
});
for (const [id, key] of [["keep", "k"], ["out", "x"], ["undo", "u"], ["save", "s"], ["back", "ArrowLeft"], ["next", "ArrowRight"]])
  of(id).onclick = acts[key];
addEventListener("keydown", event => {
  const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  // a key that is held down would answer for images that nobody saw
  if (!act || event.ctrlKey || event.altKey || event.metaKey || (event.repeat && !event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  act();
});
addEventListener("beforeunload", event => { if (unsaved && !keeps) event.preventDefault(); });
recall();
images.forEach((_, place) => drawItem(place));
at = Math.max(0, images.findIndex(image => !choices.has(image.path)));
draw();
