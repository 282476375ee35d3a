"use strict";

/** What a page's own program could read off its document while a trial is shown: everything but the pixels. */
(() => {
  const STYLES = [
    "visibility", "opacity", "transform", "filter", "border", "outline", "boxShadow", "left", "top", "width", "height",
    "imageRendering", "cursor", "zIndex", "order", "animationName", "transitionProperty",
  ];
  const states = [];
  let stage = null;
  let state = null;

  function element(node) {
    const { x, y, width, height } = node.getBoundingClientRect();
    const style = getComputedStyle(node);
    return {
      html: node.outerHTML,
      box: [x, y, width, height],
      style: STYLES.map((name) => `${name} ${style[name]}`).join("; "),
    };
  }

  /** Templates are the same for everybody, and long. */
  const isShown = ({ tagName }) => tagName !== "TEMPLATE";

  function look() {
    const now = document.querySelector(".afc-stage");
    if (now === stage && now?.dataset.state === state) return;
    [stage, state] = [now, now?.dataset.state ?? null];
    if (!stage) return;
    states.push({
      state,
      at: performance.now(),
      html: [...document.body.children].filter(isShown).map(({ outerHTML }) => outerHTML).join(""),
      elements: stage.querySelectorAll("*").length,
      pictures: [...stage.querySelectorAll("canvas, img")].map(element),
      answers: [...stage.querySelectorAll(".afc-answer")].map(element),
      resources: performance.getEntriesByType("resource").length,
    });
  }

  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
  window.recorder = { take: () => states.splice(0) };
})();
