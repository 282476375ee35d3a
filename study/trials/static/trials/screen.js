"use strict";

/** jsPsych plugin: a page of text from a <template> of the document, until the participant goes on. */
const ScreenPlugin = (({ ParameterType }) => {
  const info = {
    name: "screen",
    version: "1.0.0",
    parameters: {
      /** The id of the <template>. It holds a heading and a button with the attribute data-go. */
      template: { type: ParameterType.STRING, default: undefined },
      /** Texts for the elements with data-value="name". */
      values: { type: ParameterType.OBJECT, default: {} },
      /** () => promise: the button works when it has resolved. */
      ready: { type: ParameterType.FUNCTION, default: async () => {} },
      /** () => promise: after the button, and before anything else is shown. */
      leave: { type: ParameterType.FUNCTION, default: async () => {} },
    },
    data: {
      /** How long the page was read, ms. */
      read_ms: { type: ParameterType.FLOAT },
    },
  };

  const copy = (template) => document.getElementById(template).content.cloneNode(true);

  /** Puts a copy of a template on the page, fills in its parts and values and moves the focus to its heading. */
  function show(display, template, values = {}) {
    display.replaceChildren(copy(template));
    for (const node of display.querySelectorAll("[data-part]")) node.replaceChildren(copy(node.dataset.part));
    for (const [name, value] of Object.entries(values)) {
      for (const node of display.querySelectorAll(`[data-value="${name}"]`)) node.textContent = value;
    }
    for (const node of display.querySelectorAll("[data-if]")) node.hidden = !values[node.dataset.if];
    const heading = display.querySelector("h1, h2");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  class ScreenPlugin {
    static info = info;
    static show = show;

    /** Whether a dialog lies over the page. Keys still reach the page once the dialog has lost its focus. */
    static get covered() {
      return document.querySelector("dialog[open]") !== null;
    }

    async trial(display, trial, onLoad) {
      show(display, trial.template, trial.values);
      onLoad?.();
      const start = performance.now();
      const button = display.querySelector("[data-go]");
      button.disabled = true;
      await trial.ready();
      button.disabled = false;
      await new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
      button.disabled = true;
      await trial.leave();
      return { read_ms: performance.now() - start };
    }

    async simulate(trial, mode, options, onLoad) {
      await trial.ready();
      await trial.leave();
      onLoad?.();
      return { read_ms: 0, ...options?.data };
    }
  }

  return ScreenPlugin;
})(jsPsychModule);
