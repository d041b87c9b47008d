// Keys, and steps without loading the page anew. All but the map and the search by a picture works
// without this, by links and forms.

const told = document.getElementById("told");
let step = 0; // the newest one; an answer that comes late is dropped
let doing = Promise.resolve(); // steps and verdicts, one after the other: none is lost

// Put the main part of a page that the server has made in place of the one that is shown.
function put(text, address, keep) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const main = page.getElementById("main");
  // A script that is put in does not run: a page with one of its own, the map, is loaded whole.
  if (!main || main.querySelector("script")) return void location.assign(address);
  document.title = page.title;
  for (const part of ["header.bar", "footer", "#help"]) {
    const [here, there] = [document.querySelector(part), page.querySelector(part)];
    if (there && !here) document.body.append(there);
    else if (there && !here.contains(document.activeElement)) here.replaceWith(there);
  }
  document.getElementById("main").replaceWith(main);
  if (!keep) history.pushState(null, "", address);
  const field = main.querySelector("[autofocus]");
  (field ?? main).focus({ preventScroll: true });
  told.textContent = page.title;
  for (const link of main.querySelectorAll('a[rel="next"]')) ahead(link.href);
}

// The pictures of the next card are made while this one is looked at.
async function ahead(address) {
  const mine = step;
  const text = await fetch(address).then((answer) => answer.text(), () => "");
  if (mine !== step) return;
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const picture of page.querySelectorAll(".side img")) new Image().src = picture.src;
}

async function show(address, options = {}, keep = false) {
  const mine = ++step;
  document.body.classList.add("waits");
  try {
    const answer = await fetch(address, { credentials: "same-origin", ...options });
    const text = await answer.text();
    if (mine === step) put(text, answer.url, keep || answer.url === location.href);
  } catch {
    told.textContent = "The viewer does not answer.";
    document.body.classList.add("lost");
    return;
  } finally {
    if (mine === step) document.body.classList.remove("waits");
  }
  document.body.classList.remove("lost");
}

function send(form, button) {
  const fields = new URLSearchParams(new FormData(form));
  if (button?.name) fields.set(button.name, button.value);
  if (form.method === "post") return show(form.action, { method: "POST", body: fields });
  for (const [name, value] of [...fields]) if (value === "") fields.delete(name);
  return show(`${form.action}?${fields}`);
}

document.addEventListener("submit", (event) => {
  if (event.target.method === "dialog") return;
  event.preventDefault();
  doing = doing.then(() => send(event.target, event.submitter));
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) return void document.getElementById("help").showModal();
  const link = event.target.closest("a[href]");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  if (!link || !plain || link.origin !== location.origin || link.hash || "whole" in link.dataset) return;
  event.preventDefault();
  doing = doing.then(() => show(link.href));
});

const SAME = { ArrowRight: "j", ArrowLeft: "k" };
document.addEventListener("keydown", (event) => {
  const writes = event.target.closest("input, select, textarea");
  if (event.key === "Escape" && writes) return void writes.blur();
  if (writes || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "/") {
    event.preventDefault();
    const field = document.getElementById("search");
    if (field) field.closest("details").open = true;
    return void field?.focus();
  }
  const key = SAME[event.key] ?? event.key;
  const found = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!found || (event.repeat && found.closest("form"))) return;
  event.preventDefault();
  // A quick hand is ahead of the server: a key is of the card that is shown when its turn comes.
  doing = doing.then(() => {
    const now = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (now?.matches("a")) return show(now.href);
    if (now?.form && !now.dataset.help) return send(now.form, now);
    now?.click();
  });
});

// A picture is sent as it is, without a form's wrapping.
document.addEventListener("change", (event) => {
  if (!event.target.matches("input[type=file][data-send]") || !event.target.files.length) return;
  const sentence = document.getElementById("sentence")?.value ?? "";
  const address = `/seek?${new URLSearchParams({ sentence })}`;
  doing = doing.then(() => show(address, { method: "POST", body: event.target.files[0] }));
});

addEventListener("popstate", () => show(location.href, {}, true));
for (const link of document.querySelectorAll('main a[rel="next"]')) ahead(link.href);
