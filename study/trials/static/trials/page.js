"use strict";

/** The pages of text: a button that copies a code, and one that lays one example image over the other. */
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
