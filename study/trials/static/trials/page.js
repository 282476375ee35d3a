"use strict";

/** The pages of text: a button that copies a code, one that lays one example image over the other, a form that waits. */
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = button.dataset.copied;
  });
}

for (const button of document.querySelectorAll("[data-overlay]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const laid = document.getElementById(button.dataset.overlay).classList.toggle("is-overlaid");
    button.setAttribute("aria-pressed", String(laid));
  });
}

/** Asks again by itself, at a moment of this browser's own: many may have been told to wait. */
for (const form of document.querySelectorAll("[data-again]")) {
  setTimeout(() => form.submit(), 1000 * Number(form.dataset.again) * (1 + Math.random()));
}
