"use strict";

/**
 * The truth of each trial, on request, for a researcher who tries a study in a preview. Pages of participants never load
 * this file, and the server tells nobody else.
 *
 * It lies over the page and moves nothing: the pictures stay where they are.
 */
(() => {
  const ASK_EVERY_MS = 700; // an answer is stored a moment after it was given
  const MEMORY = "overlay";

  let index = null;
  let answered = null;

  const element = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  const list = element("dl", { class: "overlay-facts" });
  const last = element("p", { class: "overlay-last", role: "status" });
  const summary = element("summary", {}, "The truth");
  const overlay = element("details", { class: "overlay", lang: "en", dir: "ltr" }, summary, list, last);
  overlay.open = sessionStorage.getItem(MEMORY) === "open";
  document.body.append(overlay);

  const ask = async (trial) => {
    const answer = await fetch(`${location.pathname}truth/${trial}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
    return answer.json();
  };

  const showTruth = (rows) => {
    list.replaceChildren(...rows.flatMap(([label, words]) => [element("dt", {}, label), element("dd", {}, words)]));
  };

  const showAnswer = (trial, { said, correct, rt_ms }) => {
    const verdict = correct === null ? "no answer" : correct ? "correct" : "wrong";
    const which = trial === index ? "This trial" : "The trial before";
    last.textContent = `${which} was answered “${said}”: ${verdict}, after ${rt_ms} ms.`;
    last.dataset.verdict = verdict;
  };

  /** Asks for the trial on the screen, and for the one before until its answer is stored. */
  const look = async () => {
    if (index === null || !overlay.open || document.hidden) return;
    try {
      const now = await ask(index);
      if (now.index === index) showTruth(now.truth);
      const before = now.answer ? now : answered === index - 1 || index === 0 ? null : await ask(index - 1);
      if (!before?.answer) return;
      answered = before.index;
      showAnswer(before.index, before.answer);
    } catch (error) {
      showTruth([["Not to be had", error.message]]);
    }
  };

  const keepLooking = async () => {
    await look();
    setTimeout(keepLooking, ASK_EVERY_MS);
  };

  document.addEventListener("trialbegins", ({ detail }) => {
    index = detail;
    list.replaceChildren();
    look();
  });
  overlay.addEventListener("toggle", () => {
    sessionStorage.setItem(MEMORY, overlay.open ? "open" : "closed");
    look();
  });
  keepLooking();
})();
