// A study's form: settings that make no difference with the others are out of the way, and the panel beside it can be
// calculated for the form as it stands. Without this script everything is shown, and saving updates the panel.
"use strict";

const form = document.querySelector("#study_form");
const panel = document.querySelector("#study-panel");

function valueOf(name) {
  return form.elements.namedItem(name)?.value ?? "";
}

function isOfUse(field) {
  const value = valueOf(field.dataset.onlyFor);
  const values = field.dataset.values.split(" ").filter(Boolean);
  return values.length ? values.includes(value) : value !== "";
}

function showWhatIsOfUse() {
  for (const field of form.querySelectorAll("[data-only-for]")) {
    if (!form.elements.namedItem(field.dataset.onlyFor)) continue; // frozen, and so not to be chosen
    const row = field.closest(".form-row, .asked");
    row.toggleAttribute("data-not-for-now", !isOfUse(field) && !row.querySelector(".errorlist"));
  }
  for (const group of form.querySelectorAll("fieldset.module")) {
    const rows = [...group.querySelectorAll(".form-row")];
    group.toggleAttribute("data-not-for-now", rows.length > 0 && rows.every((row) => row.hasAttribute("data-not-for-now")));
  }
}

function unfoldErrors() {
  for (const error of form.querySelectorAll("details:not([open]) .errorlist")) error.closest("details").open = true;
}

async function calculate(button) {
  button.disabled = true;
  try {
    const reply = await fetch(panel.dataset.numbers, { method: "POST", body: new FormData(form) });
    if (!reply.ok && reply.status !== 422) throw new Error(`the server answered ${reply.status}`);
    panel.innerHTML = await reply.text();
    offerToCalculate();
    panel.querySelector("button").focus();
  } catch (error) {
    button.disabled = false;
    button.nextElementSibling.textContent = `It could not be calculated: ${error.message}. Save the study instead.`;
  }
}

function offerToCalculate() {
  const place = document.createElement("p");
  const button = document.createElement("button");
  const said = document.createElement("span");
  place.className = "panel-verbs";
  button.type = "button";
  button.className = "button";
  button.textContent = "Calculate";
  said.setAttribute("role", "status");
  said.textContent = " For the form as it stands; nothing is saved.";
  button.addEventListener("click", () => calculate(button));
  place.append(button, said);
  panel.querySelector(".panel").prepend(place);
}

if (form) {
  form.addEventListener("change", showWhatIsOfUse);
  showWhatIsOfUse();
  unfoldErrors();
}
if (panel?.dataset.numbers) offerToCalculate();
